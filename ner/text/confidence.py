"""How sure a model is of an entity: the probability of the tokens that wrote it."""

import math
from collections.abc import Sequence
from itertools import pairwise

from ner.cli import InputError
from ner.text.answers import Piece
from ner.text.tags import find_entities, map_characters


def round_pieces(pieces: Sequence[Piece], place: str) -> list[Piece]:
    """The pieces as they are saved, with log-probabilities of at most 0 and four decimals.

    Raises InputError, which names `place`, for a probability that is no number.
    """
    if any(math.isnan(piece.logprob) for piece in pieces):
        raise InputError(
            f"{place}: a token's probability is no number (NaN). The answers so far are kept. "
            "Check the model and its adapter, or try another --precision and another output"
        )
    # Rounding errors of the model can make a probability a little larger than 1.
    return [Piece(end, min(round(logprob, 4), 0.0)) for end, logprob in pieces]


def measure_confidence(pieces: Sequence[Piece], start: int, end: int) -> float:
    """The probability, 0 to 1, of the tokens that wrote the characters `start` to `end`.

    It is the product of their probabilities. 0 if there is no such token.
    """
    logprobs = select_logprobs(pieces, start, end)
    return min(math.exp(sum(logprobs)), 1.0) if logprobs else 0.0


def select_logprobs(pieces: Sequence[Piece], start: int, end: int) -> list[float]:
    """The log-probabilities of all tokens that overlap the characters `start` to `end`.

    A token that ends inside a character counts as a part of this character.
    """
    logprobs, begin = [], 0
    for piece_end, logprob in pieces:
        if begin < end and start < max(piece_end, begin + 1):
            logprobs.append(logprob)
        begin = piece_end
    return logprobs


def list_confidences(
    tags: Sequence[str],
    diagnosis: dict,
    tokens: Sequence[str],
    gold: Sequence[tuple[str, int, int]],
) -> list[tuple[float, bool]]:
    """The confidence of each entity in `tags`, and whether it is one of `gold`.

    `tags` and `diagnosis` are those of `tag_answer`, with confidences. `gold` are (label, first
    token, token after the last).
    """
    return [
        (mention["confidence"], entity in gold)
        for entity, mention in find_mentions(tags, diagnosis, tokens)
    ]


def find_mentions(
    tags: Sequence[str], diagnosis: dict, tokens: Sequence[str]
) -> list[tuple[tuple[str, int, int], dict]]:
    """Each entity in `tags`, and the mention or further occurrence that tagged it.

    Entities are (label, first token, token after the last). If mentions share a token, only the
    first may be in the tags.
    """
    token_of_character = map_characters(tokens)
    placed = [mention for mention in diagnosis["mentions"] if "start" in mention]
    mentions: dict[int, dict] = {}  # by token
    for mention in sorted(placed + diagnosis["further"], key=lambda mention: mention["start"]):
        for token in token_of_character[mention["start"] : mention["end"]]:
            mentions.setdefault(token, mention)
    return [(entity, mentions[entity[1]]) for entity in find_entities(tags)]


def choose_threshold(entities: Sequence[tuple[float, bool]], gold: int) -> float:
    """The threshold with the best F1 among entities of (confidence, whether it is right).

    `gold` is the number of gold entities. An entity is kept if its confidence is at least the
    threshold. This lies halfway between the lowest kept confidence and the next lower one. It is
    0 if all are kept. Among equally good thresholds it is the lowest.
    """
    threshold, best, right = 0.0, -1.0, 0
    ranked = sorted(entities, reverse=True)
    for kept, (entity, following) in enumerate(pairwise([*ranked, (0.0, False)]), start=1):
        right += entity[1]
        f1 = 2 * right / (kept + gold)
        is_last = kept == len(ranked)
        if (following[0] < entity[0] or is_last) and f1 >= best:
            best = f1
            threshold = 0.0 if is_last else (entity[0] + following[0]) / 2
    return threshold
