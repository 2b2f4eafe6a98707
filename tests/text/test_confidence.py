"""The confidence of a mention, and the threshold with the best F1."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ner.text.answers import Piece
from ner.text.confidence import choose_threshold, list_confidences, measure_confidence
from ner.text.conversion import tag_answer

# The tokens "ab", "cde" and "f", with the probabilities 0.5, 0.8 and 0.9.
PIECES = [Piece(2, math.log(0.5)), Piece(5, math.log(0.8)), Piece(6, math.log(0.9))]


@pytest.mark.parametrize(
    ("span", "probability"),
    [
        ((0, 2), 0.5),
        ((2, 5), 0.8),
        ((3, 4), 0.8),
        ((1, 3), 0.5 * 0.8),
        ((4, 6), 0.8 * 0.9),
        ((0, 6), 0.5 * 0.8 * 0.9),
        ((6, 9), 0.0),
    ],
)
def test_confidence_is_the_probability_of_the_tokens_that_overlap(span, probability):
    assert measure_confidence(PIECES, *span) == pytest.approx(probability)


def test_tokens_that_end_within_a_character_belong_to_it():
    """The second of three characters takes three tokens. The answer's end marker adds none."""
    pieces = [Piece(end, math.log(p)) for end, p in [(1, 0.5), (1, 0.6), (1, 0.7), (2, 0.8)]]
    pieces += [Piece(3, math.log(0.9)), Piece(3, math.log(0.1))]
    assert measure_confidence(pieces, 0, 1) == pytest.approx(0.5)
    assert measure_confidence(pieces, 1, 2) == pytest.approx(0.6 * 0.7 * 0.8)
    assert measure_confidence(pieces, 2, 3) == pytest.approx(0.9)


def test_confidence_without_tokens_or_probability_is_zero():
    assert measure_confidence([], 0, 3) == 0
    assert measure_confidence([Piece(3, -math.inf)], 0, 3) == 0


tokens = st.tuples(st.integers(1, 4), st.floats(-20, 0))


@given(st.lists(tokens, max_size=12), st.integers(0, 30), st.integers(1, 10))
def test_confidence_by_brute_force(tokens, start, length):
    pieces, product, position = [], 1.0, 0
    for width, logprob in tokens:
        characters = range(position, position + width)
        if set(characters) & set(range(start, start + length)):
            product *= math.exp(logprob)
        position += width
        pieces.append(Piece(position, logprob))
    expected = product if start < position else 0
    confidence = measure_confidence(pieces, start, start + length)
    assert confidence == pytest.approx(expected)
    assert 0 <= confidence <= 1


@pytest.mark.parametrize(
    ("tokens", "gold", "expected"),
    [
        (list("김구부산서 부산"), [("LC", 2, 4)], [(0.5, False), (0.8, True), (0.8, False)]),
        (["김구", "부산서 ", "부산"], [("LC", 2, 3)], [(0.5, False), (0.8, False), (0.8, True)]),
        (["김구부산서 ", "부산"], [("PS", 0, 1)], [(0.5, True), (0.8, False)]),
        (["김구부산서 ", "부산"], [("LC", 0, 1)], [(0.5, False), (0.8, False)]),
    ],
)
def test_confidence_of_tagged_entities(tokens, gold, expected):
    """Tokens are characters or words. A word of two names is tagged with the first one alone.

    The answer lists 부산 once, and it occurs twice.
    """
    answer = '{"LC": ["부산"], "PS": ["김구"]}'
    pieces = [Piece(11, math.log(0.8)), Piece(len(answer), math.log(0.5))]
    tags, diagnosis = tag_answer(answer, tokens, "json", pieces)
    assert list_confidences(tags, diagnosis, tokens, gold) == expected


def test_a_name_that_lost_its_first_word_is_tagged_on_the_rest():
    answer = "<김구:PS><부산 시:LC>는"
    pieces = [Piece(7, math.log(0.5)), Piece(len(answer), math.log(0.8))]
    tokens = ["김구부산 ", "시는"]
    tags, diagnosis = tag_answer(answer, tokens, "marked", pieces)
    assert tags == ["B-PS", "B-LC"]
    assert list_confidences(tags, diagnosis, tokens, [("LC", 1, 2)]) == [(0.5, False), (0.8, True)]


@pytest.mark.parametrize(
    ("entities", "gold", "threshold"),
    [
        ([], 3, 0.0),
        ([], 0, 0.0),
        ([(0.9, True), (0.4, True)], 2, 0.0),
        ([(0.9, True), (0.4, False)], 2, 0.65),
        ([(0.9, True), (0.4, False), (0.4, True)], 2, 0.0),
        ([(0.2, False), (0.9, True), (0.5, False), (0.7, True)], 2, 0.6),
        ([(0.9, False), (0.4, False)], 2, 0.0),
    ],
)
def test_threshold_is_halfway_between_kept_and_left_out(entities, gold, threshold):
    assert choose_threshold(entities, gold) == pytest.approx(threshold)


def compute_f1(entities: list[tuple[float, bool]], gold: int, threshold: float) -> float:
    kept = [is_right for confidence, is_right in entities if confidence >= threshold]
    return 2 * sum(kept) / max(len(kept) + gold, 1)


confidences = st.integers(0, 40).map(lambda number: number / 40)


@given(st.lists(st.tuples(confidences, st.booleans()), max_size=12), st.integers(0, 5))
@example([(0.0, False), (0.5, True)], 0)
def test_no_threshold_is_better_and_no_lower_one_as_good(entities, spare):
    gold = sum(is_right for _, is_right in entities) + spare
    threshold = choose_threshold(entities, gold)
    f1 = compute_f1(entities, gold, threshold)
    for other in [step / 80 for step in range(82)]:
        other_f1 = compute_f1(entities, gold, other)
        assert other_f1 <= f1
        keeps_more = any(other <= confidence < threshold for confidence, _ in entities)
        assert not keeps_more or other_f1 < f1
