"""Where a marked answer stands in the sentence that it copies, and how it probably goes on."""

import re
from collections.abc import Iterable

from ner.text.alignment import find_all
from ner.text.klue import LABELS
from ner.text.marked import MARK, parse_marks
from ner.text.notation import CHARACTER, ESCAPED, escape

# A name that is open, with the colon and the beginning of its label.
OPEN_LABEL = re.compile(rf"<(?:{CHARACTER})+:(?P<label>[^<>:\\]*)\Z")
DRAFT = 8  # tokens of the copy to draft for a call of the model. See docs/measurements.md
TAILS = (8, 4, 2)  # characters of a poor copy that are looked for in the sentence


def continue_answer(answer: str, sentence: str, labels: Iterable[str] = LABELS) -> str | None:
    """The rest of a marked answer, if it opens no further name. None if that is unknown.

    >>> continue_answer("<손흥민", "손흥민은 왔다")
    '은 왔다'
    >>> continue_answer("<손흥민:P", "손흥민은 왔다")
    'S>은 왔다'
    """
    copy = parse_marks(answer).text
    begun = find_open_label(answer, labels)
    if begun is None or sentence.startswith(copy):
        return follow_copy(copy, sentence)
    possible = [label for label in labels if label.startswith(begun)]
    rest = follow_copy(copy.removesuffix(f":{begun}"), sentence)
    if len(possible) == 1 and rest is not None:
        return f"{possible[0].removeprefix(begun)}>{rest}"
    return None


def find_open_label(answer: str, labels: Iterable[str]) -> str | None:
    """The beginning of a label at the end of an answer, maybe empty. None if none is open."""
    opening = OPEN_LABEL.search(answer)
    if opening and any(label.startswith(opening["label"]) for label in labels):
        return opening["label"]
    return None


def follow_copy(copy: str, sentence: str) -> str | None:
    """The sentence after a copy that may be poor. None if their ends have nothing in common."""
    if sentence.startswith(copy):
        return escape(sentence[len(copy) :])
    for length in TAILS:
        ends = [end for _, end in find_all(copy[-length:], sentence)]
        if ends:
            return escape(sentence[min(ends, key=lambda end: abs(end - len(copy))) :])
    return None


def measure_copy(
    answer: str, sentence: str, labels: Iterable[str] = LABELS
) -> tuple[int, bool] | None:
    """How many characters of a sentence an exact copy has so far, and whether a name is open.

    None where that is uncertain: after a part of a character or of an escaped one, and after a
    colon that may close a name.
    """
    backslashes = len(answer) - len(answer.rstrip("\\"))
    if answer.endswith("\ufffd") or backslashes % 2:
        return None
    if find_open_label(answer, labels) is not None:
        return None
    copy = parse_marks(answer).text
    if not sentence.startswith(copy):
        return None
    unmarked = MARK.sub("", ESCAPED.sub("x", answer))
    return len(copy), "<" in unmarked
