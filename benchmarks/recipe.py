"""Measure how much each change to the post's recipe improves F1.

Trains one adapter per row with the same model, data, steps and seed, and changes one thing at a
time. Runs train.py and evaluate_hub.py, and prints a table of F1 and of its difference from the
post's recipe. Each difference is paired on the same sentences and has its own 95 % interval. The
intervals cover the choice of sentences only. To see how much the seed of training matters, use
another --seed in another --work_dir. A row takes ten to twenty minutes for a model of 0.1 billion
parameters on two cores. After an interruption, the same command continues.

    python -m benchmarks.recipe --model MODEL --dataset PATH --work_dir DIR
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.training import KEEP_MEMORY
from ner.cli import InputError, build_parser, describe_changes, positive_int, run_script
from ner.files import read_json, write_atomically

ROOT = Path(__file__).resolve().parent.parent
# With the loss on the whole chat no prompt is shared, so small micro-batches are the fastest. A
# step has the same 16 chats.
CHAT = ["--loss", "chat", "--batch_size", "4", "--gradient_accumulation", "4"]
ROWS = {  # the system prompt's name and the flags of train.py, by the row's name in the table
    "the post's: loss on the whole chat, LoRA on q, k, v": (
        "basic",
        [*CHAT, "--lora_targets", "qkv"],
    ),
    "LoRA on all seven projections": ("basic", CHAT),
    "loss on the answer": ("basic", ["--loss", "answer", "--lora_targets", "qkv"]),
    "both": ("basic", []),
    "both, learning rate 1e-3": ("basic", ["--learning_rate", "1e-3"]),
    # Leaves out the few chats of more than 512 tokens, which Gemma 3's window cannot pack.
    "both, stricter prompt": ("strict", ["--max_length", "512"]),
    "both, marked answers": ("marked", ["--max_length", "512"]),
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = build_parser(__doc__)
    parser.add_argument("--model", required=True, metavar="ID_OR_FOLDER", help="base model")
    parser.add_argument(
        "--dataset", required=True, metavar="ID_OR_FOLDER", help="as for data_processing.py"
    )
    parser.add_argument(
        "--work_dir",
        required=True,
        type=Path,
        metavar="DIR",
        help="folder of the adapters and answers, which are kept",
    )
    parser.add_argument(
        "--max_steps", type=positive_int, default=120, metavar="N", help="steps of 16 chats"
    )
    parser.add_argument(
        "--num_samples", type=positive_int, default=400, metavar="N", help="sentences to score"
    )
    parser.add_argument("--seed", type=int, default=42, metavar="N", help="seed of training")
    parser.add_argument(
        "--rows",
        type=int,
        nargs="+",
        default=list(range(len(ROWS))),
        metavar="K",
        help="run row 0, the post's, and only these others (default: all)",
    )
    return parser.parse_args(argv)


def check_settings(args: argparse.Namespace) -> None:
    """Record the settings of the rows. Raises InputError if earlier rows have others."""
    path = args.work_dir / "settings.json"
    names = ("model", "dataset", "max_steps", "num_samples", "seed")
    settings = {name: getattr(args, name) for name in names}
    earlier = read_json(path)
    if earlier is not None and (changes := describe_changes(earlier, settings)):
        raise InputError(
            f"{args.work_dir} holds rows that were measured with other settings:\n  "
            + "\n  ".join(changes)
            + "\nChoose another --work_dir"
        )
    write_atomically(path, json.dumps(settings))


def run_step(script: str, *arguments: object) -> None:
    """Run a script to its end."""
    command = [sys.executable, ROOT / script, *map(str, arguments)]
    subprocess.run(command, env=os.environ | KEEP_MEMORY, check=True)


def choose_chats(prompt: str) -> list[str]:
    """The flags of data_processing.py for the chats of a prompt."""
    return ["--answer", "marked"] if prompt == "marked" else ["--prompt", prompt]


def measure_row(args: argparse.Namespace, row: Path, prompt: str, flags: list[str]) -> Path:
    """Train and evaluate an adapter, and return its predictions. Skips steps that are complete."""
    chats = args.work_dir / f"{prompt}.jsonl"
    adapter, evaluation = row / "adapter", row / "evaluation"
    if not chats.is_file():
        run_step(
            "data_processing.py",
            *("--dataset", args.dataset, *choose_chats(prompt), "--output", chats),
        )
    if not adapter.is_dir():
        run_step(
            "train.py",
            *("--model", args.model, "--data", chats, "--output_dir", adapter),
            *("--checkpoint_dir", row / "results", "--max_steps", args.max_steps),
            *("--batch_size", 8, "--save_steps", 30, "--logging_steps", 10),
            *("--seed", args.seed, "--resume", *flags),
        )
    if not (evaluation / "metrics.json").is_file():
        run_step(
            "evaluate_hub.py",
            *("--adapter", adapter, "--dataset", args.dataset, "--num_samples", args.num_samples),
            *("--batch_size", 64, "--output_dir", evaluation),
        )
    return evaluation / "predictions.jsonl"


def print_table(predictions: dict[str, Path]) -> None:
    """Print each row's scores and its difference from the first row."""
    # Imported here because scikit-learn takes a second.
    from ner.evaluation.comparison import compare
    from ner.evaluation.predictions import read_predictions, retag
    from ner.evaluation.summary import compute_metrics

    print("| recipe | F1 (95 %) | difference from the first row (95 %, paired) |\n|---|---|---|")
    first = None
    for name, path in predictions.items():
        settings, answered = read_predictions(path)
        rows = retag(answered, settings)
        difference = format_f1(compare(rows, first), "+") if first else ""
        first = first or rows
        print(f"| {name} | {format_f1(compute_metrics(rows))} | {difference} |")


def format_f1(metrics: dict, sign: str = "") -> str:
    """F1 and its interval, for a cell of the table."""
    f1 = metrics["scores"]["seqeval"]["f1"]
    return f"{f1['value']:{sign}.4f} ({f1['low']:{sign}.4f} to {f1['high']:{sign}.4f})"


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    check_settings(args)
    predictions = {}
    for number, (name, (prompt, flags)) in enumerate(ROWS.items()):
        if number in {0, *args.rows}:
            predictions[name] = measure_row(args, args.work_dir / f"row{number}", prompt, flags)
    print_table(predictions)


if __name__ == "__main__":
    run_script(main)
