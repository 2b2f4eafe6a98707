"""Measure how fast training is with the post's settings, with ours, and with ours but padded.

All runs use the same model and the same chats. Each has its own process, to measure its peak
memory. Prints sentences and tokens per second, the shares of tokens that are computed and that have
a loss, and the ratios. Without --model and --data, uses a random EXAONE of 30 million
parameters and data/sample.

    make bench
    python -m benchmarks.training --model MODEL --data data/train.jsonl
    python -m benchmarks.training --model MODEL --data data/train.jsonl --profile  # by operator
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from ner.cli import build_parser, positive_int, run_script

SAMPLE = Path(__file__).resolve().parent.parent / "data" / "sample"
POST = [
    *("--batch_size", "4", "--gradient_accumulation", "4", "--no-pack", "--loss", "chat"),
    *("--lora_targets", "qkv", "--activation_checkpointing"),
]
RUNS = {"the post's": POST, "ours, padded": ["--no-pack"], "ours": []}
# On a CPU, memory that PyTorch frees is kept for the next step, in all runs alike. Asking the
# system for it again takes a third of the time.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 36)}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = build_parser(__doc__)
    parser.add_argument(
        "--model", metavar="ID_OR_FOLDER", help="base model (default: a random EXAONE)"
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FILE",
        help="chats that data_processing.py wrote (default: those of data/sample)",
    )
    parser.add_argument(
        "--steps",
        type=positive_int,
        default=7,
        metavar="N",
        help="steps of 16 chats; the first does not count",
    )
    parser.add_argument("--profile", action="store_true", help="profile ours instead")
    parser.add_argument("--run", choices=RUNS, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.steps < 2:
        parser.error("--steps 1 leaves no step that counts")
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        complete_inputs(args, Path(folder))
        if args.run:
            run_here(args, folder)
        elif args.profile:
            run_apart(args, "ours", "--profile")
        else:
            compare_runs(args)


def complete_inputs(args: argparse.Namespace, folder: Path) -> None:
    """Write a random model and the chats of data/sample to `folder`, unless flags name others."""
    if not args.model:
        from benchmarks.random_exaone import SMALL, write_random_exaone

        args.model = str(folder / "EXAONE-random")
        write_random_exaone(Path(args.model), SMALL)
    if not args.data:
        from data_processing import preprocessing_data

        args.data = folder / "train.jsonl"
        preprocessing_data(str(SAMPLE), args.data)


def list_flags(
    run: str, model: str | Path, data: Path, checkpoint_dir: str | Path, steps: int
) -> list[str]:
    """The flags of train.py for some steps of one of RUNS, without checkpoints."""
    return [
        *("--model", str(model), "--data", str(data), "--checkpoint_dir", str(checkpoint_dir)),
        *("--max_steps", str(steps), "--save_steps", "1000000", *RUNS[run]),
    ]


def run_here(args: argparse.Namespace, checkpoint_dir: str) -> None:
    """Measure one of RUNS in this process and print its figures as JSON, or its profile."""
    # Imported here because PyTorch, PEFT and TRL take seconds.
    from benchmarks.training_run import measure, profile

    flags = list_flags(args.run, args.model, args.data, checkpoint_dir, args.steps)
    if args.profile:
        print(profile(flags))
    else:
        print(json.dumps(measure(flags)))


def run_apart(args: argparse.Namespace, name: str, *more: str, **kwargs):
    """Measure one of RUNS in a process of its own."""
    command = [
        *(sys.executable, "-m", "benchmarks.training"),
        *("--model", args.model, "--data", str(args.data), "--steps", str(args.steps)),
        *("--run", name, *more),
    ]
    environment = os.environ | KEEP_MEMORY | {"TQDM_DISABLE": "1"}
    return subprocess.run(command, check=True, text=True, env=environment, **kwargs)


def compare_runs(args: argparse.Namespace) -> None:
    """Measure every run and print them side by side."""
    print(f"{'':14}{'sentences/s':>12}{'tokens/s':>10}{'computed':>10}{'loss':>8}{'peak':>10}")
    speeds = []
    for name in RUNS:
        done = run_apart(args, name, stdout=subprocess.PIPE)
        run = json.loads(done.stdout.splitlines()[-1])
        speeds.append(run["sentences_per_second"])
        print(
            f"{name:14}{run['sentences_per_second']:>12.2f}{run['tokens_per_second']:>10,.0f}"
            f"{run['computed_per_token']:>10.0%}{run['under_loss']:>8.0%}"
            f"{run['peak_bytes'] / 1e9:>7.2f} GB"
        )
    post, padded, ours = speeds
    print(
        f"ours is {ours / post:.2f} times as fast as the post's, "
        f"{ours / padded:.2f} times as fast as without packing"
    )


if __name__ == "__main__":
    run_script(main)
