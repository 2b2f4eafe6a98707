"""Tags of a data set's tokens as tags of an encoder's word pieces, and back.

Both are aligned by their characters in the sentence. A piece belongs to the entity of its first
character, and the first piece of an entity has its B-.
"""

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from datasets import Dataset
from transformers import PreTrainedTokenizerFast

from benchmarks.tagger_run import Corpus
from ner.evaluation.counts import list_entities
from ner.text.tags import find_entities, map_characters, write_tags
from ner.training.encoding import IGNORED

Span = tuple[int, int]  # first character and the one after the last


class Encoded(NamedTuple):
    """Sentences as word pieces."""

    inputs: Dataset  # input_ids and the other inputs of the model
    spans: list[list[Span | None]]  # the characters of each piece


def find_spans(sentence: str, offsets: Sequence[Span]) -> list[Span | None]:
    """The characters of each piece, without white space around them.

    None for a piece without characters of its own: a special token, a space, or a further byte of a
    character.

    >>> find_spans("봄 비", [(0, 0), (0, 1), (0, 1), (1, 3), (0, 0)])
    [None, (0, 1), None, (2, 3), None]
    """
    spans: list[Span | None] = []
    covered = 0
    for start, end in offsets:
        start = max(start, covered)
        piece = sentence[start:end]
        start += len(piece) - len(piece.lstrip())
        spans.append((start, start + len(piece.strip())) if piece.strip() else None)
        covered = max(covered, end)
    return spans


def label_pieces(
    tokens: Sequence[str], tags: Sequence[str], spans: Sequence[Span | None]
) -> list[str | None]:
    """The tag of each piece; None for one without characters.

    >>> label_pieces(list("김씨는"), ["B-PS", "O", "O"], [None, (0, 2), (2, 3)])
    [None, 'B-PS', 'O']
    """
    token_of_character = map_characters(tokens)
    entity_of_token = {
        token: (label, first, stop)
        for label, first, stop in find_entities(tags)
        for token in range(first, stop)
    }
    labels: list[str | None] = []
    before = None
    for span in spans:
        if span is None:
            labels.append(None)
            continue
        entity = entity_of_token.get(token_of_character[span[0]])
        prefix = "I" if entity == before else "B"
        labels.append(f"{prefix}-{entity[0]}" if entity else "O")
        before = entity
    return labels


def spread_tags(
    piece_tags: Sequence[str], spans: Sequence[Span | None], tokens: Sequence[str]
) -> list[str]:
    """Well-formed IOB2 tags of the tokens.

    An entity reaches from the first character of its first piece to the last one of its last piece,
    with the marks on it. A token that is partly in an entity is in it. Tokens that no piece covers,
    such as those after a cut, are O.

    >>> spread_tags(["B-PS", "I-PS", "O"], [(0, 2), (3, 5), (5, 6)], list("안나 김이는"))
    ['B-PS', 'I-PS', 'I-PS', 'I-PS', 'I-PS', 'O']
    """
    sentence = "".join(tokens)
    kept = [(tag, span) for tag, span in zip(piece_tags, spans, strict=True) if span]
    entities = [
        (kept[first][1][0], skip_marks(sentence, kept[stop - 1][1][1]), label)
        for label, first, stop in list_entities([tag for tag, _ in kept])
    ]
    return write_tags(entities, tokens)


def skip_marks(sentence: str, position: int) -> int:
    """The position after the accents, vowels and finals that belong to the character before it.

    A normalizer such as NFC joins them with that character, whose piece then has its first
    character alone.

    >>> skip_marks(unicodedata.normalize("NFD", "솔은"), 1)
    3
    """
    while position < len(sentence) and is_mark(sentence[position]):
        position += 1
    return position


def is_mark(character: str) -> bool:
    """Whether a character is an accent, or a vowel or final that joins a Hangul initial."""
    return unicodedata.category(character).startswith("M") or "\u1160" <= character <= "\u11ff"


def encode(
    sentences: Sequence[list[str]], tokenizer: PreTrainedTokenizerFast, max_length: int
) -> Encoded:
    """Cut sentences, each a list of tokens, into word pieces. Prints how many are too long."""
    texts = ["".join(tokens) for tokens in sentences]
    encoding = tokenizer(texts, truncation=True, max_length=max_length, return_offsets_mapping=True)
    too_long = sum(bool(pieces.overflowing) for pieces in encoding.encodings)
    if too_long:
        print(f"note: {too_long:,} sentences have more than {max_length} pieces, the rest is O")
    offsets = encoding.pop("offset_mapping")
    return Encoded(Dataset.from_dict(dict(encoding)), list(map(find_spans, texts, offsets)))


def encode_training(corpus: Corpus, tokenizer: PreTrainedTokenizerFast, max_length: int) -> Dataset:
    """The training sentences with a label for each piece.

    Prints how many sentences keep their tags as pieces. The others have a piece that crosses the
    boundary of an entity, so no encoder with this tokenizer could tag them right.
    """
    encoded = encode([sentence.tokens for sentence in corpus.train], tokenizer, max_length)
    ids = {tag: number for number, tag in enumerate(corpus.tags)} | {None: IGNORED}
    labels, exact = [], 0
    for sentence, spans in zip(corpus.train, encoded.spans, strict=True):
        tags = label_pieces(*sentence, spans)
        labels.append([ids[tag] for tag in tags])
        exact += spread_tags([tag or "O" for tag in tags], spans, sentence.tokens) == sentence.tags
    print(f"word pieces: {exact:,} of {len(labels):,} training sentences keep their gold tags")
    return encoded.inputs.add_column("labels", labels)
