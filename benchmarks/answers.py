"""Compare the kinds of answers on a real model: JSON, marked, and marked with the copy enforced.

For each number of steps, trains one adapter for JSON answers and one for marked answers, with the
same model, data, seed and learning rate. Runs train.py and evaluate_hub.py, and prints a table.
Each difference from JSON is paired on the same sentences. The intervals cover the choice of
sentences only. In the last row, entities below the threshold that train.py chose on its held-out
chats are not tagged; its answers are those of the row before. After an interruption, the same
command continues.

    python -m benchmarks.answers --model MODEL --dataset PATH --work_dir DIR
    python -m benchmarks.answers --model MODEL --dataset PATH --work_dir DIR \\
        --max_steps 40 --answers constrained --precision bfloat16 --lora_dropout 0
"""

import argparse
from pathlib import Path
from typing import NamedTuple

from benchmarks import runs
from ner.cli import InputError, build_parser, non_negative_float, positive_int, run_script
from ner.model.adapter import read_min_confidence


class Answers(NamedTuple):
    """A row of the table: its name, the kind of its answers, and how they are generated."""

    name: str
    kind: str  # "json" or "marked"
    evaluation: str = "evaluation"  # folder of the predictions
    flags: tuple[str, ...] = ()  # of evaluate_hub.py


ANSWERS = {
    "json": Answers("JSON", "json"),
    "marked": Answers("marked", "marked", "evaluation-free", ("--no-constrain",)),
    "constrained": Answers("marked, constrained", "marked"),
    "threshold": Answers("marked, constrained, threshold of --validation", "marked"),
}
SETTINGS = (
    *("model", "dataset", "num_samples", "precision", "lora_dropout", "learning_rate", "seed"),
    *("validation", "save_steps"),
)
HEADER = (
    "| steps | answer | F1 (95 %) | precision | recall | difference from JSON (95 %, paired) | "
    "copied exactly | AUROC |\n|---|---|---|---|---|---|---|---|"
)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = build_parser(__doc__)
    runs.add_run_flags(parser)
    runs.add_training_flags(parser)
    parser.add_argument(
        "--max_steps",
        type=positive_int,
        nargs="+",
        default=[120, 600],
        metavar="N",
        help="steps of 16 chats, for one adapter of each kind (default: 120 600)",
    )
    parser.add_argument(
        "--num_samples", type=positive_int, default=800, metavar="N", help="sentences to score"
    )
    parser.add_argument(
        "--learning_rate", type=non_negative_float, default=1e-3, metavar="RATE", help="peak"
    )
    parser.add_argument(
        "--save_steps", type=positive_int, default=120, metavar="N", help="between checkpoints"
    )
    parser.add_argument(
        "--answers",
        choices=ANSWERS,
        nargs="+",
        default=list(ANSWERS),
        help="measure json and only these others (default: all)",
    )
    return parser.parse_args(argv)


def train_kind(args: argparse.Namespace, kind: str, steps: int) -> Path:
    """Train the adapter of a kind of answers, if there is none yet. Returns it."""
    chats = args.work_dir / f"{kind}.jsonl"
    return runs.train_kind(
        args,
        args.work_dir / f"{kind}-{steps}",
        runs.write_chats(chats, args.dataset, "--answer", kind),
        *("--max_steps", steps, "--save_steps", args.save_steps, "--logging_steps", 20),
        *("--seed", args.seed, "--learning_rate", args.learning_rate),
    )


def measure_answers(args: argparse.Namespace, key: str, steps: int) -> tuple[list[dict], dict]:
    """Train and evaluate. Returns the rows and their metrics. Skips complete steps."""
    answers = ANSWERS[key]
    adapter = train_kind(args, answers.kind, steps)
    predictions = runs.evaluate_adapter(
        adapter,
        adapter.with_name(answers.evaluation),
        *("--dataset", args.dataset, "--num_samples", args.num_samples),
        *("--precision", args.precision, *answers.flags),
    )
    return runs.score_predictions(
        predictions, find_threshold(adapter) if key == "threshold" else 0.0
    )


def find_threshold(adapter: Path) -> float:
    """The threshold that train.py chose with --validation. Raises InputError if there is none."""
    threshold = read_min_confidence(adapter)
    if threshold is None:
        raise InputError(
            f"{adapter}: has no threshold, so an earlier version of train.py wrote it. Remove "
            f"{adapter.parent} to train it again, or leave the row out: --answers marked "
            "constrained"
        )
    return threshold


def format_row(
    steps: int, name: str, rows: list[dict], metrics: dict, json_rows: list[dict] | None = None
) -> str:
    """A row of the table. That of JSON itself has no `json_rows` to compare with."""
    from ner.evaluation.comparison import compare  # takes a second

    score = metrics["scores"]["seqeval"]
    cells = [
        str(steps),
        name,
        runs.format_f1(metrics),
        f"{score['precision']['value']:.4f}",
        f"{score['recall']['value']:.4f}",
        runs.format_f1(compare(rows, json_rows), "+") if json_rows else "",
        format_copied(rows) if json_rows else "",
        format_auroc(metrics),
    ]
    return f"| {' | '.join(cells)} |"


def format_copied(rows: list[dict]) -> str:
    """The share of marked answers that repeat their sentence exactly."""
    copied = sum(row["diagnosis"]["read"] == "copied" for row in rows)
    return f"{copied / len(rows):.1%}"


def format_auroc(metrics: dict) -> str:
    """How well confidence tells right entities from wrong ones. Empty if it is not known."""
    auroc = metrics.get("confidence", {}).get("auroc")
    return "" if auroc is None else f"{auroc:.4f}"


def measure_steps(args: argparse.Namespace, steps: int) -> list[str]:
    """The rows of the table for a number of steps."""
    json_rows, metrics = measure_answers(args, "json", steps)
    table = [format_row(steps, ANSWERS["json"].name, json_rows, metrics)]
    for key, answers in ANSWERS.items():
        if key != "json" and key in args.answers:
            rows, metrics = measure_answers(args, key, steps)
            table.append(format_row(steps, answers.name, rows, metrics, json_rows))
    return table


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    runs.check_settings(args.work_dir, {name: getattr(args, name) for name in SETTINGS})
    tables = [measure_steps(args, steps) for steps in args.max_steps]
    print(HEADER)
    for table in tables:
        print(*table, sep="\n")


if __name__ == "__main__":
    run_script(main)
