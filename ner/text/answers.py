"""Write the answers that a model learns, and read the answers that it gives.

An answer is a JSON object that maps labels to mentions: `{"PS": ["손흥민"], "LC": ["춘천"]}`.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ner.text.klue import LABELS
from ner.text.labels import fold_label

OPENING = re.compile(r"[{\[｛［]")
MARKS = r"{}\[\],:｛｝［］，："
QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "＂": "＂", "＇": "＇"}

# A quote ends a string only before punctuation, a fence or the end of the text: models forget to
# escape the quotes inside a name.
AFTER_STRING = rf"\s*(?:[{MARKS}]|``|\Z)"


def compile_string(opening: str, closing: str) -> re.Pattern:
    character = rf"[^{closing}\\]|\\.|{closing}(?!{AFTER_STRING})"
    return re.compile(rf"{opening}((?:{character})*){closing}(?={AFTER_STRING})", re.DOTALL)


STRINGS = {opening: compile_string(opening, closing) for opening, closing in QUOTES.items()}
BARE_WORD = re.compile(rf"([^{MARKS}]+)(?=[{MARKS}])")
COLON = re.compile(r"\s*[:：]")
NULLS = {"null", "true", "false", "None", "True", "False", "NaN", "Infinity", "-Infinity"}

ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
CONTROL_CHARACTERS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}

DEFAULT_MAX_NEW_TOKENS = 512  # of an answer, if no training answers are known
MAX_DEPTH = 100  # deeper nesting is not an answer and would only cost time


class Piece(NamedTuple):
    """A token of an answer: where it ends in the answer's text, and its log-probability."""

    end: int  # characters of the text up to the end of this token
    logprob: float  # natural logarithm


class Answer(NamedTuple):
    """A model's answer to one of the sentences that it was given."""

    index: int
    text: str
    stopped: bool  # False if it reached the token limit
    pieces: list[Piece] | None = None  # None if the model gives no probabilities


class Atom(str):
    """A string or bare word of an answer, and its span there without quotes."""

    span: tuple[int, int]


def write_answer(tokens: Sequence[str], entities: list[tuple[str, int, int]]) -> str:
    """Write the answer a model should give: the mentions as in the sentence, in its order.

    `entities` are (label, first token, token after the last).
    """
    answer: dict[str, list[str]] = {}
    for label, start, end in entities:
        answer.setdefault(label, []).append("".join(tokens[start:end]))
    return json.dumps(answer, ensure_ascii=False)


def read_answer(
    answer: str, labels: Mapping[str, str] = LABELS
) -> tuple[str, list[tuple[str, str]]]:
    """Read a model's answer: how it was read, and the (label, text) pairs it lists.

    The first is "json", "repaired", "cut off" or "unreadable"; see `conversion.tag_answer`. Plain
    JSON is tried first, then the first bracketed value in the text that can be an answer. `labels`
    are descriptions by name.
    """
    try:
        # Numbers stay text: 1.50 must be found as written, and 5,000 digits would raise.
        value = json.loads(answer, object_pairs_hook=list, parse_int=str, parse_float=str)
        read = "json"
    except (ValueError, RecursionError):
        value = None
    if not is_answer(value):
        read, value = scan_answer(answer)
    return read, [(label, join_surrogates(text)) for label, text in list_mentions(value, labels)]


def locate_mentions(answer: str, labels: Mapping[str, str] = LABELS) -> list[tuple[int, int]]:
    """The span in a JSON answer of each mention that `read_answer` lists, without quotes.

    Plain JSON that is nested too deeply has fewer spans than mentions.
    """
    return [text.span for _, text in list_mentions(scan_answer(answer)[1], labels)]


def scan_answer(answer: str) -> tuple[str, list]:
    """Find the first value in an answer that can be one; how it was read, and the value."""
    position = 0
    while opening := OPENING.search(answer, position):
        value, position, closed = scan_value(answer, opening.start())
        if is_answer(value) or not closed:
            return "repaired" if closed else "cut off", value
    return "unreadable", []


def is_answer(value: object) -> bool:
    """Whether a value is an object, a list of objects or empty. "[1]" in prose is none of these."""
    if not isinstance(value, list):
        return False
    items = value + [item for inner in value if isinstance(inner, list) for item in inner]
    return not items or any(isinstance(item, tuple) for item in items)


def scan_value(text: str, position: int) -> tuple[list, int, bool]:
    """Read the bracketed value that opens at `position`, in one pass, tolerating invalid JSON.

    Accepts any quotes or none, full-width marks, and missing or extra commas and "]". Objects are
    read as lists of (key, value) pairs, so a key may occur twice and an unclosed list may run on
    into the next key. Strings and words are atoms. Returns the value, its end, and whether it was
    closed. If it was not, the string or word that breaks off is dropped.
    """
    root: list = []
    open_values: list[tuple[str, list]] = [("", root)]  # each value's opening mark and items
    key = None
    while position < len(text):
        mark = text[position]
        position += 1
        opening, items = open_values[-1]
        if mark in "{[｛［":
            if len(open_values) > MAX_DEPTH:
                break
            nested: list = []
            append_value(items, key, nested)
            open_values.append((mark, nested))
            key = None
        elif mark in "}｝":
            close_object(open_values)
        elif mark in "]］":
            if opening in ("[", "［"):
                open_values.pop()
        elif not (mark.isspace() or mark in ",，:："):
            atom = STRINGS.get(mark, BARE_WORD).match(text, position - 1)
            if atom is None:
                break
            if colon := COLON.match(text, atom.end()):
                key = read_atom(atom)
            else:
                append_value(items, key, read_atom(atom))
                key = None
            position = (colon or atom).end()
        if len(open_values) == 1:
            return root[0], position, True
    return root[0], len(text), False


def append_value(items: list, key: str | None, value: object) -> None:
    items.append(value if key is None else (key, value))


def close_object(open_values: list[tuple[str, list]]) -> None:
    """Close the innermost object, and with it every list inside that was left open."""
    while len(open_values) > 1:
        opening, _ = open_values.pop()
        if opening in ("{", "｛"):
            return


def read_atom(match: re.Match) -> Atom | None:
    """The text of a matched string or bare word; None for null and similar words."""
    start, end = match.span(1)
    if match.re is BARE_WORD:
        atom = Atom(match[1].rstrip())
        if atom in NULLS:
            return None
        end = start + len(atom)
    else:
        atom = Atom(ESCAPE.sub(unescape, match[1]))
    atom.span = start, end
    return atom


def unescape(escape: re.Match) -> str:
    if escape[1]:
        return chr(int(escape[1], 16))
    return CONTROL_CHARACTERS.get(escape[2], escape[2])


def list_mentions(answer: list, labels: Mapping[str, str]) -> list[tuple[str, str]]:
    """List the (label, text) pairs of an answer in order, with our names for the labels.

    The texts are the answer's own strings or atoms.

    A text's label is the innermost key above it. If that key is "text", the label is the value of
    "label" beside it.
    """
    mentions, known = [], index_labels(labels)
    pending: list = [("", answer)]  # a stack rather than recursion: JSON may nest deeply
    while pending:
        label, value = pending.pop()
        if isinstance(value, list):
            fields = dict(item for item in value if isinstance(item, tuple))
            if is_record(fields, known):
                if isinstance(fields.get("label"), str):
                    label = fields["label"]
                pending.append((label, fields["text"]))
            else:
                pending.extend(
                    item if isinstance(item, tuple) else (label, item) for item in reversed(value)
                )
        elif isinstance(value, str) and value.strip() and label:
            mentions.append((canonical_label(label, known), value))
    return mentions


def is_record(fields: dict, known: dict[str, str]) -> bool:
    """Whether an object is {"text": …, "label": …} rather than a map from label to mentions."""
    if "text" not in fields:
        return False
    return not any(fold_label(name) in known for name in fields if name)


def index_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels by their folded names and descriptions. A name precedes a description."""
    descriptions = {fold_label(text): label for label, text in labels.items() if text}
    return descriptions | {fold_label(label): label for label in labels}


def canonical_label(name: str, known: dict[str, str]) -> str:
    """Our label for a name or a description in any case or width. Others stay as they are.

    `known` comes from `index_labels`.
    """
    return known.get(fold_label(name), join_surrogates(name))


def join_surrogates(text: str) -> str:
    r"""Join the halves of characters such as \ud83d\ude00. A lone half becomes U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
