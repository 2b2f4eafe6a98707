"""Read documents from text files, JSON lines or standard input, one at a time."""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ner.cli import InputError

STDIN = "-"
BOM = b"\xef\xbb\xbf"
OWN_FIELDS = ("entities", "incomplete")  # that tag.py writes


class Document(NamedTuple):
    """A document with the other fields of its JSON line, and the bytes that were read for it."""

    record: dict
    size: int

    @property
    def text(self) -> str:
        return self.record["text"]


def check_inputs(names: list[str], whole_file: bool) -> int | None:
    """Read all documents once, standard input excepted. Returns their size in bytes, if known.

    Raises InputError, with file and line, for anything that `read_documents` would refuse.
    """
    files = [name for name in names if name != STDIN]
    for name in files:
        if not Path(name).is_file():
            fault = "is a folder" if Path(name).is_dir() else "not found"
            raise InputError(f"{name}: {fault}. Pass a text file, JSON lines or - for the input")
        if whole_file and is_json_lines(name):
            raise InputError(
                f"{name}: each line of JSON lines is a document. Leave out --whole_file"
            )
    size = sum(document.size for document in read_documents(files, whole_file))
    return None if STDIN in names else size


def is_json_lines(name: str) -> bool:
    return Path(name).suffix == ".jsonl"


def read_documents(names: Iterable[str], whole_file: bool = False) -> Iterator[Document]:
    """The documents of files, in order: one per line, or one per file. `-` is standard input.

    Documents are not changed, except that the end of a line and a byte order mark do not belong to
    them. Raises InputError, with file and line, for text that is not UTF-8 and for a JSON line
    without a text.
    """
    for name in names:
        if name == STDIN:
            yield from read_lines(sys.stdin.buffer, "standard input", False, whole_file)
            continue
        try:
            with Path(name).open("rb") as file:
                yield from read_lines(file, name, is_json_lines(name), whole_file)
        except OSError as error:
            raise InputError(f"{name}: cannot be read ({error.strerror})") from None


def read_lines(file: BinaryIO, name: str, json_lines: bool, whole_file: bool) -> Iterator[Document]:
    lines = [file.read()] if whole_file else file
    for number, line in enumerate(lines, start=1):
        place = f"{name}:{number}"
        content = line.removeprefix(BOM) if number == 1 else line
        if not whole_file:
            content = content.removesuffix(b"\n").removesuffix(b"\r")
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{place}: not UTF-8 (byte {error.start}). Save the file as UTF-8"
            ) from None
        yield Document(parse_line(text, place) if json_lines else {"text": text}, len(line))


def read_texts(texts: Iterable[str]) -> Iterator[Document]:
    """The documents of a command line."""
    for text in texts:
        check_unicode(text, "--text")
        yield Document({"text": text}, len(text.encode()))


def parse_line(line: str, place: str) -> dict:
    """A JSON line's fields, without those that tag.py writes itself. Raises InputError."""
    try:
        record = json.loads(line)
        text = record["text"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = "no text" if isinstance(error, KeyError) else error
        raise InputError(f'{place}: expected {{"text": "…"}} ({reason})') from None
    if not isinstance(text, str):
        raise InputError(f"{place}: text must be a string, found {type(text).__name__}")
    check_unicode(json.dumps(record, ensure_ascii=False), place)
    return {name: value for name, value in record.items() if name not in OWN_FIELDS}


def check_unicode(text: str, place: str) -> None:
    """Check that a text can be written as UTF-8. Raises InputError."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(
            f"{place}: holds half of a surrogate pair or bytes that are not UTF-8. Remove them"
        ) from None
