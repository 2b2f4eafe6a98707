"""Corpora in text files: KLUE's notation, a token and a tag on each line, or spans in JSON lines.

Each reader returns a list of sentences, (tokens, tags) with tags such as B-PS. The labels are those
of `labels.json`, or any without it. The readers raise InputError with file and line.
"""

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ner.cli import InputError
from ner.text.labels import check_continuation, check_label, choose_labels, list_labels, read_tag
from ner.text.notation import parse_marked_sentence
from ner.text.tags import write_tags

Sentence = tuple[list[str], list[str]]
NAMES = ("{}.txt", "{}.conll", "{}.tsv", "klue-ner-v1.1_{}.tsv", "{}.jsonl")
# KLUE's own files have comments at the top, and each sentence above its characters. The token ##,
# with a tag alone behind it, is no comment.
KLUE_COMMENT = re.compile(r"## (?!\S+$)")
EXAMPLE = '{"text": "봄이 왔다", "label": [[0, 1, "DT"]]}'
# JSON has no bare quotes within a string, so these can only be names of fields.
OTHER_RECORD = re.compile(r'"(tokens|messages)"\s*:')
SPAN_FIELDS = ("label", "labels", "entities")


def find_text_file(folder: Path, split: str) -> Path | None:
    """A folder's file for a split; the validation split's name can also be dev or test.

    Returns None for a folder in the hub's layout. Raises InputError for two files or only others.
    """
    for name in ("validation", "dev", "test") if split == "validation" else (split,):
        files = list_text_files(folder, name)
        if len(files) > 1:
            found = " and ".join(file.name for file in files)
            raise InputError(f"{folder}: has {found}. Keep one of them")
        if files:
            return files[0]
    splits = {split, "train", "validation", "dev", "test"}
    others = {file.name for name in splits for file in list_text_files(folder, name)}
    others = sorted(others | {path.name for path in folder.glob("*.txt")})
    # A data set in the hub's layout may have a LICENSE.txt.
    if others and not has_hub_files(folder):
        raise InputError(f"{folder}: has no file for the split {split}, only {', '.join(others)}")
    return None


def has_hub_files(folder: Path) -> bool:
    return any(folder.rglob("*.parquet")) or any(map(has_other_records, folder.glob("*.jsonl")))


def list_text_files(folder: Path, split: str) -> list[Path]:
    files = [folder / name.format(split) for name in NAMES]
    return [file for file in files if file.is_file() and not has_other_records(file)]


def has_other_records(path: Path) -> bool:
    """Whether a file has JSON lines with the hub's columns, or the chats that we write."""
    if path.suffix != ".jsonl":
        return False
    with path.open(encoding="utf-8", errors="replace") as lines:
        return OTHER_RECORD.search(lines.readline()) is not None


def read_text_file(path: Path, labels: Collection[str] | None) -> list[Sentence]:
    """The sentences of a file in any of the forms."""
    read = {".txt": read_marked_file, ".jsonl": read_span_file}.get(path.suffix, read_tag_file)
    return read(path, labels)


def read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not UTF-8 (byte {error.start}). Save the file as UTF-8"
        ) from None


def read_marked_file(path: Path, labels: Collection[str] | None = None) -> list[Sentence]:
    """Read one sentence per line, in KLUE's notation. Skips blank lines."""
    sentences = parse_marked_lines(path, labels)
    if labels is None:
        # With the labels known, a mention without its opening bracket is found.
        tags = {tag for _, sentence_tags in sentences for tag in sentence_tags}
        sentences = parse_marked_lines(path, choose_labels(list_labels(tags), None, path))
    if not sentences:
        raise InputError(
            f"{path}: no sentences. Expected one per line, such as <손흥민:PS>은 달린다."
        )
    return sentences


def parse_marked_lines(path: Path, labels: Collection[str] | None) -> list[Sentence]:
    sentences = []
    for number, line in enumerate(read_lines(path), start=1):
        if line.strip():
            try:
                sentences.append(parse_marked_sentence(line, labels))
            except ValueError as error:
                raise InputError(f"{path}:{number}: {error}") from None
    return sentences


def read_tag_file(path: Path, labels: Collection[str] | None = None) -> list[Sentence]:
    """Read a token and its tag per line, with a blank line between sentences.

    Skips the comments of KLUE's own files and the -DOCSTART- lines of CoNLL-2003.
    """
    sentences, tokens, tags = [], [], []
    for number, line in enumerate([*read_lines(path), ""], start=1):
        if not line.strip():
            if tokens:
                sentences.append((tokens, tags))
            tokens, tags = [], []
        elif tokens or not is_comment(line):
            try:
                token, tag = split_columns(line, len(tokens) + 1)
                tag = read_tag(tag, labels)
                check_continuation(tags[-1] if tags else "O", tag)
                tokens.append(token)
                tags.append(tag)
            except ValueError as error:
                raise InputError(f"{path}:{number}: {error}") from None
    if not sentences:
        raise InputError(f"{path}: no sentences. Expected a token, a tab and its tag on each line")
    return sentences


def is_comment(line: str) -> bool:
    """Whether a line before the first token of a sentence has no token."""
    return line.startswith("-DOCSTART-") or KLUE_COMMENT.match(line) is not None


def split_columns(line: str, number: int) -> tuple[str, str]:
    """The token and the tag of a line, the `number`th of its sentence. Raises ValueError."""
    columns = line.split("\t") if "\t" in line else line.split()
    if len(columns) == 3 and columns[0] == str(number):
        del columns[0]  # Naver's files number their tokens
    # CoNLL-2003 has two columns between the token and its tag.
    if len(columns) not in (2, 4) or not columns[0]:
        raise ValueError(f"expected a token, a tab and its tag, found {line[:40]!r}")
    return columns[0], columns[-1].strip()


def read_span_file(path: Path, labels: Collection[str] | None = None) -> list[Sentence]:
    """Read a JSON object per line, with `text` and spans, as doccano and spaCy write them.

    The tokens are the characters of the text. Skips blank lines and blank texts.
    """
    sentences = []
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        try:
            text, spans = parse_record(line)
            check_spans(spans, text, labels)
        except ValueError as error:
            raise InputError(f"{path}:{number}: {error}") from None
        if text.strip():
            sentences.append((list(text), write_tags(spans, text)))
    if not sentences:
        raise InputError(f"{path}: no sentences. Expected one per line, such as {EXAMPLE}")
    return sentences


def parse_record(line: str) -> tuple[str, list[tuple[int, int, str]]]:
    """The text and the spans (start, end, label) of a JSON line. Raises ValueError."""
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error}). Expected {EXAMPLE}") from None
    fields = [name for name in SPAN_FIELDS if name in record] if isinstance(record, dict) else []
    if len(fields) != 1 or not isinstance(record.get("text"), str):
        raise ValueError(
            f"expected an object with text and one of {', '.join(SPAN_FIELDS)}, such as {EXAMPLE}"
        )
    spans = record[fields[0]]
    if not isinstance(spans, list):
        raise ValueError(f"{fields[0]}: expected a list of [start, end, label], found {spans}")
    record["text"].encode()  # refuses half a character, which JSON can write
    return record["text"], sorted(map(parse_span, spans))


def parse_span(span: Any) -> tuple[int, int, str]:
    """A span as (start, end, label). Raises ValueError."""
    if isinstance(span, dict):
        values = tuple(span.get(name) for name in ("start_offset", "end_offset", "label"))
    else:
        values = tuple(span) if isinstance(span, list) else ()
    if tuple(map(type, values)) != (int, int, str):
        raise ValueError(f"expected [start, end, label], found {json.dumps(span)[:80]}")
    return values


def check_spans(
    spans: list[tuple[int, int, str]], text: str, labels: Collection[str] | None
) -> None:
    """Check the labels of sorted spans, and that they lie in the text. Raises ValueError."""
    last = 0
    for start, end, label in spans:
        check_label(label, labels)
        if not 0 <= start < end <= len(text):
            raise ValueError(
                f"span [{start}, {end}] is empty or outside the text, which has {len(text)} "
                "characters. Offsets count characters from 0, and the end is not part of a span"
            )
        if start < last:
            raise ValueError(f"span [{start}, {end}] overlaps the one that ends at {last}")
        last = end
