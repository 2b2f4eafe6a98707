"""The steps that several benchmarks share: train adapters and score them.

A step runs one of the scripts. A complete step is skipped, and an interrupted one continues.
"""

import argparse
import hashlib
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.training import KEEP_MEMORY
from ner.cli import InputError, describe_changes, fraction, positive_int
from ner.files import read_json, write_json

ROOT = Path(__file__).resolve().parent.parent


def add_place_flags(parser: argparse.ArgumentParser) -> None:
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


def add_run_flags(parser: argparse.ArgumentParser) -> None:
    add_place_flags(parser)
    parser.add_argument("--seed", type=int, default=42, metavar="N", help="seed of training")


def add_training_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `train_kind`."""
    parser.add_argument(
        "--precision", choices=["nf4", "bfloat16"], default="nf4", help="of the base model"
    )
    parser.add_argument(
        "--lora_dropout",
        type=fraction,
        default=0.05,
        metavar="P",
        help="0 saves much time on a CPU (default: 0.05)",
    )
    parser.add_argument(
        "--validation",
        type=positive_int,
        default=200,
        metavar="N",
        help="chats that training holds out, to choose the best checkpoint and the threshold",
    )
    parser.add_argument(
        "--batch_size",
        type=positive_int,
        default=8,
        metavar="N",
        help="chats in a micro-batch, a divisor of 16; fewer take less memory",
    )


def list_corpus_flags(args: argparse.Namespace) -> list[str]:
    """The flags of `add_corpus_flags`, as a command has them."""
    labels = ["--labels", ",".join(args.labels)] if args.labels else []
    return [*labels, "--join", args.join]


def check_settings(work_dir: Path, settings: dict, flag: str = "--work_dir") -> None:
    """Record the settings of a folder's runs. Raises InputError if earlier runs have others.

    A folder with settings alone holds no runs: the first one failed before it wrote anything.

    A local model is also known by its configuration and tokenizer, because another can be built in
    its folder. `flag` is the one that chooses `work_dir`.
    """
    settings = settings | {"model_sha256": hash_model(Path(settings["model"]))}
    path = work_dir / "settings.json"
    earlier = read_json(path)
    has_results = any(file != path for file in work_dir.glob("*"))
    if earlier and has_results and (changes := describe_changes(earlier, settings)):
        raise InputError(
            f"{work_dir} holds runs with other settings:\n  "
            + "\n  ".join(changes)
            + f"\nChoose another {flag}"
        )
    write_json(path, settings)


def hash_model(folder: Path) -> str | None:
    """A hash of a local model's configuration and tokenizer. None for a model of the hub."""
    if not (folder / "config.json").is_file():
        return None
    files = sorted(folder.glob("*.json"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def run_step(script: str, *arguments: object) -> None:
    """Run a script, or a module such as benchmarks.encoder, to its end.

    If it fails, it has printed why, so this process ends without a traceback.
    """
    program = [ROOT / script] if script.endswith(".py") else ["-m", script]
    command = [sys.executable, *program, *map(str, arguments)]
    status = subprocess.run(command, env=os.environ | KEEP_MEMORY).returncode
    if status:
        sys.exit(f"stopped: {script} failed (exit status {status})")


def write_chats(chats: Path, dataset: str, *flags: str) -> Path:
    """Write the training chats of a data set to a file. Returns it."""
    if not chats.is_file():
        run_step("data_processing.py", "--dataset", dataset, "--output", chats, *flags)
    return chats


def train_kind(args: argparse.Namespace, folder: Path, chats: Path, *flags: object) -> Path:
    """Train `folder/adapter` with the flags of `add_training_flags` and others. Returns it."""
    return train_adapter(
        folder,
        args.model,
        chats,
        # Gemma 3's window cannot pack the few chats of more than 512 tokens.
        *("--max_length", 512, "--precision", args.precision, "--lora_dropout", args.lora_dropout),
        *("--batch_size", args.batch_size, "--validation", args.validation, *flags),
    )


def train_adapter(folder: Path, model: str, chats: Path, *flags: object) -> Path:
    """Train `folder/adapter`. Returns it."""
    adapter = folder / "adapter"
    if not adapter.is_dir():
        run_step(
            "train.py",
            *("--model", model, "--data", chats, "--output_dir", adapter),
            *("--checkpoint_dir", folder / "results", "--batch_size", 8, "--resume", *flags),
        )
    return adapter


def evaluate_adapter(adapter: Path, output: Path, *flags: object) -> Path:
    """Answer sentences with an adapter. Returns the predictions."""
    if not (output / "metrics.json").is_file():
        run_step(
            "evaluate_hub.py",
            *("--adapter", adapter, "--batch_size", 64, "--output_dir", output, *flags),
        )
    return output / "predictions.jsonl"


def score_predictions(path: Path, min_confidence: float = 0.0) -> tuple[list[dict], dict]:
    """The tagged rows of a predictions file, and their metrics. See `report_predictions`."""
    # Imported here because scikit-learn takes a second.
    from ner.evaluation.predictions import read_answered, retag
    from ner.evaluation.summary import score_rows

    settings, answered = read_answered(path)
    return score_rows(retag(answered, settings), settings, min_confidence)


def format_f1(metrics: dict, sign: str = "") -> str:
    """F1 and its interval, for a cell of a table. `sign` is "+" for differences."""
    from ner.evaluation.tables import format_figure  # as above

    return format_figure(metrics["scores"]["seqeval"]["f1"], sign)
