"""All figures together: by hand, in any order, with their sampling error."""

import json
import random

import pytest

from ner.evaluation.summary import compute_metrics
from tests.evaluation.rows import HAND_MADE, make_klue_rows, make_random_rows, make_row

pytestmark = pytest.mark.filterwarnings("error")


def test_scores_of_the_hand_made_case():
    """Gold and tagged entities, counted by hand.

    Gold: PS 2, LC 3, OG 1, TI 1, DT 1, QT 1.
    Tagged: PS 2, LC 2 (서울 시청 wrong), TI 1 (cut), QT 2 (아무 made up).
    """
    metrics = compute_metrics(HAND_MADE)
    figures = {name: score["f1"]["value"] for name, score in metrics["scores"].items()}
    assert (metrics["gold_entities"], metrics["predicted_entities"]) == (9, 7)
    assert figures["seqeval"] == figures["seqeval_strict"] == pytest.approx(2 * 4 / (7 + 9))
    # PS 2 of 2 and 2, LC 1 of 2 and 3, QT 1 of 2 and 1; none of OG, TI and DT
    assert figures["klue_entity"] == pytest.approx((1 + 2 / 5 + 2 / 3) / 6)
    # Nine mentions are listed with a known label: 손흥민, 춘천, 서울 시청, 3, 김 씨, 이 씨, 아무
    # and twice 다섯 명. The answer was cut off at 부.
    assert figures["surface"] == pytest.approx(2 * 4 / (9 + 9))
    # Partial: 손흥민, 춘천, 서울 시청, 김 씨 and 다섯 명 count fully, 3 of 3시 counts half.
    assert figures["nervaluate_partial"] == pytest.approx(2 * 5.5 / (7 + 9))
    # Type: the same without 서울 시청, and 3 counts fully.
    assert figures["nervaluate_type"] == pytest.approx(2 * 5 / (7 + 9))
    labels = metrics["per_label"]
    assert labels["LC"]["recall"]["value"] == pytest.approx(1 / 3)
    assert [labels["LC"][field] for field in ("right", "predicted", "support")] == [1, 2, 3]
    assert labels["DT"]["f1"] == {"value": 0, "low": 0, "high": 0}


def test_surface_form_needs_no_alignment():
    """The answer lists the right text, but the lone syllable is placed at the wrong 한."""
    row = make_row(0, "숨 쉬던 한 <한:PS>숨", {"PS": ["한"]})
    scores = compute_metrics([row])["scores"]
    assert scores["surface"]["f1"]["value"] == 1 and scores["seqeval"]["f1"]["value"] == 0
    row = make_row(0, "<5㎞:QT>쯤", {"QT": ["5 km"]})
    assert compute_metrics([row])["scores"]["surface"]["f1"]["value"] == 1


def test_gold_answers_score_one_by_surface_form(klue_copy):
    scores = compute_metrics(make_klue_rows(klue_copy))["scores"]
    assert scores["surface"]["f1"] == {"value": 1, "low": 1, "high": 1}
    assert 0.99 < scores["seqeval"]["f1"]["value"] < 1


def test_metrics_are_plain_and_independent_of_the_order():
    rows = make_random_rows(60, 1)
    metrics = compute_metrics(rows)
    random.Random(0).shuffle(rows)
    assert json.dumps(compute_metrics(rows)) == json.dumps(metrics)
    assert json.loads(json.dumps(metrics)) == metrics
    for score in metrics["scores"].values():
        for figure in score.values():
            assert 0 <= figure["low"] <= figure["value"] <= figure["high"] <= 1


def test_interval_is_the_sampling_error():
    """Half of 400 one-entity sentences are right.

    The standard error is √(0.25 / 400), and the interval is ± 1.96 of it.
    """
    rows = [
        make_row(number, "<봄:DT>이", {"DT": ["봄"]} if number % 2 else {}) for number in range(400)
    ]
    recall = compute_metrics(rows)["scores"]["seqeval"]["recall"]
    assert recall["value"] == 0.5
    assert [recall["low"], recall["high"]] == pytest.approx([0.451, 0.549], abs=0.006)
