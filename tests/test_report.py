"""The script report.py."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from seqeval.metrics import f1_score

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
    TAGS_ALONE,
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


@pytest.fixture
def three_files(tmp_path) -> list[str]:
    """A model's answers, and two files of a tagger with the same name in other folders."""
    worse = [row | {"tags": ["O"] * len(row["tags"])} for row in TAGS_ALONE]
    files = [("a", HAND_MADE, SETTINGS), ("b", TAGS_ALONE, {"model": "tagger"})]
    files.append(("c", worse, {"model": "tagger"}))
    paths = []
    for folder, rows, settings in files:
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "predictions.jsonl"
        paths.append(str(write_predictions(path, rows, settings)))
    return paths


def list_outputs(paths: list[str]) -> list[str]:
    """The files beside the predictions."""
    found = [path.name for each in paths for path in Path(each).parent.iterdir()]
    return sorted(name for name in found if name != "predictions.jsonl")


def test_several_files_are_compared_with_the_first(three_files, tmp_path, capsys):
    main(three_files)
    printed = capsys.readouterr().out
    systems = json.loads((tmp_path / "a" / "systems.json").read_text())["systems"]
    assert [system["name"] for system in systems] == [
        *("EXAONE-stand-in", "tagger (b)", "tagger (c)")
    ]
    assert [system["file"] for system in systems] == three_files
    table = (tmp_path / "a" / "systems.md").read_text()
    assert table in printed and "F1-Score: 0.5000" in printed
    metrics = json.loads((tmp_path / "a" / "metrics.json").read_text())
    assert metrics == {"settings": SETTINGS} | compute_metrics(HAND_MADE)
    assert list_outputs(three_files) == [
        *("metrics.json", "report.html", "systems.json", "systems.md", "systems.svg")
    ]
    page = (tmp_path / "a" / "report.html").read_text()
    assert '<h2 id="systems">' in page and "tagger (c)" in page
    # The differences are those of --compare, the other way round.
    for path, system in zip(three_files[1:], systems[1:], strict=True):
        main([path, "--compare", three_files[0]])
        comparison = json.loads(Path(path).with_name("comparison.json").read_text())
        for name in ("scores", "per_label"):
            assert system["difference"][name] == comparison[name]


def test_names_of_systems(three_files, tmp_path, capsys):
    main([*three_files, "--names", "EXAONE", "BERT-base", "Bi-LSTM-CRF"])
    table = (tmp_path / "a" / "systems.md").read_text()
    assert table.splitlines()[0].split() == [
        "|",
        "|",
        "EXAONE",
        "|",
        "BERT-base",
        "|",
        "Bi-LSTM-CRF",
        "|",
    ]
    for names in (["A", "B"], ["A", "B", "B"]):
        with pytest.raises(SystemExit):
            main([*three_files, "--names", *names])
        assert "--names needs several files, and a different name" in capsys.readouterr().err


OWN_LABELS = {"model": "tagger", "labels": {"PS": "", "LC": ""}}
ONE = [{"id": 0, "tokens": ["봄"], "gold": ["B-LC"], "tags": ["O"]}]


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        (TAGS_ALONE[:-1], {}, r"a/predictions.jsonl and .*c/predictions.jsonl: .*different sent"),
        (ONE, OWN_LABELS, r"c/predictions.jsonl: the two files have different labels"),
        ([], {}, "c/predictions.jsonl: holds no predictions yet"),
        ([{}], {}, "c/predictions.jsonl:2: a sentence needs id"),
    ],
)
def test_every_file_is_checked_before_anything_is_written(three_files, rows, settings, message):
    write_predictions(Path(three_files[2]), rows, settings)
    with pytest.raises(InputError, match=message):
        main(three_files)
    assert list_outputs(three_files) == []


@pytest.mark.parametrize("name", ["systems.json", "systems.md", "systems.svg", "report.html"])
def test_every_output_is_checked_before_anything_is_written(three_files, name):
    (Path(three_files[0]).parent / name).mkdir()
    with pytest.raises(InputError, match="is a folder"):
        main(three_files)
    assert list_outputs(three_files) == [name]


@pytest.mark.parametrize("flags", [["--compare", "x.jsonl"], ["--min_confidence", "0.5"]])
def test_flags_for_one_file_are_refused_with_several(three_files, flags, capsys):
    with pytest.raises(SystemExit):
        main([*three_files, *flags])
    assert "are for one file. Pass the first one alone" in capsys.readouterr().err


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
def test_speed_of_five_thousand_predictions(tmp_path, capsys):
    """Measured in seqeval's F1 alone, because machines differ. It takes 14 to 23 times as long."""
    # KLUE's sentences have 60 characters on average. These are 500, ten times each.
    rows = make_random_rows(500, 7, longest=120) * 10
    rows = [row | {"id": number} for number, row in enumerate(rows)]
    path = write_predictions(tmp_path / "predictions.jsonl", rows)
    gold = [row["gold"] for row in rows]
    start = time.process_time()
    f1_score(gold, gold)
    begin = time.process_time()
    main([str(path)])
    end = time.process_time()
    f1_score(gold, gold)  # again, in case the machine has become slower
    f1_seconds = (begin - start + time.process_time() - end) / 2
    seconds = end - begin
    with capsys.disabled():
        print(f"\n5,000 predictions: {seconds:.1f} s of one core, F1 alone {f1_seconds:.1f} s")
    assert seconds < 40 * f1_seconds
