"""The printed and written report."""

import json

import pytest

from ner.cli import InputError
from ner.evaluation import predictions
from ner.evaluation.confidence import describe_confidence
from ner.evaluation.definitions import SCORES
from ner.evaluation.published import PUBLISHED
from ner.evaluation.report import report_predictions
from ner.evaluation.summary import compute_metrics
from ner.evaluation.tables import format_budget, format_table
from tests.evaluation.rows import (
    CONFIDENT,
    HAND_MADE,
    SETTINGS,
    TAGS_ALONE,
    make_row,
    write_predictions,
)

pytestmark = pytest.mark.filterwarnings("error")


def test_a_file_without_answers_is_not_reported(tmp_path):
    path = tmp_path / "predictions.jsonl"
    path.write_text('{"settings": {}}\n')
    with pytest.raises(InputError, match="holds no predictions yet"):
        report_predictions(path)


def test_another_converter_can_be_tried_on_existing_predictions(tmp_path, capsys, monkeypatch):
    path = write_predictions(tmp_path / "predictions.jsonl", HAND_MADE)
    diagnosis = {"read": "json", "mentions": [], "further": []}

    def tag_nothing(answer, tokens, *settings) -> tuple[list[str], dict]:
        return ["O"] * len(tokens), diagnosis

    monkeypatch.setattr(predictions, "tag_answer", tag_nothing)
    report_predictions(path)
    printed = capsys.readouterr().out
    assert "F1-Score: 0.0000" in printed
    assert "5 sentences are tagged differently than in the file" in printed
    assert "With the tags in the file, F1 is 0.5000" in printed
    assert json.loads((tmp_path / "metrics.json").read_text())["predicted_entities"] == 0


def test_predictions_need_no_tags(tmp_path):
    fields = ("id", "tokens", "gold", "answer", "stopped")
    rows = [{name: row[name] for name in fields} for row in HAND_MADE]
    report_predictions(write_predictions(tmp_path / "predictions.jsonl", rows))
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics == {"settings": SETTINGS} | compute_metrics(HAND_MADE)


def test_tags_alone_have_the_scores_of_answers_with_these_tags(tmp_path, capsys):
    metrics = report_predictions(write_predictions(tmp_path / "predictions.jsonl", TAGS_ALONE))
    expected = compute_metrics(HAND_MADE)
    # An answer can list mentions that are not tagged, and they count here.
    surface = metrics["scores"].pop("surface")
    del expected["scores"]["surface"]
    assert surface["f1"]["value"] == pytest.approx(metrics["scores"]["seqeval"]["f1"]["value"])
    for name in ("scores", "per_label", "confusion", "gold_entities", "predicted_entities"):
        assert metrics[name] == expected[name]
    assert metrics["budget"] == {
        "gold": expected["budget"]["gold"],
        "tagged": {
            **{"total": 7, "right": 4, "wrong_label": 1, "wrong_boundary": 1},
            **{"wrong_label_and_boundary": 0, "made_up": 1},
        },
    }
    assert metrics["hit_token_limit"] == 0
    printed = capsys.readouterr().out
    assert "tagged entities           7: right 4" in printed
    assert "answers" not in printed and "token limit" not in printed


def test_report_with_a_threshold(tmp_path, capsys):
    path = write_predictions(tmp_path / "predictions.jsonl", CONFIDENT)
    report_predictions(path)
    printed = capsys.readouterr().out
    assert "confidence: AUROC 0.7500. A threshold chosen on one half of the sentences" in printed
    assert "from 0.8000 to 0.8000 (0.0000) and from 0.6667 to 0.5000 (0.5500)" in printed
    assert "left out" not in printed

    metrics = report_predictions(path, 0.55)
    printed = capsys.readouterr().out
    assert "F1-Score: 0.7500" in printed and "below the threshold 3" in printed
    assert "3 of 6 entities are below 0.55 and left out" in printed
    # The file holds the tags without a threshold.
    assert "tagged differently" not in printed
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written == {"settings": SETTINGS} | metrics
    assert written["min_confidence"] == 0.55
    assert written["confidence"] == describe_confidence(CONFIDENT)


def test_a_threshold_without_probabilities_writes_nothing(tmp_path):
    path = write_predictions(tmp_path / "predictions.jsonl", HAND_MADE)
    with pytest.raises(InputError, match="no probabilities"):
        report_predictions(path, 0.5)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("marked", ["아무도 없다", "", "<봄:DT>"])
def test_tables_can_be_empty(marked):
    rows = [make_row(0, marked, {})]
    assert "F1-Score: 0.0000" in format_table(rows)
    assert format_budget(compute_metrics(rows))


def test_published_results_name_their_sentences():
    for result in PUBLISHED:
        assert result["score"] in SCORES and 0 < result["value"] < 1
        assert result["measured_on"] and result["source"]
    figures = {(result["score"], result["value"]) for result in PUBLISHED}
    assert figures >= {("klue_entity", 0.8611), ("klue_character", 0.9186), ("seqeval", 0.7129)}
