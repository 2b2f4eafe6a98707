"""Read a predictions file: a line of settings, then one line per sentence."""

import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

from ner.cli import InputError
from ner.text.conversion import tag_answer
from ner.text.labels import list_tags
from ner.text.task import KLUE_TASK, Task, read_task

ROW_FIELDS = {"id": int, "tokens": list, "gold": list, "answer": str, "stopped": bool}


def read_predictions(path: Path) -> tuple[dict, list[dict]]:
    """Return the settings of a predictions file and its rows, sorted by id.

    A row has `id` (the sentence's row in the split), `tokens`, `gold` (IOB2 tags), `answer` (the
    raw text) and `stopped` (whether the model ended its answer itself). The others are optional:
    `pieces` (each token of the answer as [end, logprob], see `Piece`), and `tags` and `diagnosis`,
    which record how the answer was read when the file was written.

    Ignores an incomplete last line, which a killed process leaves behind. Raises InputError, with
    the line, for a malformed file.
    """
    settings, rows = {}, []
    for number, line in enumerate(read_complete_lines(path), start=1):
        try:
            item = json.loads(line)
            if number == 1:
                settings = get_settings(item)
                tags = list_tags(find_task(settings).labels)
            else:
                check_row(item, tags)
                rows.append(item)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{path}:{number}: {error}. Pass a predictions file that evaluate_hub.py wrote"
            ) from None
    rows.sort(key=lambda row: row["id"])
    for row, following in pairwise(rows):
        if row["id"] == following["id"]:
            raise InputError(
                f"{path}: sentence {row['id']} occurs more than once. Keep one line per sentence"
            )
    return settings, rows


def read_answered(path: Path) -> tuple[dict, list[dict]]:
    """Read a predictions file that has at least one answer. Raises InputError otherwise."""
    settings, rows = read_predictions(path)
    if not rows:
        raise InputError(f"{path}: holds no predictions yet. Run evaluate_hub.py first")
    return settings, rows


def read_complete_lines(path: Path) -> list[bytes]:
    """The lines of a file, without the last one if it is empty or incomplete JSON."""
    try:
        *lines, last = path.read_bytes().split(b"\n")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}). "
            "Pass a predictions file that evaluate_hub.py wrote"
        ) from None
    try:
        json.loads(last)
    except (ValueError, RecursionError):
        return lines
    return [*lines, last]


def get_settings(item: object) -> dict:
    """The settings in the first line. Raises ValueError if it holds none."""
    if not isinstance(item, dict) or not isinstance(item.get("settings"), dict):
        raise ValueError('the first line must be {"settings": {…}}')
    return item["settings"]


def find_task(settings: dict) -> Task:
    """The task under which predictions were made. KLUE's if the settings do not say."""
    return read_task(settings) or KLUE_TASK


def find_shared_labels(settings: dict, others: dict) -> Mapping[str, str]:
    """The labels of two predictions files. Raises InputError if they differ."""
    labels, other_labels = find_task(settings).labels, find_task(others).labels
    if set(labels) != set(other_labels):
        raise InputError(
            "the two files have different labels and cannot be compared: "
            f"{', '.join(labels)} and {', '.join(other_labels)}"
        )
    return labels


def check_row(row: object, tags: list[str]) -> None:
    """Check that a row has everything that scoring needs. Raises ValueError.

    `tags` are those that gold may have.
    """
    if not isinstance(row, dict) or not all(
        isinstance(row.get(name), kind) for name, kind in ROW_FIELDS.items()
    ):
        fields = ", ".join(f"{name} ({kind.__name__})" for name, kind in ROW_FIELDS.items())
        raise ValueError(f"a sentence needs {fields}")
    if not all(isinstance(token, str) for token in row["tokens"]):
        raise ValueError("tokens must be strings")
    if len(row["gold"]) != len(row["tokens"]) or any(tag not in tags for tag in row["gold"]):
        raise ValueError(f"gold must hold one tag per token, of {', '.join(tags)}")
    if "pieces" in row and not is_list_of_pieces(row["pieces"]):
        raise ValueError("pieces must be a list of [end, logprob], with logarithms of at most 0")


def is_list_of_pieces(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(piece, list)
        and [type(number) for number in piece] in ([int, float], [int, int])
        and piece[1] <= 0
        for piece in value
    )


def retag(rows: list[dict], settings: dict, min_confidence: float = 0.0) -> list[dict]:
    """Copies of the rows whose `tags` and `diagnosis` come from the current `tag_answer`.

    The task in the settings decides how the answers are read. Raises InputError if there is a
    threshold but a row has no `pieces`, and so no confidence.
    """
    if min_confidence and not all("pieces" in row for row in rows):
        raise InputError(
            "the predictions have no probabilities (pieces), so there is no confidence to compare "
            "with --min_confidence. Leave it out, or evaluate again"
        )
    task = find_task(settings)
    retagged = []
    for row in rows:
        tags, diagnosis = tag_answer(
            row["answer"],
            row["tokens"],
            task.kind,
            row.get("pieces"),
            min_confidence,
            task.labels,
        )
        retagged.append({**row, "tags": tags, "diagnosis": diagnosis})
    return retagged
