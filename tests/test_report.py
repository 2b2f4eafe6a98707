"""The script report.py."""

import json
import subprocess
import sys
import time

import pytest

from ner.cli import InputError
from ner.evaluation.comparison import compare
from ner.evaluation.predictions import retag
from ner.evaluation.summary import compute_metrics
from ner.evaluation.tables import format_budget, format_scores
from report import main
from tests.evaluation.rows import (
    CONFIDENT,
    HAND_MADE,
    SETTINGS,
    make_random_rows,
    write_predictions,
)
from tests.helpers import ROOT


@pytest.mark.filterwarnings("error")
def test_command_scores_and_compares(tmp_path, capsys):
    worse = [{**row, "answer": "{}"} for row in HAND_MADE]
    first = write_predictions(tmp_path / "predictions.jsonl", HAND_MADE)
    other = write_predictions(tmp_path / "others.jsonl", worse)
    page = tmp_path / "page" / "page.html"
    main([str(first), "--compare", str(other), "--html", str(page)])
    printed = capsys.readouterr().out
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics == {"settings": SETTINGS} | compute_metrics(HAND_MADE)
    assert "micro avg" in printed and "F1-Score: 0.5000" in printed
    assert format_scores(metrics) in printed and format_budget(metrics) in printed
    assert str(page) in printed and page.is_file()
    comparison = json.loads((tmp_path / "comparison.json").read_text())
    assert comparison == compare(HAND_MADE, retag(worse, {}))
    assert "differently than in the file" not in printed


def test_threshold_applies_to_the_first_file(tmp_path, capsys):
    path = write_predictions(tmp_path / "predictions.jsonl", CONFIDENT)
    main([str(path), "--min_confidence", "0.55", "--compare", str(path)])
    assert f"first: {path}, without entities below 0.55\n" in capsys.readouterr().out
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["min_confidence"] == 0.55
    comparison = json.loads((tmp_path / "comparison.json").read_text())
    assert comparison["min_confidence"] == 0.55
    difference = comparison["scores"]["seqeval"]["f1"]["value"]
    assert difference == pytest.approx(6 / 8 - 8 / 11)
    assert {sentence["id"] for sentence in comparison["changed"]} == {2, 3, 4}


@pytest.mark.parametrize("threshold", ["-0.1", "1.1", "nan", "much"])
def test_threshold_is_a_probability(tmp_path, threshold, capsys):
    path = write_predictions(tmp_path / "predictions.jsonl", CONFIDENT)
    with pytest.raises(SystemExit):
        main([str(path), "--min_confidence", threshold])
    assert "--min_confidence" in capsys.readouterr().err


def test_both_files_are_checked_before_anything_is_written(tmp_path):
    first = write_predictions(tmp_path / "predictions.jsonl", HAND_MADE)
    with pytest.raises(InputError, match=r"others.jsonl: cannot be read"):
        main([str(first), "--compare", str(tmp_path / "others.jsonl")])
    with pytest.raises(InputError, match="is a folder"):
        main([str(first), "--html", str(tmp_path)])
    assert list(tmp_path.iterdir()) == [first]


def test_errors_about_files_do_not_wait_for_seqeval(tmp_path):
    program = """
import sys, report
try:
    report.main(sys.argv[1:])
except ValueError:
    print([name for name in ("seqeval", "torch", "datasets") if name in sys.modules])
"""
    command = [sys.executable, "-c", program, str(tmp_path / "nowhere.jsonl")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


@pytest.mark.filterwarnings("error")
def test_five_thousand_predictions_in_seconds(tmp_path, capsys):
    rows = make_random_rows(5000, 7, longest=120)  # KLUE's sentences have 60 characters on average
    path = write_predictions(tmp_path / "predictions.jsonl", rows)
    start = time.process_time()
    main([str(path)])
    seconds = time.process_time() - start
    with capsys.disabled():
        print(f"\n5,000 predictions: {seconds:.1f} s of one core")
    assert seconds < 20
