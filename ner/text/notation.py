r"""KLUE's readable notation: a sentence with its entities marked.

    <손흥민:PS>은 <춘천:LC>에서 태어났다.

`\<`, `\>` and `\\` stand for the characters themselves.
"""

import re
from collections.abc import Collection, Sequence

from ner.text.klue import LABELS
from ner.text.labels import NAME
from ner.text.tags import find_entities

CHARACTER = r"\\[<>\\]|[^<>\\]|\\(?![<>\\])"  # an escaped character, or any other
PART = re.compile(
    rf"<(?P<mention>(?:{CHARACTER})+):(?P<label>[^<>:]*)>|(?P<plain>(?:{CHARACTER}|>)+)"
)
UNOPENED = re.compile(rf":({NAME.pattern})>")
ESCAPED = re.compile(r"\\([<>\\])")
SPECIAL = re.compile(r"([<>\\])")


def parse_marked_sentence(
    line: str, labels: Collection[str] | None = LABELS
) -> tuple[list[str], list[str]]:
    r"""Characters and BIO tags of a sentence in KLUE's notation.

    With `labels=None`, any valid name is a label.

    >>> parse_marked_sentence("<봄:PS>이 왔다")
    (['봄', '이', ' ', '왔', '다'], ['B-PS', 'O', 'O', 'O', 'O'])

    Raises ValueError, which names the character, for a misplaced bracket or an unknown label.
    """
    tokens, tags, position = [], [], 0
    while position < len(line):
        part = PART.match(line, position)
        if part is None or (part["mention"] and not is_label(part["label"], labels)):
            found = line[position : position + 20]
            choice = f" with one of {', '.join(labels)}" if labels else ""
            raise ValueError(
                f"character {position + 1}: expected <mention:LABEL>{choice}, found {found}. "
                "Write \\< for a literal <"
            )
        check_unopened(part, labels or ())
        text = ESCAPED.sub(r"\1", part["mention"] or part["plain"])
        tokens += text
        if label := part["label"]:
            tags += [f"B-{label}"] + [f"I-{label}"] * (len(text) - 1)
        else:
            tags += ["O"] * len(text)
        position = part.end()
    return tokens, tags


def is_label(name: str, labels: Collection[str] | None) -> bool:
    return bool(NAME.fullmatch(name)) if labels is None else name in labels


def check_unopened(part: re.Match, labels: Collection[str]) -> None:
    """Check that plain text has no mention without its opening bracket. Raises ValueError."""
    for mark in UNOPENED.finditer(part["plain"] or ""):
        if mark[1] in labels:
            raise ValueError(
                f"character {part.start() + mark.start() + 1}: expected <mention:LABEL>, but this "
                "mention has no opening bracket. Write \\> for a literal >"
            )


def mark_entities(tokens: Sequence[str], tags: Sequence[str]) -> str:
    """Write a tagged sentence in KLUE's notation. The inverse of `parse_marked_sentence`."""
    marked, end = [], 0
    for label, start, stop in find_entities(tags):
        marked.append(escape("".join(tokens[end:start])))
        marked.append(f"<{escape(''.join(tokens[start:stop]))}:{label}>")
        end = stop
    return "".join(marked) + escape("".join(tokens[end:]))


def escape(text: str) -> str:
    return SPECIAL.sub(r"\\\1", text)
