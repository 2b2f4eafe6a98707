"""Two runs on the same sentences: differences, pairing and refusals."""

import pytest

from ner.cli import InputError
from ner.evaluation.comparison import compare
from ner.evaluation.summary import compute_metrics
from ner.evaluation.tables import format_comparison
from tests.evaluation.rows import HAND_MADE, make_random_rows, make_row

pytestmark = pytest.mark.filterwarnings("error")

MARKED = "<손흥민:PS>은 <춘천:LC>에"
RIGHT = {"PS": ["손흥민"], "LC": ["춘천"]}
WRONG = {"PS": ["손흥민"], "LC": ["은"]}


def test_a_run_does_not_differ_from_itself():
    comparison = compare(HAND_MADE, HAND_MADE)
    assert comparison["changed"] == []
    for score in comparison["scores"].values():
        for figure in score.values():
            assert figure == {"value": 0, "low": 0, "high": 0}


def test_comparison_with_a_worse_run():
    gold = [make_row(number, MARKED, RIGHT) for number in range(50)]
    half = [make_row(number, MARKED, RIGHT if number < 25 else WRONG) for number in range(50)]
    comparison = compare(gold, half[::-1])
    assert comparison["per_label"]["PS"]["f1"] == {"value": 0, "low": 0, "high": 0}
    f1 = comparison["per_label"]["LC"]["f1"]
    assert f1["value"] == pytest.approx(0.5) and 0.3 < f1["low"] < 0.5 < f1["high"] < 0.7
    assert [sentence["id"] for sentence in comparison["changed"]] == list(range(25, 50))
    assert comparison["changed"][0] == {
        "id": 25,
        "verdict": "better",
        "errors": {"first": 0, "other": 2},
        "gold": "<손흥민:PS>은 <춘천:LC>에",
        "first": "<손흥민:PS>은 <춘천:LC>에",
        "other": "<손흥민:PS><은:LC> 춘천에",
    }
    assert {sentence["verdict"] for sentence in compare(half, gold)["changed"]} == {"worse"}
    printed = format_comparison(comparison)
    assert "25 of 50 sentences are tagged differently: 25 better" in printed


def test_pairing_narrows_the_interval():
    """If two runs differ in three sentences, their difference has a small error."""
    rows = make_random_rows(300, 5)
    others = [{**row, "tags": ["O"] * len(row["tags"])} if row["id"] < 3 else row for row in rows]
    difference = compare(rows, others)["scores"]["seqeval"]["f1"]
    own = compute_metrics(rows)["scores"]["seqeval"]["f1"]
    assert difference["high"] - difference["low"] < (own["high"] - own["low"]) / 2


def change_first(rows: list[dict], **changes) -> list[dict]:
    return [{**rows[0], **changes}, *rows[1:]]


LENGTH = len(HAND_MADE[0]["tokens"])


@pytest.mark.parametrize(
    "others, message",
    [
        (HAND_MADE[:-1], "1 are in only one of them, such as 5"),
        (change_first(HAND_MADE, gold=["O"] * LENGTH), "0 has other tokens or gold"),
        (change_first(HAND_MADE, tokens=["가"] * LENGTH), "0 has other tokens or gold"),
    ],
)
def test_different_sentences_are_not_compared(others, message):
    with pytest.raises(InputError, match=message):
        compare(HAND_MADE, others)
