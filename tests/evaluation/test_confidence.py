"""The figures on the confidence, computed by hand, and what a threshold changes."""

import random

import pytest
from sklearn.metrics import roc_auc_score

from ner.evaluation.confidence import (
    MAX_THRESHOLDS,
    calibrate,
    cross_check,
    describe_confidence,
    list_thresholds,
)
from ner.evaluation.predictions import retag
from ner.evaluation.summary import compute_metrics, score_rows
from ner.evaluation.tables import format_confidence
from ner.text.tags import find_entities
from tests.evaluation.rows import CONFIDENT, HAND_MADE, make_random_rows

pytestmark = pytest.mark.filterwarnings("error")


def test_figures_of_the_hand_made_case():
    """The tagged entities, by confidence: 0.9 right, 0.6 right twice, 0.5 and 0.2 wrong, 0.1 right.

    Five entities are gold.
    """
    figures = describe_confidence(CONFIDENT)
    # Of the eight pairs of a right and a wrong entity, those with 0.1 are in the wrong order.
    assert figures["auroc"] == 6 / 8
    curve = [tuple(step.values()) for step in figures["curve"]]
    expected = [
        (0.0, 6, 4 / 6, 4 / 5, 8 / 11),
        (0.1, 6, 4 / 6, 4 / 5, 8 / 11),
        (0.2, 5, 3 / 5, 3 / 5, 6 / 10),
        (0.5, 4, 3 / 4, 3 / 5, 6 / 9),
        (0.6, 3, 3 / 3, 3 / 5, 6 / 8),
        (0.9, 1, 1 / 1, 1 / 5, 2 / 6),
    ]
    assert curve == [pytest.approx(step) for step in expected]
    assert list(figures["curve"][0]) == ["threshold", "entities", "precision", "recall", "f1"]
    # Sentences 0, 2 and 4 are best without a threshold, 1 and 3 with one between 0.5 and 0.6.
    assert figures["halves"] == [
        pytest.approx({"threshold": 0, "f1": 4 / 5, "f1_with_threshold": 4 / 5}),
        pytest.approx({"threshold": 0.55, "f1": 4 / 6, "f1_with_threshold": 2 / 4}),
    ]
    bins = [tuple(group.values()) for group in figures["calibration"]["bins"]]
    expected = [
        (0.1, 0.2, 1, 0.1, 1),
        (0.2, 0.3, 1, 0.2, 0),
        (0.5, 0.6, 1, 0.5, 0),
        (0.6, 0.7, 2, 0.6, 1),
        (0.9, 1.0, 1, 0.9, 1),
    ]
    assert bins == [pytest.approx(group) for group in expected]
    error = (0.9 + 0.2 + 0.5 + 2 * 0.4 + 0.1) / 6
    assert figures["calibration"]["error"] == pytest.approx(error)


def test_ties_count_half_and_one_kind_alone_has_no_auroc():
    tie = [row | {"pieces": CONFIDENT[0]["pieces"]} for row in CONFIDENT]
    assert describe_confidence(retag(tie, {}))["auroc"] == 0.5
    assert describe_confidence(CONFIDENT[:2])["auroc"] is None
    nothing = describe_confidence(retag([CONFIDENT[0] | {"answer": "{}"}], {}))
    assert (nothing["auroc"], nothing["calibration"]) == (None, {"error": None, "bins": []})
    assert [step["f1"] for step in nothing["curve"]] == [0]


def test_certainty_is_in_the_last_bin():
    assert calibrate([(1.0, True), (0.95, False)])["bins"] == [
        {"low": 0.9, "high": 1.0, "entities": 2, "confidence": pytest.approx(0.975), "right": 0.5}
    ]


def test_thresholds_are_few_and_spread_over_the_entities():
    assert list_thresholds([0.5, 0.5, 0.2]) == [0.0, 0.2, 0.5]
    thresholds = list_thresholds([rank / 1000 for rank in range(1, 1001)])
    assert len(thresholds) == MAX_THRESHOLDS
    assert (thresholds[0], thresholds[50], thresholds[-1]) == (0.0, 0.5, 1.0)


def make_rows_with_pieces() -> list[dict]:
    generator = random.Random(1)
    rows = make_random_rows(300, 1)
    for row in rows:
        ends = range(1, len(row["answer"]) + 1)
        row["pieces"] = [[end, -generator.expovariate(10)] for end in ends]
    return retag(rows, {})


def test_the_curve_says_what_a_threshold_does():
    """Leaving entities out in the conversion gives the scores that the curve predicts."""
    rows = make_rows_with_pieces()
    metrics = compute_metrics(rows)
    confidence = metrics["confidence"]
    assert "min_confidence" not in metrics
    assert confidence["curve"][0]["f1"] == metrics["scores"]["seqeval"]["f1"]["value"]
    for step in confidence["curve"][10::30]:
        retagged = retag(rows, {}, step["threshold"])
        filtered = compute_metrics(retagged, step["threshold"], rows)
        assert filtered["predicted_entities"] == step["entities"]
        assert filtered["min_confidence"] == step["threshold"]
        left_out = metrics["predicted_entities"] - step["entities"]
        assert filtered["unsure_entities"] == left_out
        assert filtered["confidence"] == confidence
        for name, figure in filtered["scores"]["seqeval"].items():
            assert figure["value"] == pytest.approx(step[name])
        unsure = filtered["budget"]["predicted"]["unsure"]
        further = metrics["budget"]["further"]["total"] - filtered["budget"]["further"]["total"]
        assert unsure + further == left_out


WORDS = {
    "id": 0,
    "tokens": ["부산김구는", "왔다"],
    "gold": ["B-PS", "O"],
    "answer": "<부산:LC><김구:PS>는<왔다:QT>",
    "stopped": True,
    "pieces": [[7, -1.0], [14, -0.1], [22, -3.0]],  # a token for each mark
}


def test_words_with_two_mentions_count_once():
    """The word goes to its first mention, although the second one is right."""
    settings = {"prompt": "marked"}
    (row,) = complete = retag([WORDS], settings)
    assert row["tags"] == ["B-LC", "B-QT"]
    curve = describe_confidence(complete)["curve"]
    assert [(step["entities"], step["f1"]) for step in curve] == [(2, 0), (2, 0), (1, 0)]

    # The threshold leaves out both entities and so frees the word for the second mention.
    (row,), metrics = score_rows(complete, settings, 0.5)
    assert row["tags"] == ["B-PS", "O"]
    assert (metrics["predicted_entities"], metrics["unsure_entities"]) == (1, 2)
    assert "2 of 2 entities are below 0.5 and left out" in format_confidence(metrics)
    # And here it leaves out one.
    _, metrics = score_rows(complete, settings, 0.1)
    assert (metrics["predicted_entities"], metrics["unsure_entities"]) == (1, 1)


def test_figures_do_not_depend_on_the_order():
    rows = make_rows_with_pieces()
    assert describe_confidence(rows[::-1]) == describe_confidence(rows)


def test_threshold_comes_from_the_other_half():
    """A threshold of 0.5 makes the first half perfect. It removes the second one's only entity."""
    first = ([(0.6, True), (0.4, False)], 1)
    second = ([(0.3, True)], 1)
    assert cross_check([first, second]) == [
        {"threshold": 0.5, "f1": 1, "f1_with_threshold": 0},
        {"threshold": 0, "f1": 2 / 3, "f1_with_threshold": 2 / 3},
    ]


def test_auroc_is_that_of_all_tagged_entities():
    rows = make_rows_with_pieces()
    right, confidences = [], []
    for row in rows:
        gold = find_entities(row["gold"])
        for entity in row["diagnosis"]["mentions"] + row["diagnosis"]["further"]:
            if "start" in entity:
                right.append((entity["label"], entity["start"], entity["end"]) in gold)
                confidences.append(entity["confidence"])
    assert describe_confidence(rows)["auroc"] == roc_auc_score(right, confidences)
    assert len(right) == sum(len(find_entities(row["tags"])) for row in rows)


def test_confidence_needs_the_tokens_of_every_row():
    assert "confidence" in compute_metrics(CONFIDENT)
    assert "confidence" not in compute_metrics([*CONFIDENT, HAND_MADE[5]])
