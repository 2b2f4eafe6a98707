"""From IOB2 tags to entities and back."""

from collections.abc import Sequence
from itertools import pairwise


def find_entities(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """List the entities of IOB2 tags as (label, first token, token after the last).

    An I- tag that does not continue an entity of its label ends the current one and starts none.

    >>> find_entities(["B-PS", "I-PS", "I-LC", "O", "B-LC"])
    [('PS', 0, 2), ('LC', 4, 5)]
    """
    entities = []
    label, start = None, 0
    for position, tag in enumerate([*tags, "O"]):
        if label is not None and tag != f"I-{label}":
            entities.append((label, start, position))
            label = None
        if tag.startswith("B-"):
            label, start = tag.removeprefix("B-"), position
    return entities


def start_entities(tags: Sequence[str]) -> list[str]:
    """Well-formed IOB2 tags: an I- that continues nothing becomes B-, as in conlleval.

    >>> start_entities(["O", "I-PS", "I-PS", "I-LC", "B-LC", "I-LC"])
    ['O', 'B-PS', 'I-PS', 'B-LC', 'B-LC', 'I-LC']
    """
    fixed = []
    for before, tag in pairwise(["O", *tags]):
        starts = tag.startswith("I-") and before[2:] != tag[2:]
        fixed.append(f"B-{tag[2:]}" if starts else tag)
    return fixed


def map_characters(tokens: Sequence[str]) -> list[int]:
    """The token that each character of the sentence belongs to."""
    return [position for position, token in enumerate(tokens) for _ in token]


def write_tags(entities: list[tuple[int, int, str]], tokens: Sequence[str]) -> list[str]:
    """Write entities as one IOB2 tag per token.

    `entities` are (start, end, label) in characters of the sentence and do not overlap. A token
    that two entities share goes to the first.
    """
    token_of_character = map_characters(tokens)
    tags = ["O"] * len(tokens)
    for start, end, label in sorted(entities):
        prefix = "B-"
        for position in range(token_of_character[start], token_of_character[end - 1] + 1):
            if tags[position] == "O":
                tags[position] = prefix + label
                prefix = "I-"
    return tags
