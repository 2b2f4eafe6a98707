"""The scores, compared with the libraries that define them."""

import random

import numpy as np
import pytest
from nervaluate import Evaluator
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.scheme import IOB2
from sklearn.metrics import f1_score as sklearn_f1_score

from ner.evaluation import scores
from ner.evaluation.counts import count_sentences, sum_sentences
from ner.evaluation.definitions import SCORES
from ner.evaluation.predictions import retag
from ner.evaluation.scores import SEED, resample, score_counts
from ner.evaluation.summary import compute_metrics
from ner.evaluation.tables import format_scores
from ner.text.klue import LABELS, TAGS
from tests.evaluation.rows import (
    CONFIDENT,
    HAND_MADE,
    make_klue_rows,
    make_random_rows,
    make_row,
)

# A figure with nothing to divide by has a fixed value and must not warn.
pytestmark = pytest.mark.filterwarnings("error")


def flatten_as_klue(rows: list[dict], side: str) -> list[str]:
    """All sentences in one sequence without spaces, [CLS] and [SEP] as O, as in klue_baseline."""
    flat = []
    for row in rows:
        tags = [tag for token, tag in zip(row["tokens"], row[side], strict=True) if token != " "]
        flat += ["O", *tags, "O"]
    return flat


def compute_klue_entity_f1(rows: list[dict]) -> float:
    gold, predicted = [flatten_as_klue(rows, "gold")], [flatten_as_klue(rows, "tags")]
    return f1_score(gold, predicted, average="macro", mode="strict", scheme=IOB2, zero_division=0)


def compute_klue_character_f1(rows: list[dict]) -> float:
    gold = [TAGS.index(tag) for tag in flatten_as_klue(rows, "gold")]
    predicted = [TAGS.index(tag) for tag in flatten_as_klue(rows, "tags")]
    labels = list(range(13))
    return sklearn_f1_score(gold, predicted, labels=labels, average="macro", zero_division=True)


def score_by_seqeval(rows: list[dict], **mode) -> dict[str, float]:
    gold, predicted = [row["gold"] for row in rows], [row["tags"] for row in rows]
    return {
        "precision": precision_score(gold, predicted, zero_division=0, **mode),
        "recall": recall_score(gold, predicted, zero_division=0, **mode),
        "f1": f1_score(gold, predicted, zero_division=0, **mode),
    }


def score_by_nervaluate(rows: list[dict], strategy: str) -> dict[str, float]:
    gold, predicted = [row["gold"] for row in rows], [row["tags"] for row in rows]
    evaluator = Evaluator(gold, predicted, tags=list(LABELS), loader="list")
    result = evaluator.evaluate()["overall"][strategy]
    return {figure: getattr(result, figure) for figure in ("precision", "recall", "f1")}


def score_by_libraries(rows: list[dict]) -> dict[str, dict[str, float]]:
    return {
        "seqeval": score_by_seqeval(rows),
        "seqeval_strict": score_by_seqeval(rows, mode="strict", scheme=IOB2),
        "klue_entity": {"f1": compute_klue_entity_f1(rows)},
        "klue_character": {"f1": compute_klue_character_f1(rows)},
        "nervaluate_partial": score_by_nervaluate(rows, "partial"),
        "nervaluate_type": score_by_nervaluate(rows, "ent_type"),
    }


def assert_equals_libraries(rows: list[dict]) -> None:
    ours = score_counts(sum_sentences(count_sentences(rows)))["scores"]
    for name, figures in score_by_libraries(rows).items():
        values = {figure: float(value) for figure, value in ours[name].items()}
        assert values == pytest.approx(figures, abs=1e-12), name


def test_scores_equal_the_libraries_on_a_hand_made_case():
    assert_equals_libraries(HAND_MADE)


@pytest.mark.parametrize("seed", range(3))
def test_scores_equal_the_libraries_on_random_sentences(seed):
    assert_equals_libraries(make_random_rows(200, seed))


@pytest.mark.parametrize("seed", range(20))
def test_scores_equal_the_libraries_on_any_tags(seed):
    """Malformed tags included, because gold tags come from any corpus."""
    generator = random.Random(seed)
    rows = []
    for number in range(8):
        length = generator.randint(1, 12)
        gold = [generator.choice(TAGS) for _ in range(length)]
        tags = [generator.choice(TAGS) for _ in range(length)]
        rows.append(
            {
                "id": number,
                "tokens": [generator.choice("가 나") for _ in range(length)],
                "gold": gold,
                "tags": tags,
                "diagnosis": {"read": "json", "mentions": [], "further": []},
            }
        )
    assert_equals_libraries(rows)


@pytest.mark.parametrize("seed", [1, 2])
def test_scores_equal_the_libraries_on_klue(klue_copy, seed):
    assert_equals_libraries(make_klue_rows(klue_copy, seed))


def test_resampled_counts_equal_the_libraries_on_the_drawn_sentences(monkeypatch):
    """A bootstrap from counts gives the scores of the drawn sentences."""
    rows = make_random_rows(30, 3)
    times = np.random.default_rng(SEED).multinomial(30, np.full(30, 1 / 30), size=100)
    monkeypatch.setattr(scores, "RESAMPLES", 100)
    resampled = score_counts(resample(count_sentences(rows)))["scores"]
    for draw in (0, 57, 99):
        drawn = []
        for row, count in zip(rows, times[draw], strict=True):
            drawn += [row] * count
        for name, figures in score_by_libraries(drawn).items():
            values = {figure: values[draw] for figure, values in resampled[name].items()}
            assert values == pytest.approx(figures), name


@pytest.mark.parametrize(
    "rows, klue_character",
    [
        ([make_row(0, "아무도 없다", {})], 1.0),
        ([make_row(0, "", {})], 1.0),
        ([make_row(0, "<봄:DT>", {})], 1 / 13 * (11 + 0 + 2 * 2 / 5)),
    ],
)
def test_empty_counts_have_scores(rows, klue_character):
    figures = compute_metrics(rows)["scores"]
    assert figures["seqeval"]["f1"]["value"] == figures["klue_entity"]["f1"]["value"] == 0
    assert figures["klue_character"]["f1"]["value"] == pytest.approx(klue_character)
    by_scikit_learn = compute_klue_character_f1(rows)
    assert figures["klue_character"]["f1"]["value"] == pytest.approx(by_scikit_learn)


def test_mentions_below_the_threshold_are_not_listed():
    """Of four mentions and five gold entities, 손흥민 and 부산 remain."""
    counts = sum_sentences(count_sentences(retag(CONFIDENT, {}, 0.55)))["surface"].sum(axis=0)
    assert counts.tolist() == [2, 2, 5]


def test_labels_of_ones_own_have_all_scores_but_klue():
    labels = {"상품": "제품", "brand-2": ""}
    rows = [
        {
            "id": 0,
            "tokens": list("나래 신"),
            "gold": ["B-brand-2", "I-brand-2", "O", "B-상품"],
            "answer": '{"brand-2": ["나래"]}',
            "stopped": True,
        }
    ]
    settings = {"prompt": "basic", "labels": labels}
    metrics = compute_metrics(retag(rows, settings), labels=labels)
    assert list(metrics["scores"]) == [name for name in SCORES if not name.startswith("klue")]
    assert metrics["scores"]["seqeval"]["f1"]["value"] == pytest.approx(2 / 3)
    assert list(metrics["per_label"]) == list(labels)
    assert metrics["per_label"]["brand-2"]["f1"]["value"] == 1
    assert metrics["confusion"]["상품"] == {"상품": 0, "brand-2": 0, "missed": 1}
    assert format_scores(metrics).count("\n") == 5
