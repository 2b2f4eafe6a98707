"""Write tagged documents in four formats, to a file that an interrupted run continues."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ner.cli import InputError, describe_changes
from ner.files import check_writable, format_json_line, read_json, write_json
from ner.tagging.reading import Document
from ner.tagging.recognizer import Names
from ner.text.documents import LINE_BREAKS, Sentence
from ner.text.notation import mark_entities
from ner.text.tags import write_tags

Format = Callable[[Document, list[Sentence], Names], str]


def format_jsonl(document: Document, sentences: list[Sentence], names: Names) -> str:
    return format_json_line({**document.record, **names.describe()})


def format_doccano(document: Document, sentences: list[Sentence], names: Names) -> str:
    spans = [[entity["start"], entity["end"], entity["label"]] for entity in names.entities]
    return format_json_line({**document.record, "label": spans})


def format_marked(document: Document, sentences: list[Sentence], names: Names) -> str:
    """KLUE's notation, one sentence per line. A document without sentences is an empty line."""
    tags = tag_characters(document, names)
    lines = [
        mark_entities(list(sentence.text), tags[sentence.start : sentence.end])
        for sentence in sentences
    ]
    return "\n".join(lines) + "\n"


def format_conll(document: Document, sentences: list[Sentence], names: Names) -> str:
    """One character and its tag per line, and an empty line. Line breaks are left out."""
    # A tab divides the columns, so a space stands for one in the text.
    tagged = zip(document.text.replace("\t", " "), tag_characters(document, names), strict=True)
    lines = [f"{character}\t{tag}\n" for character, tag in tagged if character not in LINE_BREAKS]
    return "".join(lines) + "\n"


def tag_characters(document: Document, names: Names) -> list[str]:
    """One IOB2 tag per character."""
    spans = [(entity["start"], entity["end"], entity["label"]) for entity in names.entities]
    return write_tags(spans, list(document.text))


FORMATS: dict[str, Format] = {
    "jsonl": format_jsonl,
    "marked": format_marked,
    "conll": format_conll,
    "doccano": format_doccano,
}


class Progress(NamedTuple):
    """How far a run has come."""

    documents: int = 0  # that are written
    sha256: str = hashlib.sha256().hexdigest()  # of these, as `run.hash_document` hashes them
    incomplete: int = 0  # sentences whose answers reached the token limit


class OutputFile:
    """A file of tagged documents, and the record of its progress beside it.

    Raises InputError if the file was written with other `settings`, by another program, or was
    changed since.
    """

    def __init__(self, path: Path, settings: dict):
        check_writable(path)
        self.path, self.settings = path, settings
        self.record = path.with_name(f"{path.name}.progress.json")
        self.size, self.progress, self.complete = 0, Progress(), False
        if not path.exists():
            return
        record = read_json(self.record)
        if record is None:
            raise InputError(
                f"{path}: exists, but {self.record.name} does not, so it cannot be continued. "
                "Choose another --output, or delete it"
            )
        if changes := describe_changes(record["settings"], settings):
            raise InputError(
                f"{path} was written with other settings:\n  "
                + "\n  ".join(changes)
                + "\nChoose another --output, or delete it"
            )
        self.size, self.complete = record["bytes"], record["complete"]
        size = path.stat().st_size
        # An interrupted run may have written documents that the record does not know yet.
        if size < self.size or (self.complete and size > self.size):
            raise InputError(
                f"{path}: was changed since. Choose another --output, or move the file away"
            )
        self.progress = Progress(**{name: record[name] for name in Progress._fields})

    def open(self) -> None:
        """Create the file, or cut off documents that the record does not know."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.save_record()
        with self.path.open("ab") as file:
            file.truncate(self.size)

    def append(self, content: str, progress: Progress) -> None:
        """Append tagged documents. `progress` is the progress with them."""
        with self.path.open("ab") as file:
            file.write(content.encode())
            file.flush()
            os.fsync(file.fileno())
            self.size = file.tell()
        self.progress = progress
        self.save_record()

    def finish(self) -> None:
        """Record that no document is missing."""
        self.complete = True
        self.save_record()

    def save_record(self) -> None:
        record = {
            "settings": self.settings,
            **self.progress._asdict(),
            "bytes": self.size,
            "complete": self.complete,
        }
        write_json(self.record, record)
