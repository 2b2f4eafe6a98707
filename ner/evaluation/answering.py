"""Answer the sentences of a split and keep each answer, so that an interrupted run can continue."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from datasets import Dataset
from tqdm import tqdm

from ner.cli import InputError, describe_changes
from ner.evaluation.predictions import read_predictions
from ner.files import format_json_line, write_atomically
from ner.inference.building import SentenceRecognizer
from ner.model.process import get_process
from ner.text.answers import Answer
from ner.text.confidence import round_pieces
from ner.text.conversion import tag_answer
from ner.text.corpus import Join, get_id2label, load_split, sample_rows
from ner.text.task import Task


def draw_rows(
    dataset: str,
    split: str,
    num_samples: int,
    seed: int,
    tag_names: Sequence[str] | None = None,
    join: Join = "auto",
) -> Dataset:
    """A seeded sample of a split. The column `row` has each sentence's position in the split.

    `tag_names` and `join` are those of `load_split`.
    """
    rows = load_split(dataset, split, tag_names, join)
    return sample_rows(rows.add_column("row", list(range(len(rows)))), num_samples, seed)


def hash_sentences(rows: Dataset) -> str:
    """A fingerprint of the sentences and their gold tags, in their order."""
    return hashlib.sha256(json.dumps([rows["tokens"][:], rows["ner_tags"][:]]).encode()).hexdigest()


def answer_rows(
    path: Path,
    settings: dict,
    rows: Dataset,
    recognizer: SentenceRecognizer,
    require_pieces: bool = False,
) -> None:
    """Answer every row that is not in `path` yet, and collect the answers there.

    The processes of `accelerate launch` share the sentences. Raises InputError, before any sentence
    is answered, if earlier answers lack required `pieces`.
    """
    process = get_process()
    if process.is_main_process:
        collect_predictions(path, settings)
    process.wait_for_everyone()
    earlier = read_predictions(path)[1]
    if require_pieces and not all("pieces" in row for row in earlier):
        raise InputError(
            f"{path} holds answers without probabilities (pieces), so they have no confidence. "
            "Leave out --min_confidence, or choose another --output_dir"
        )
    answered = {row["id"] for row in earlier}
    pending = [index for index, row in enumerate(rows["row"]) if row not in answered]
    if process.is_main_process:
        print(
            f"sentences: {len(rows):,}, already answered: {len(answered):,}, "
            f"processes: {process.num_processes}"
        )
    share = pending[process.process_index :: process.num_processes]
    if share:
        own = path
        if not process.is_main_process:
            own = path.with_name(f"{path.stem}.process{process.process_index}.jsonl")
        sentences = {index: "".join(rows[index]["tokens"]) for index in share}
        answers = recognizer.answer(sentences)
        append_predictions(own, settings, rows, recognizer.task, answers, len(share))
    process.wait_for_everyone()
    if process.is_main_process:
        collect_predictions(path, settings)


def collect_predictions(path: Path, settings: dict) -> None:
    """Collect all answers so far, those of other processes included, in `path`.

    Writes the file atomically, without a line that a killed process left incomplete. Raises
    InputError if answers were made with other settings.
    """
    parts = sorted(path.parent.glob(f"{path.stem}.process*.jsonl"))
    rows = {}
    for part in [path, *parts]:
        if not part.is_file():
            continue
        earlier, answered = read_predictions(part)
        if answered and (changes := describe_changes(earlier, settings)):
            raise InputError(
                f"{part} holds answers made with other settings, and the two would be mixed:\n  "
                + "\n  ".join(changes)
                + f"\nChoose another --output_dir, or delete {part.parent}"
            )
        rows.update((row["id"], row) for row in answered)
    lines = [{"settings": settings}, *(rows[row_id] for row_id in sorted(rows))]
    write_atomically(path, "".join(format_json_line(line) for line in lines))
    for part in parts:
        part.unlink()


def append_predictions(
    path: Path, settings: dict, rows: Dataset, task: Task, answers: Iterator[Answer], total: int
) -> None:
    """Append each answer to `path` as it arrives, with its tags and its diagnosis."""
    id2label = get_id2label(rows)
    is_new = not path.is_file()
    hide = not get_process().is_main_process
    with (
        path.open("a", encoding="utf-8", newline="\n") as file,
        tqdm(total=total, desc="answers", unit="sentence", disable=hide) as progress,
    ):
        if is_new:
            file.write(format_json_line({"settings": settings}))
        for answer in answers:
            line = describe_answer(answer, rows[answer.index], id2label, task)
            file.write(format_json_line(line))
            file.flush()
            progress.update()


def describe_answer(answer: Answer, row: dict, id2label: dict[int, str], task: Task) -> dict:
    """A line of the predictions file. Raises InputError for a probability that is no number."""
    pieces = answer.pieces
    if pieces is not None:
        pieces = round_pieces(pieces, f"sentence {row['row']}")
    tags, diagnosis = tag_answer(answer.text, row["tokens"], task.kind, pieces, labels=task.labels)
    line = {
        "id": row["row"],
        "tokens": row["tokens"],
        "gold": [id2label[tag] for tag in row["ner_tags"]],
        "answer": answer.text,
        "tags": tags,
        "diagnosis": diagnosis,
        "stopped": answer.stopped,
    }
    if pieces is not None:
        line["pieces"] = pieces
    return line
