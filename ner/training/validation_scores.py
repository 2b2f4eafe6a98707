"""The scores on held-out chats, one small file per checkpoint, which outlive the checkpoints."""

import json
from pathlib import Path

from ner.files import read_json, write_atomically

SCORES = "validation"


def write_scores(checkpoint_dir: Path, scores: dict) -> None:
    """Write the scores of the checkpoint at `scores["step"]`.

    They have the `step`, its `epoch`, the training `loss` since the checkpoint before (None if
    none was logged), seqeval's micro `f1`, and `counts`: right, predicted and gold entities for
    each held-out chat.
    """
    write_atomically(checkpoint_dir / SCORES / f"{scores['step']}.json", json.dumps(scores))


def read_scores(checkpoint_dir: Path) -> list[dict]:
    """The scores of a run's checkpoints so far, the first one first. See `write_scores`."""
    scores = [read_json(path) for path in (checkpoint_dir / SCORES).glob("[0-9]*.json")]
    return sorted(scores, key=lambda checkpoint: checkpoint["step"])
