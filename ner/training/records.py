"""What a run is, which checkpoints it left, and which of them can be resumed."""

import hashlib
import json
import sys
from importlib.metadata import version
from pathlib import Path

from ner.cli import InputError, describe_changes
from ner.files import read_json, write_atomically
from ner.model.hub import Base, find_base
from ner.model.process import get_process
from ner.text.chats import describe_chats
from ner.training.settings import TrainingSettings

PACKAGES = ["torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate", "datasets"]
RECORD = "training.json"
HASHES = "files.json"
# A resumed run may change these. The chats' fingerprint decides, not where they came from.
# Checkpointing computes the same numbers again.
FREE_ON_RESUME = {"source", "activation_checkpointing", "checkpoint_every"}


def describe_run(settings: TrainingSettings, base: Base, adapter: Path | None = None) -> dict:
    """Everything that decides a run's result: base, data, settings, library versions, adapter."""
    versions = {"python": sys.version.split()[0]}
    versions |= {package: version(package) for package in PACKAGES}
    run = {
        "base": {"name": base.name, "revision": base.revision},
        "data": describe_chats(settings.data),
        "settings": settings.recipe() | {"processes": get_process().num_processes},
        "versions": versions,
    }
    if adapter:
        from ner.model.tensors import hash_adapter

        run["adapter"] = {"source": settings.adapter, "sha256": hash_adapter(adapter)}
    return run


def find_run_base(settings: TrainingSettings, resume: bool) -> Base:
    """The base model. A resumed run keeps the commit that it began with."""
    revision = settings.revision
    earlier = read_json(settings.checkpoint_dir / RECORD)
    if resume and earlier and not revision:
        revision = earlier["base"]["revision"]
    return find_base(settings.model, revision)


def write_record(folder: Path, run: dict) -> None:
    write_atomically(folder / RECORD, json.dumps(run, ensure_ascii=False, indent=2))


def flatten_run(run: dict) -> dict:
    """A run's fields by dotted name, without those that a resumed run may change.

    The chats of a step count, not how they are divided into micro-batches.
    """
    settings = dict(run["settings"])
    batch_size, accumulation = settings.pop("batch_size"), settings.pop("gradient_accumulation")
    settings["chats a step"] = batch_size * accumulation
    return {
        f"{part}.{name}": value
        for part, fields in (run | {"settings": settings}).items()
        for name, value in fields.items()
        if name not in FREE_ON_RESUME
    }


def count_steps(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("checkpoint-"))


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a folder, complete or not, the last one first."""
    checkpoints = [
        path
        for path in folder.glob("checkpoint-*")
        if path.name.removeprefix("checkpoint-").isdigit()
    ]
    return sorted(checkpoints, key=count_steps, reverse=True)


def hash_files(folder: Path) -> str:
    """The SHA-256 of every file of a checkpoint, as JSON."""
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and path.name != HASHES]
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    return json.dumps(hashes, indent=2)


def is_complete(checkpoint: Path) -> bool:
    """Whether a checkpoint's files are those that were hashed. Without hashes it is incomplete."""
    path = checkpoint / HASHES
    return path.is_file() and path.read_bytes() == hash_files(checkpoint).encode()


def check_unused(folder: Path) -> None:
    """Check that a new run finds no checkpoints of another. Raises InputError."""
    if checkpoints := list_checkpoints(folder):
        raise InputError(
            f"{folder} holds {checkpoints[0].name} of an earlier run. To continue it, add "
            f"--resume. To start again, delete {folder} or name another --checkpoint_dir"
        )


def find_checkpoint(folder: Path, run: dict) -> Path | None:
    """The checkpoint to resume from, if any. Raises InputError if `folder` holds another run."""
    process = get_process()
    checkpoints = list_checkpoints(folder)
    earlier = read_json(folder / RECORD)
    if checkpoints and not earlier:
        raise InputError(
            f"{folder} holds checkpoints but no {RECORD}, which describes their run. Name another "
            "--checkpoint_dir"
        )
    if earlier and (changes := describe_changes(flatten_run(earlier), flatten_run(run))):
        raise InputError(
            f"{folder} holds a run with other settings, and resuming would mix the two:\n  "
            + "\n  ".join(changes)
        )
    for checkpoint in checkpoints:
        if is_complete(checkpoint):
            process.print(f"resuming from {checkpoint}")
            return checkpoint
        process.print(f"{checkpoint} is incomplete; trying the one before")
    process.print("no checkpoint to resume from: starting at the first step")
    return None
