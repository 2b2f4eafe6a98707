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
from pathlib import Path

from benchmarks import runs
from ner.cli import build_parser, positive_int, run_script

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
    runs.add_run_flags(parser)
    parser.add_argument(
        "--max_steps", type=positive_int, default=120, metavar="N", help="steps of 16 chats"
    )
    parser.add_argument(
        "--num_samples", type=positive_int, default=400, metavar="N", help="sentences to score"
    )
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
    names = ("model", "dataset", "max_steps", "num_samples", "seed")
    runs.check_settings(args.work_dir, {name: getattr(args, name) for name in names})


def choose_chats(prompt: str) -> list[str]:
    """The flags of data_processing.py for the chats of a prompt."""
    return ["--answer", "marked"] if prompt == "marked" else ["--prompt", prompt]


def measure_row(args: argparse.Namespace, row: Path, prompt: str, flags: list[str]) -> Path:
    """Train and evaluate an adapter, and return its predictions. Skips steps that are complete."""
    chats = args.work_dir / f"{prompt}.jsonl"
    runs.write_chats(chats, args.dataset, *choose_chats(prompt))
    adapter = runs.train_adapter(
        row,
        args.model,
        chats,
        *("--max_steps", args.max_steps, "--save_steps", 30, "--logging_steps", 10),
        *("--seed", args.seed, *flags),
    )
    return runs.evaluate_adapter(
        adapter,
        row / "evaluation",
        *("--dataset", args.dataset, "--num_samples", args.num_samples),
    )


def print_table(predictions: dict[str, Path]) -> None:
    """Print each row's scores and its difference from the first row."""
    from ner.evaluation.comparison import compare  # takes a second

    print("| recipe | F1 (95 %) | difference from the first row (95 %, paired) |\n|---|---|---|")
    first = None
    for name, path in predictions.items():
        rows, metrics = runs.score_predictions(path)
        difference = runs.format_f1(compare(rows, first), "+") if first else ""
        first = first or rows
        print(f"| {name} | {runs.format_f1(metrics)} | {difference} |")


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
