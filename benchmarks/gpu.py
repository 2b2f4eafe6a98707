"""Prove that everything works on this machine, and measure it, without a network.

On a CUDA GPU, the model is a random EXAONE of the real size, 7.8 billion parameters, written in the
hub's layout: 31 GB on disk. Without a GPU, it has 30 million parameters, and the figures say
nothing about a GPU. The parts:

    rehearsal  all four scripts on a tiny model, as `make rehearse`
    loading    write the random model, and load it in 4-bit
    training   some steps with the post's settings, with ours padded, and with ours
    answering  answer sentences one at a time and in batches

The texts join sentences of data/sample until they are as long as KLUE's. Each step has a process of
its own. Its figures are kept in gpu.json with the card, the driver, the versions and the commit, so
the same command continues after an interruption. The end of the last part removes the model.

    make gpu
    python -m benchmarks.gpu --parts rehearsal training
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.training import RUNS
from ner.cli import InputError, build_parser, positive_int, run_script
from ner.files import check_writable, free_bytes, read_json, write_json

ROOT = Path(__file__).resolve().parent.parent
TRAINING = {f"training, {name}": name for name in RUNS}
PARTS = {
    "rehearsal": ["rehearsal"],
    "loading": ["loading"],
    "training": list(TRAINING),
    "answering": [
        "answering, one at a time",
        "answering, in batches",
        "answering, in batches, merged",
    ],
}
TOLERANCE = 0.15  # of the plan's memory
CHATS, SENTENCES = 21_008, 5_000  # of KLUE's training and validation splits
HEADER = (
    "| step | seconds | sentences/s | minutes | tokens/s | peak GB | plan GB | result |\n"
    "|---|---|---|---|---|---|---|---|"
)
MODEL_BYTES = 33e9  # on disk, with some room


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = build_parser(__doc__)
    parser.add_argument(
        "--parts", choices=PARTS, nargs="+", default=list(PARTS), help="(default: all)"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("gpu.json"), metavar="FILE", help="figures, kept"
    )
    parser.add_argument(
        "--work_dir",
        type=Path,
        default=Path("rehearsal-gpu"),
        metavar="DIR",
        help="folder of the random model",
    )
    parser.add_argument(
        "--steps", type=positive_int, default=20, metavar="N", help="training steps of each run"
    )
    parser.add_argument(
        "--num_samples", type=positive_int, default=256, metavar="N", help="sentences to answer"
    )
    parser.add_argument(
        "--single",
        type=positive_int,
        default=16,
        metavar="N",
        help="sentences to answer one at a time, which is slow",
    )
    parser.add_argument("--step", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.steps < 2:
        parser.error("--steps 1 leaves no step that counts")
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    from benchmarks.gpu_run import describe_machine, run_step

    if args.step:
        print(json.dumps(run_step(args.step, args)))
        return
    check_writable(args.output)
    record = continue_record(args, describe_machine())
    print(HEADER)
    for step in [step for part in args.parts for step in PARTS[part]]:
        if step not in record["steps"]:
            record["steps"][step] = run_apart(step, argv)
            write_json(args.output, record)
        print(format_row(step, record["steps"][step]), flush=True)
    for warning in list_warnings(record):
        print(warning)
    print(f"{args.output}: {', '.join(f'{key} {text}' for key, text in record['machine'].items())}")
    if all(step in record["steps"] for steps in PARTS.values() for step in steps):
        shutil.rmtree(args.work_dir, ignore_errors=True)


def continue_record(args: argparse.Namespace, machine: dict) -> dict:
    """The figures so far, if they are of this machine, these versions and this commit.

    Raises InputError if the disk has no room for the model.
    """
    settings = {name: getattr(args, name) for name in ("steps", "num_samples", "single")}
    record = {"machine": machine, "settings": settings, "steps": {}}
    earlier = read_json(args.output)
    if earlier and all(earlier[key] == record[key] for key in ("machine", "settings")):
        return earlier
    if "gpu" in machine and not args.work_dir.is_dir() and free_bytes(args.work_dir) < MODEL_BYTES:
        raise InputError(
            f"{args.work_dir}: the random model takes {MODEL_BYTES / 1e9:.0f} GB, and its disk has "
            f"{free_bytes(args.work_dir) / 1e9:.0f} GB free. Choose another --work_dir"
        )
    return record


def run_apart(step: str, argv: list[str] | None) -> dict:
    """Run a step in a process of its own. Returns its figures."""
    command = [sys.executable, "-m", "benchmarks.gpu", *(sys.argv[1:] if argv is None else argv)]
    done = subprocess.run([*command, "--step", step], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    if done.returncode:
        raise InputError(f"{step} failed (above). What was done before is kept")
    return json.loads(done.stdout.splitlines()[-1])


def format_row(step: str, figures: dict) -> str:
    """A row of the table. Cells without a figure stay empty."""
    minutes, result = "", ""
    if speed := figures.get("sentences_per_second"):
        whole = CHATS if step in TRAINING else SENTENCES
        minutes = f"{whole / speed / 60:,.0f} for {whole:,}"
    if losses := figures.get("losses"):
        result = f"loss {losses[0]:.2f} to {losses[-1]:.2f}"
    if f1 := figures.get("f1"):
        result = f"F1 {f1[0]:.4f} and {f1[1]:.4f}"
    cells = [
        step,
        format_figure(figures, "seconds", 1),
        format_figure(figures, "sentences_per_second", 2),
        minutes,
        format_figure(figures, "tokens_per_second", 0),
        format_figure(figures, "peak_bytes", 2, 1e9),
        format_figure(figures, "plan_bytes", 2, 1e9),
        result,
    ]
    return f"| {' | '.join(cells)} |"


def format_figure(figures: dict, name: str, digits: int, unit: float = 1) -> str:
    return f"{figures[name] / unit:,.{digits}f}" if name in figures else ""


def list_warnings(record: dict) -> list[str]:
    """What is not as it should be, a line for each. The plan is that of a GPU."""
    warnings = []
    for step, figures in record["steps"].items():
        if "losses" in figures and figures["losses"][-1] >= figures["losses"][0]:
            warnings.append(f"{step}: the loss does not fall")
        if "plan_bytes" in figures and "gpu" in record["machine"]:
            excess = figures["peak_bytes"] / figures["plan_bytes"] - 1
            if abs(excess) > TOLERANCE:
                warnings.append(
                    f"{step}: the peak is {excess:+.0%} off the plan, which allows {TOLERANCE:.0%}"
                )
    return warnings


if __name__ == "__main__":
    run_script(main)
