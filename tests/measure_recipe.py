"""Measure what each change to the post's recipe is worth: the same model, data, steps and seed, one thing changed at a time.

Trains an adapter a row with train.py, asks it with evaluate_hub.py, and prints a table of F1 with its 95 % interval and, row by
row against the post's recipe on the same sentences, the difference with its own. The intervals are those of drawing sentences;
what another seed of training would give is told by another --seed, in another --work_dir. A row takes ten to twenty minutes for a
model of 0.1 billion parameters on two cores; interrupted, the same command goes on where it stopped.

    python -m tests.measure_recipe --model MODEL --dataset PATH --work_dir DIR
"""
import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from data_processing import InputError, describe_changes, positive_int, run_script, write_whole
from report import compare, compute_metrics, read_predictions, retag
from tests.measure_training import KEEP_MEMORY

ROOT = Path(__file__).resolve().parent.parent
# With the whole chat under the loss no prompt is shared, and small micro-batches are the fastest: the same steps.
CHAT = ["--loss", "chat", "--batch_size", "4", "--gradient_accumulation", "4"]
ROWS = {  # what is said of it: the system prompt, train.py's flags
    "the post's: loss on the whole chat, LoRA on q, k, v": ("basic", [*CHAT, "--lora_targets", "qkv"]),
    "LoRA on all seven projections": ("basic", CHAT),
    "loss on the answer": ("basic", ["--loss", "answer", "--lora_targets", "qkv"]),
    "both": ("basic", []),
    "both, learning rate 1e-3": ("basic", ["--learning_rate", "1e-3"]),
    # Without the few chats that a Gemma 3, whose window is 512 tokens, could not be packed with.
    "both, stricter prompt": ("strict", ["--max_length", "512"]),
}


def run_step(script: str, *arguments: object) -> None:
    """One of the project's scripts, to its end."""
    subprocess.run([sys.executable, ROOT / script, *map(str, arguments)], env=os.environ | KEEP_MEMORY, check=True)


def measure_row(args: argparse.Namespace, folder: Path, prompt: str, flags: list[str]) -> list[dict]:
    """The predictions of an adapter trained with `flags`, read by today's converter; what is there already is not made again."""
    chats, adapter, evaluation = args.work_dir / f"{prompt}.jsonl", folder / "adapter", folder / "evaluation"
    if not chats.is_file():
        run_step("data_processing.py", "--dataset", args.dataset, "--prompt", prompt, "--output", chats)
    if not adapter.is_dir():
        run_step("train.py", "--model", args.model, "--data", chats, "--output_dir", adapter, "--checkpoint_dir", folder / "results",
                 "--max_steps", args.max_steps, "--batch_size", 8, "--save_steps", 30, "--logging_steps", 10, "--seed", args.seed,
                 "--resume", *flags)
    if not (evaluation / "metrics.json").is_file():
        run_step("evaluate_hub.py", "--adapter", adapter, "--dataset", args.dataset, "--num_samples", args.num_samples,
                 "--batch_size", 64, "--output_dir", evaluation)
    return retag(read_predictions(evaluation / "predictions.jsonl")[1])


def keep_settings(args: argparse.Namespace) -> None:
    """Note what the rows of a folder are measured with. Raises InputError if they were begun otherwise."""
    path = args.work_dir / "settings.json"
    settings = {name: getattr(args, name) for name in ("model", "dataset", "max_steps", "num_samples", "seed")}
    if path.is_file() and (changed := describe_changes(json.loads(path.read_text(encoding="utf-8")), settings)):
        raise InputError(f"{args.work_dir} holds rows that were measured otherwise:\n  " + "\n  ".join(changed)
                         + "\nName another --work_dir")
    write_whole(path, json.dumps(settings))


def format_f1(metrics: dict, sign: str = "") -> str:
    """F1 and its interval as a table's cell."""
    f1 = metrics["scores"]["seqeval"]["f1"]
    return f"{f1['value']:{sign}.4f} ({f1['low']:{sign}.4f} to {f1['high']:{sign}.4f})"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, metavar="ID_OR_FOLDER")
    parser.add_argument("--dataset", required=True, metavar="ID_OR_FOLDER")
    parser.add_argument("--work_dir", required=True, type=Path, metavar="DIR", help="for adapters and answers, which are kept")
    parser.add_argument("--max_steps", type=positive_int, default=120, metavar="N", help="of 16 chats (default: %(default)s)")
    parser.add_argument("--num_samples", type=positive_int, default=400, metavar="N", help="sentences to score (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=42, metavar="N", help="of training (default: %(default)s)")
    parser.add_argument("--rows", type=int, nargs="+", default=list(range(len(ROWS))), metavar="K", help="only the first and these, from 0 (default: all)")
    args = parser.parse_args(argv)
    keep_settings(args)
    predictions = {name: measure_row(args, args.work_dir / f"row{number}", *ROWS[name])
                   for number, name in enumerate(ROWS) if number in {0, *args.rows}}
    print("| recipe | F1 (95 %) | less the first row's (95 %, paired) |\n|---|---|---|")
    first = next(iter(predictions.values()))
    for name, rows in predictions.items():
        difference = "" if rows is first else format_f1(compare(rows, first), "+")
        print(f"| {name} | {format_f1(compute_metrics(rows))} | {difference} |")


if __name__ == "__main__":
    run_script(main)
