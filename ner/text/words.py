"""Sentences whose tokens are words become sentences whose tokens, put together, are the text."""

from collections.abc import Sequence
from itertools import chain

# Shares of the tokens of a data set whose tokens are characters.
FEWEST_SPACES, MOST_WORDS = 0.02, 0.1


def are_words(sentences: Sequence[Sequence[str]]) -> bool:
    """Whether tokens are words, without the spaces between them, and not characters.

    If a fiftieth is white space, or at most a tenth is longer than a character, they are
    characters.
    """
    # Those that are empty or null are reported later, with their row.
    tokens = list(filter(None, chain.from_iterable(tokens or [] for tokens in sentences)))
    if sum(token.isspace() for token in tokens) >= FEWEST_SPACES * len(tokens):
        return False
    return sum(len(token) > 1 for token in tokens) > MOST_WORDS * len(tokens)


def insert_spaces(words: Sequence[str], tags: Sequence[str]) -> tuple[list[str], list[str]]:
    """Put a space between words, as a token that is in an entity if both its neighbors are.

    >>> insert_spaces(["Kim", "Yuna", "ran"], ["B-PER", "I-PER", "O"])
    (['Kim', ' ', 'Yuna', ' ', 'ran'], ['B-PER', 'I-PER', 'I-PER', 'O', 'O'])
    """
    tokens, spaced_tags = [], []
    for word, tag in zip(words, tags, strict=True):
        if tokens:
            tokens.append(" ")
            spaced_tags.append(tag if tag.startswith("I-") else "O")
        tokens.append(word)
        spaced_tags.append(tag)
    return tokens, spaced_tags
