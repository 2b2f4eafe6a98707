"""Marked answers: the sentence again, with its names marked in KLUE's notation.

    <손흥민:PS>은 <춘천:LC>에서 태어났다.

Such an answer says where a name is. A model that copies badly is still understood: its copy is
aligned with the sentence, and the marks move along.
"""

import re
from bisect import bisect_left
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ner.text.alignment import normalize
from ner.text.answers import canonical_label, index_labels, join_surrogates
from ner.text.klue import LABELS
from ner.text.notation import CHARACTER, ESCAPED

MARK = re.compile(rf"<(?P<mention>(?:{CHARACTER})+):(?P<label>[^<>:]*)>")
OPEN_MARK = re.compile(rf"<(?P<mention>(?:{CHARACTER})*)\Z")
PLAIN = re.compile(rf"(?:{CHARACTER}|>)+")
# A syllable, which normalization splits into conjoining jamo, or any other character.
UNIT = re.compile("[\u1100-\u1112][\u1161-\u1175][\u11a8-\u11c2]?|.", re.DOTALL)
# Cells of the alignment's table, 2 bytes each, and units of a sentence. They bound time and memory.
# A copy of more than 4,400 characters that is not exact is read only in part.
MAX_CELLS, MAX_LENGTH = 20_000_000, 30_000


class Mark(NamedTuple):
    """A mark of an answer: its label as written, and its mention's place in the unmarked text."""

    label: str
    start: int
    end: int
    span: tuple[int, int]  # of the whole mark in the answer, from < to >


class MarkedText(NamedTuple):
    """An answer without its marks, and the marks."""

    text: str
    marks: list[Mark]


def read_marked(
    answer: str, sentence: str, labels: Mapping[str, str] = LABELS
) -> tuple[dict, list[dict]]:
    """Read a marked answer: how it was read, and its mentions.

    The first has `read`: "copied" (the sentence as it is), "mended" (a copy with differences),
    "cut off" (a copy that ends before the sentence) or "unreadable" (no copy); and `edits`, the
    number of characters that are missing, wrong or too many. The mentions are those of
    `conversion.tag_answer`.
    """
    copy, known = parse_marks(answer), index_labels(labels)
    if copy.text == sentence:
        mentions = [
            describe_mention(copy, mark, (mark.start, mark.end), known) for mark in copy.marks
        ]
        return {"read": "copied", "edits": 0}, mentions
    alignment = align(copy.text, sentence)
    if copy.marks and 0 < alignment.end <= copy.marks[0].start:
        # The sentence without marks, and then with them.
        copy = skip_text(copy, alignment.end)
        alignment = align(copy.text, sentence)
    read = alignment.classify()
    mentions, end = [], 0
    for mark in copy.marks:
        span = None if read == "unreadable" else alignment.locate(mark.start, mark.end)
        if span and span[0] < end:
            span = None  # the other half of a character such as ㎞
        end = span[1] if span else end
        mentions.append(describe_mention(copy, mark, span, known))
    return {"read": read, "edits": alignment.count_edits()}, mentions


def skip_text(copy: MarkedText, end: int) -> MarkedText:
    """A marked text without its first `end` characters, in which there is no mark."""
    marks = [mark._replace(start=mark.start - end, end=mark.end - end) for mark in copy.marks]
    return MarkedText(copy.text[end:], marks)


def locate_marks(answer: str) -> list[tuple[int, int]]:
    """The span in the answer of each mention that `read_marked` lists, with its mark."""
    return [mark.span for mark in parse_marks(answer).marks]


def parse_marks(answer: str) -> MarkedText:
    """Take the marks out of an answer. Never raises.

    Brackets that mark nothing stay, except a last `<`, which may open a mark that breaks off.
    """
    parts, marks, length, position = [], [], 0, 0
    while position < len(answer):
        mark = MARK.match(answer, position)
        # The last mark may break off. It has no label then, and only its text counts.
        mention = mark or OPEN_MARK.match(answer, position)
        plain = PLAIN.match(answer, position)
        if mention:
            text, end = mention["mention"], mention.end()
        elif plain:
            text, end = plain[0], plain.end()
        else:
            text, end = "<", position + 1
        text = join_surrogates(ESCAPED.sub(r"\1", text))
        if mark:
            marks.append(Mark(mark["label"], length, length + len(text), mark.span()))
        parts.append(text)
        length += len(text)
        position = end
    return MarkedText("".join(parts), marks)


class Unit(NamedTuple):
    """A normalized syllable or other character, and its place in the text it comes from."""

    form: str
    start: int
    end: int


def split_units(text: str) -> list[Unit]:
    """Split a text into normalized units, without white space. Jamo become syllables again."""
    normalized, origin = normalize(text)
    return [
        Unit(unit[0], origin[unit.start()], origin[unit.end() - 1] + 1)
        for unit in UNIT.finditer(normalized)
    ]


class Alignment:
    """The units of a copy and of its sentence.

    `places` are the places of the copy's units in the sentence, in order, or None.
    """

    def __init__(self, copy: list[Unit], sentence: list[Unit], places: list[int | None]):
        self.copy, self.sentence, self.places = copy, sentence, places
        self.starts = [unit.start for unit in copy]
        # The units of the copy that are the same in the sentence.
        self.matched = [
            index
            for index, (unit, place) in enumerate(zip(copy, places, strict=True))
            if place is not None and unit.form == sentence[place].form
        ]
        self.end = copy[self.matched[-1]].end if self.matched else 0  # in the copy
        copied = {places[index] for index in self.matched}
        self.missing = [place for place in range(len(sentence)) if place not in copied]
        within = range(self.matched[0], self.matched[-1]) if self.matched else ()
        self.extra = [index for index in within if places[index] is None]

    def locate(self, start: int, end: int) -> tuple[int, int] | None:
        """The span in the sentence of a span of the copy; None if most of it is not there."""
        first, last = bisect_left(self.starts, start), bisect_left(self.starts, end)
        matched = bisect_left(self.matched, last) - bisect_left(self.matched, first)
        if not matched or 2 * matched < last - first:
            return None
        # A character that is written differently belongs to the span as well.
        places = [place for place in self.places[first:last] if place is not None]
        return self.sentence[places[0]].start, self.sentence[places[-1]].end

    def classify(self) -> str:
        """How a copy that is not exact was read; see `read_marked`."""
        shorter = min(len(self.copy), len(self.sentence))
        if not self.matched or 2 * len(self.matched) < shorter:
            return "unreadable"
        end = self.places[self.matched[-1]]
        if self.missing and not self.extra and self.missing[0] > end:
            return "cut off"
        return "mended"

    def count_edits(self) -> int:
        return len(self.missing) + len(self.extra)


def align(copy: str, sentence: str) -> Alignment:
    """Align a copy with its sentence in order, by edit distance between their units.

    Text before and after the copy, such as a fence, costs nothing. Among equally good alignments
    it replaces characters rather than leaving them out, and takes the earliest place.
    """
    target = split_units(sentence)[:MAX_LENGTH]
    units = split_units(copy)[: MAX_CELLS // (len(target) + 1)]
    table = compute_edit_distances(units, target)
    row, column = int(table[:, -1].argmin()), len(target)
    places: list[int | None] = [None] * len(units)
    while row > 0 and column > 0:
        differs = units[row - 1].form != target[column - 1].form
        aligned = table[row, column] == table[row - 1, column - 1] + differs
        missing = table[row, column] == table[row, column - 1] + 1
        # A wrong character is replaced rather than left out: it may be the first of a name.
        if aligned and (differs or not missing):
            row, column = row - 1, column - 1
            places[row] = column
        elif missing:
            column -= 1
        else:
            row -= 1
    return Alignment(units, target, places)


def compute_edit_distances(copy: list[Unit], target: list[Unit]) -> np.ndarray:
    """Edit distances of all beginnings, shape (len(copy) + 1, len(target) + 1).

    Leaving out the first units of the copy costs nothing.
    """
    codes = {form: code for code, form in enumerate(unit.form for unit in [*copy, *target])}
    target_codes = np.array([codes[unit.form] for unit in target], dtype=np.int32)
    steps = np.arange(len(target) + 1, dtype=np.int16)
    table = np.zeros((len(copy) + 1, len(target) + 1), dtype=np.int16)
    table[0] = steps
    for row, unit in enumerate(copy, start=1):
        above, here = table[row - 1], table[row]
        differs = target_codes != codes[unit.form]
        here[1:] = np.minimum(above[:-1] + differs, above[1:] + 1)
        # Leave out units of the target, from left to right.
        here[:] = np.minimum.accumulate(here - steps) + steps
    return table


def describe_mention(
    copy: MarkedText, mark: Mark, span: tuple[int, int] | None, known: dict[str, str]
) -> dict:
    label = canonical_label(mark.label, known)
    mention = {"label": label, "text": copy.text[mark.start : mark.end], "status": "not found"}
    if label not in known.values():
        mention["status"] = "unknown label"
    elif span:
        mention |= {"status": "placed", "start": span[0], "end": span[1]}
    return mention
