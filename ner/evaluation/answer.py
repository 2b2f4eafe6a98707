"""A model's answer, from wherever it comes."""

from typing import NamedTuple

DEFAULT_MAX_NEW_TOKENS = 512  # where no training answers are known


class Answer(NamedTuple):
    """The answer to one of the sentences that a model was given."""

    index: int
    text: str
    stopped: bool  # False if it reached the token limit
