"""Read a predictions file: a line of settings, then one line per sentence."""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from ner.cli import InputError
from ner.text.conversion import diagnose_tags, tag_answer
from ner.text.labels import check_continuation, list_tags
from ner.text.task import KLUE_TASK, Task, read_task

ROW_FIELDS = {"id": int, "tokens": list, "gold": list}
ANSWER_FIELDS = {"answer": str, "stopped": bool}


def read_predictions(path: Path) -> tuple[dict, list[dict]]:
    """Return the settings of a predictions file and its rows, sorted by id.

    A row has `id` (the sentence's row in the split), `tokens`, `gold` (IOB2 tags), `answer` (the
    raw text) and `stopped` (whether the model ended its answer itself). The others are optional:
    `pieces` (each token of the answer as [end, logprob], see `Piece`), and `tags` and `diagnosis`,
    which record how the answer was read when the file was written.

    The rows of a system that tags the tokens itself have well-formed `tags` and no answer.

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
        if has_answer(row) != has_answer(following):
            answered, tagged = (row, following) if has_answer(row) else (following, row)
            raise InputError(
                f"{path}: sentence {answered['id']} has an answer, but {tagged['id']} has tags "
                "alone. Keep the sentences of one system in a file"
            )
    return settings, rows


def read_answered(path: Path) -> tuple[dict, list[dict]]:
    """Read a predictions file that has at least one sentence. Raises InputError otherwise."""
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


def name_model(settings: dict) -> str:
    """The model and its adapter."""
    names = [str(settings[name]) for name in ("model", "adapter") if settings.get(name)]
    return " + ".join(names) or "a model"


def find_task(settings: dict) -> Task:
    """The task under which predictions were made. KLUE's if the settings do not say.

    Those of tags alone have no prompt, but they can have labels.
    """
    return read_task({"prompt": KLUE_TASK.prompt} | settings) or KLUE_TASK


def check_same_labels(settings: dict, others: dict) -> None:
    """Check that two predictions files have the same labels. Raises InputError."""
    labels, other_labels = find_task(settings).labels, find_task(others).labels
    if set(labels) != set(other_labels):
        raise InputError(
            "the two files have different labels and cannot be compared: "
            f"{', '.join(labels)} and {', '.join(other_labels)}"
        )


def check_same_sentences(rows: list[dict], others: list[dict]) -> None:
    """Check that two sorted lists of rows have the same sentences and gold tags.

    Raises InputError.
    """
    if unshared := {row["id"] for row in rows} ^ {row["id"] for row in others}:
        raise InputError(
            f"the two files hold different sentences: {len(unshared):,} are in only one of them, "
            f"such as {min(unshared)}. Compare runs with the same --dataset, --split, "
            "--num_samples and --seed"
        )
    for row, other in zip(rows, others, strict=True):
        if (row["tokens"], row["gold"]) != (other["tokens"], other["gold"]):
            raise InputError(
                f"the two files hold different sentences: {row['id']} has other tokens or gold "
                "tags. Compare runs with the same --dataset and --split"
            )


def check_comparable(
    paths: Sequence[Path], files: Sequence[tuple[dict, list[dict]]]
) -> Mapping[str, str]:
    """The labels of the first predictions file, which all others must share.

    `files` are the settings and rows of each path. Raises InputError, with both paths, if the
    labels or the sentences of one differ from those of the first.
    """
    settings, rows = files[0]
    for path, (other_settings, other_rows) in zip(paths[1:], files[1:], strict=True):
        try:
            check_same_labels(settings, other_settings)
            check_same_sentences(rows, other_rows)
        except InputError as error:
            raise InputError(f"{paths[0]} and {path}: {error}") from None
    return find_task(settings).labels


def check_row(row: object, tags: list[str]) -> None:
    """Check that a row has everything that scoring needs. Raises ValueError.

    `tags` are those that gold may have.
    """
    if not isinstance(row, dict):
        raise ValueError("a sentence must be a JSON object")
    fields = ROW_FIELDS | (ANSWER_FIELDS if has_answer(row) else {"tags": list})
    missing = [name for name, kind in fields.items() if not isinstance(row.get(name), kind)]
    if missing:
        needed = ", ".join(f"{name} ({fields[name].__name__})" for name in missing)
        choice = ", or answer and stopped" if "tags" in missing else ""
        raise ValueError(f"a sentence needs {needed}{choice}")
    if not all(isinstance(token, str) for token in row["tokens"]):
        raise ValueError("tokens must be strings")
    if len(row["gold"]) != len(row["tokens"]) or any(tag not in tags for tag in row["gold"]):
        raise ValueError(f"gold must hold one tag per token, of {', '.join(tags)}")
    if not has_answer(row):
        check_tags(row, tags)
    elif "pieces" in row and not is_list_of_pieces(row["pieces"]):
        raise ValueError("pieces must be a list of [end, logprob], with logarithms of at most 0")


def has_answer(row: dict) -> bool:
    """Whether a row holds a model's answer. If not, it has tags alone."""
    return "answer" in row or "stopped" in row


def check_tags(row: dict, tags: list[str]) -> None:
    """Check a row with tags alone, which may be those in `tags`. Raises ValueError."""
    if not all(row["tokens"]):
        raise ValueError("a token is empty. Remove it, with its tags")
    if len(row["tags"]) != len(row["tokens"]) or any(tag not in tags for tag in row["tags"]):
        raise ValueError(f"tags must hold one tag per token, of {', '.join(tags)}")
    for before, tag in pairwise(["O", *row["tags"]]):
        check_continuation(before, tag)
    if "pieces" in row:
        raise ValueError("pieces are the tokens of an answer, and there is none")


def is_list_of_pieces(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(piece, list)
        and [type(number) for number in piece] in ([int, float], [int, int])
        and piece[1] <= 0
        for piece in value
    )


def retag(rows: list[dict], settings: dict, min_confidence: float = 0.0) -> list[dict]:
    """Copies of the rows whose `tags` and `diagnosis` come from the current `tag_answer`.

    The task in the settings decides how the answers are read. A row without an answer keeps its
    tags. Raises InputError if there is a threshold but a row has no `pieces`, and so no confidence.
    """
    if min_confidence and not all("pieces" in row for row in rows):
        raise InputError(
            "the predictions have no probabilities (pieces), so there is no confidence to compare "
            "with --min_confidence. Leave it out, or evaluate again"
        )
    task = find_task(settings)
    retagged = []
    for row in rows:
        if not has_answer(row):
            retagged.append({**row, "diagnosis": diagnose_tags(row["tags"], row["tokens"])})
            continue
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
