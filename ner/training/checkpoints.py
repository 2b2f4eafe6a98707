"""List a run's checkpoints, check their hashes, and find the one to resume from."""

import hashlib
import json
from pathlib import Path

from ner.cli import InputError, describe_changes
from ner.files import read_json
from ner.model.adapter import RECORD
from ner.model.process import get_process
from ner.training.run import flatten_run

HASHES = "files.json"


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
    """Check that a folder has no checkpoints of an earlier run. Raises InputError."""
    if checkpoints := list_checkpoints(folder):
        raise InputError(
            f"{folder} holds {checkpoints[0].name} of an earlier run. To continue it, add "
            f"--resume. To start again, delete {folder} or choose another --checkpoint_dir, and "
            "another --output_dir to keep the earlier adapter"
        )


def find_checkpoint(folder: Path, run: dict) -> Path | None:
    """The checkpoint to resume from, if any. Raises InputError if `folder` holds another run."""
    process = get_process()
    checkpoints = list_checkpoints(folder)
    earlier = read_json(folder / RECORD)
    if checkpoints and not earlier:
        raise InputError(
            f"{folder} holds checkpoints but no {RECORD}, which describes their run. Choose "
            "another --checkpoint_dir"
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
