"""The error budget: the verdict on each entity, and counts that add up."""

import pytest

from ner.evaluation.budget import OVERLAPS, classify_sentence, count_budget
from ner.evaluation.predictions import retag
from ner.evaluation.summary import compute_metrics
from ner.text.klue import LABELS
from ner.text.tags import find_entities
from tests.evaluation.rows import (
    CONFIDENT,
    HAND_MADE,
    MARKED_ANSWERS,
    make_random_rows,
    make_row,
)

pytestmark = pytest.mark.filterwarnings("error")


def drop_zeros(counts: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}


def test_budget_and_confusion_of_the_hand_made_case():
    metrics = compute_metrics(HAND_MADE)
    budget = {group: drop_zeros(counts) for group, counts in metrics["budget"].items()}
    assert budget == {
        "gold": {"total": 9, "right": 4, "wrong_label": 1, "wrong_boundary": 1, "missed": 3},
        "predicted": {
            "total": 10,
            "right": 4,
            "wrong_label": 1,
            "wrong_boundary": 1,
            "made_up": 1,
            "not_in_sentence": 1,
            "repeated": 1,
            "unknown_label": 1,
        },
        "further": {},
        "answers": {"total": 6, "plain_json": 3, "repaired": 1, "cut_off": 1, "unreadable": 1},
    }
    assert metrics["hit_token_limit"] == 1
    confusion = metrics["confusion"]
    assert confusion["OG"] == {**dict.fromkeys([*LABELS, "missed"], 0), "LC": 1}
    assert confusion["TI"]["missed"] == 1
    assert confusion["made_up"] == {**dict.fromkeys(LABELS, 0), "TI": 1, "QT": 1}


@pytest.mark.parametrize(
    "marked, answer, gold, mention",
    [
        ("<부산항:LC>에", {"LC": ["부산항"]}, "right", "right"),
        ("<부산항:LC>에", {"OG": ["부산항"]}, "wrong_label", "wrong_label"),
        ("<부산항:LC>에", {"LC": ["부산"]}, "wrong_boundary", "wrong_boundary"),
        (
            "<부산항:LC>에",
            {"OG": ["부산"]},
            "wrong_label_and_boundary",
            "wrong_label_and_boundary",
        ),
        ("<부산항:LC>에", {"LC": ["에"]}, "missed", "made_up"),
        ("<부산항:LC>에", {"LC": ["대구"]}, "missed", "not_in_sentence"),
        ("<부산항:LC>에", {"XX": ["부산항"]}, "missed", "unknown_label"),
        ("<5㎞:QT>쯤", {"QT": ["5 km"]}, "right", "right"),
    ],
)
def test_verdicts_on_an_entity_and_its_mention(marked, answer, gold, mention):
    classified = classify_sentence(make_row(0, marked, answer))
    assert [entity["verdict"] for entity in classified["gold"]] == [gold]
    assert [entity["verdict"] for entity in classified["mentions"]] == [mention]


def test_mentions_below_the_threshold_have_a_verdict_of_their_own():
    rows = retag(CONFIDENT, {}, 0.55)
    budget = count_budget(rows)
    assert drop_zeros(budget["predicted"]) == {"total": 5, "right": 2, "unsure": 3}
    assert drop_zeros(budget["gold"]) == {"total": 5, "right": 3, "missed": 2}
    assert "unsure" not in count_budget(CONFIDENT)["predicted"]


def test_a_mention_listed_once_is_tagged_at_every_occurrence():
    row = make_row(0, "<손흥민:PS>과 손흥민", {"PS": ["손흥민"]})
    further = classify_sentence(row)["further"]
    assert [entity["verdict"] for entity in further] == ["made_up"]
    assert compute_metrics([row])["budget"]["further"]["made_up"] == 1


def test_budget_adds_up_on_random_predictions():
    rows = make_random_rows(1000, 0)
    metrics = compute_metrics(rows)
    budget, labels = metrics["budget"], metrics["per_label"]
    assert "unsure" not in budget["predicted"]
    for group in ("gold", "predicted", "answers"):
        assert all(budget[group].values()), group
    for group, counts in budget.items():
        verdicts = [count for name, count in counts.items() if name != "total"]
        assert counts["total"] == sum(verdicts), group
    assert budget["gold"]["total"] == sum(len(find_entities(row["gold"])) for row in rows)
    assert budget["predicted"]["total"] == sum(len(row["diagnosis"]["mentions"]) for row in rows)
    assert budget["answers"]["total"] == metrics["sentences"] == 1000
    # The tagged entities are the mentions with a place and the further occurrences.
    placed = [
        budget[group][verdict]
        for group in ("predicted", "further")
        for verdict in [*OVERLAPS, "made_up"]
    ]
    assert sum(placed) == metrics["predicted_entities"]
    right = sum(figures["right"] for figures in labels.values())
    assert budget["predicted"]["right"] + budget["further"]["right"] == right
    assert budget["gold"]["right"] == right
    for label in LABELS:
        confusion = metrics["confusion"]
        assert sum(confusion[label].values()) == labels[label]["support"]
        assert sum(row[label] for row in confusion.values()) == labels[label]["predicted"]
        assert confusion[label][label] == labels[label]["right"]


def test_budget_of_marked_answers():
    budget = count_budget(MARKED_ANSWERS)
    assert budget["answers"] == {
        "total": 5,
        "copied": 1,
        "mended": 2,
        "cut_off": 1,
        "unreadable": 1,
    }
    assert (budget["gold"]["right"], budget["gold"]["wrong_label"]) == (2, 1)
    assert (budget["gold"]["missed"], budget["predicted"]["unknown_label"]) == (1, 1)
    assert budget["further"]["total"] == 0
