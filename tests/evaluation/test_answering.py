"""Evaluations that are interrupted, repeated, run in several processes or with other settings."""

import json
import math
import shutil
import signal
import time
from pathlib import Path

import pytest

import evaluate_hub
from ner.cli import InputError
from ner.evaluation.answering import describe_answer, draw_rows, hash_sentences
from ner.evaluation.predictions import read_predictions, retag
from ner.text.answers import Answer, Piece
from ner.text.task import build_task
from tests import forks
from tests.evaluation.rows import write_predictions
from tests.evaluation.runs import ALL, MEMORIZED, check_same_results, read_lines, read_metrics
from tests.helpers import SAMPLE


# Marked first, because test_endpoint.py, in the other process, first trains the adapter for JSON.
@pytest.fixture(params=["marked", "json"])
def evaluation(request) -> tuple[list[str], Path]:
    """The flags of an evaluation, and the folder of an uninterrupted one."""
    names = {
        "json": ("adapter", "uninterrupted"),
        "marked": ("marked_adapter", "uninterrupted_marked"),
    }
    adapter, folder = map(request.getfixturevalue, names[request.param])
    return ["--adapter", str(adapter), *ALL], folder


def test_killed_evaluation_continues_to_the_same_metrics(evaluation, tmp_path, capsys):
    """SIGKILL after the first answers, with an incomplete line. The second run answers the rest."""
    flags, uninterrupted = evaluation
    flags += ["--output_dir", str(tmp_path)]
    log = tmp_path.with_suffix(".log")
    process = forks.start(log, evaluate_hub.main, [*flags, "--batch_size", "2"])
    path = tmp_path / "predictions.jsonl"
    while process.is_alive():
        if path.is_file() and path.read_bytes().count(b"\n") > 1:
            break
        time.sleep(0.001)
    process.kill()
    assert forks.finish(process) == -signal.SIGKILL, log.read_text()
    assert not (tmp_path / "metrics.json").exists()
    with path.open("a", encoding="utf-8") as file:
        file.write('{"id": 3, "tokens": ["봄"')

    evaluate_hub.main(flags)
    _, _, printed = capsys.readouterr().out.partition("already answered: ")
    answered = int(printed.partition(",")[0])
    assert 0 < answered < 48
    check_same_results(tmp_path, uninterrupted)
    assert read_metrics(tmp_path)["settings"] == read_metrics(uninterrupted)["settings"]


@pytest.fixture
def finished(adapter, finished_evaluation, tmp_path) -> list[str]:
    """The flags of an evaluation that has finished in `tmp_path`."""
    shutil.copytree(finished_evaluation, tmp_path, dirs_exist_ok=True)
    return ["--adapter", str(adapter), *MEMORIZED, "--output_dir", str(tmp_path)]


def test_finished_evaluation_loads_no_model(finished, tmp_path, monkeypatch):
    (tmp_path / "metrics.json").unlink()
    monkeypatch.setattr(
        "ner.model.lora.load_model", lambda *arguments: pytest.fail("a model was loaded")
    )
    evaluate_hub.main([*finished, "--batch_size", "1"])
    assert (tmp_path / "metrics.json").is_file()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--prompt", "strict"], "prompt: was basic, now strict"),
        (["--precision", "float32"], "precision: was nf4, now float32"),
        (["--num_samples", "20"], "num_samples: was 24, now 20"),
    ],
    ids=["prompt", "precision", "num_samples"],
)
def test_answers_made_with_other_settings_are_not_mixed(finished, tmp_path, change, message):
    before = (tmp_path / "predictions.jsonl").read_bytes()
    with pytest.raises(InputError, match=message):
        evaluate_hub.main([*finished, *change])
    assert (tmp_path / "predictions.jsonl").read_bytes() == before


def test_two_processes_share_the_sentences(evaluation, tmp_path):
    """As with several GPUs. tests/test_train.py starts them as the README does."""
    flags, uninterrupted = evaluation
    output = tmp_path / "output"
    flags = [*flags, "--output_dir", str(output)]
    printed = forks.run_in_two(tmp_path, evaluate_hub.main, flags)
    assert "sentences: 48, already answered: 0, processes: 2" in printed
    assert "24/24" in printed
    assert "48/48" not in printed
    check_same_results(output, uninterrupted)
    assert read_metrics(output)["settings"] == read_metrics(uninterrupted)["settings"]
    files = sorted(path.name for path in output.iterdir())
    assert files == ["metrics.json", "predictions.jsonl", "report.html"]


def test_predictions_name_their_rows_in_the_split(finished_evaluation):
    rows = draw_rows(str(SAMPLE), "train", 24, 42)
    header, *lines = read_lines(finished_evaluation)
    assert header["settings"]["sentences_sha256"] == hash_sentences(rows)
    tokens = dict(zip(rows["row"], rows["tokens"], strict=True))
    assert {line["id"]: line["tokens"] for line in lines} == tokens


def describe_spring(pieces: list[Piece] | None) -> dict:
    """The line of an answer with these tokens."""
    row = {"row": 7, "tokens": ["봄", "이"], "ner_tags": [0, 1]}
    answer = Answer(0, "<봄:DT>이", True, pieces)
    return describe_answer(answer, row, {0: "B-DT", 1: "O"}, build_task("marked"))


def test_a_line_holds_the_tokens_of_its_answer():
    line = describe_spring(None)
    assert "pieces" not in line and "confidence" not in line["diagnosis"]["mentions"][0]

    line = json.loads(json.dumps(describe_spring([Piece(6, -0.123456), Piece(7, -2.0)])))
    assert line["pieces"] == [[6, -0.1235], [7, -2.0]]
    assert line["diagnosis"]["mentions"][0]["confidence"] == 0.8838
    assert retag([line], {"prompt": "marked"}) == [line]


@pytest.mark.parametrize("logprob", [0.0, 2e-4, -1e-6, -math.inf])
def test_every_line_can_be_read_back(logprob, tmp_path):
    """Also with a probability that rounding errors made larger than 1."""
    line = describe_spring([Piece(6, logprob), Piece(7, -2.0)])
    path = write_predictions(tmp_path / "predictions.jsonl", [line])
    (row,) = read_predictions(path)[1]
    assert row["pieces"] == [[6, -math.inf if logprob < -1 else 0], [7, -2]]


def test_a_probability_that_is_no_number_is_not_written():
    with pytest.raises(InputError, match=r"sentence 7: a token's probability is no number"):
        describe_spring([Piece(6, -0.1), Piece(7, math.nan)])
