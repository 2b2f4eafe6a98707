"""Evaluations that are interrupted, repeated, run in several processes or with other settings."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

import evaluate_hub
from ner.cli import InputError
from ner.evaluation.answering import describe_answer, draw_rows, hash_sentences
from ner.evaluation.predictions import retag
from ner.text.answers import Answer, Piece
from tests.evaluation.runs import ALL, MEMORIZED, check_same_results, read_lines, read_metrics
from tests.helpers import ROOT, SAMPLE

SCRIPT = str(ROOT / "evaluate_hub.py")


def test_killed_evaluation_continues_to_the_same_metrics(adapter, uninterrupted, tmp_path, capsys):
    """SIGKILL after the first answers, with an incomplete line. The second run answers the rest."""
    flags = ["--adapter", str(adapter), *ALL, "--output_dir", str(tmp_path), "--batch_size", "4"]
    process = subprocess.Popen(
        [sys.executable, SCRIPT, *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    path = tmp_path / "predictions.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if path.is_file() and path.read_bytes().count(b"\n") > 6:
            break
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "metrics.json").exists()
    with path.open("a", encoding="utf-8") as file:
        file.write('{"id": 3, "tokens": ["봄"')

    evaluate_hub.main(flags)
    _, _, printed = capsys.readouterr().out.partition("already answered: ")
    answered = int(printed.partition(",")[0])
    assert 4 < answered < 48
    check_same_results(tmp_path, uninterrupted)
    assert read_metrics(tmp_path)["settings"] == read_metrics(uninterrupted)["settings"]


def test_finished_evaluation_loads_no_model(adapter, tmp_path, monkeypatch):
    flags = ["--adapter", str(adapter), *MEMORIZED, "--output_dir", str(tmp_path)]
    evaluate_hub.main(flags)
    (tmp_path / "metrics.json").unlink()
    monkeypatch.setattr(
        "ner.model.lora.load_model", lambda *arguments: pytest.fail("a model was loaded")
    )
    evaluate_hub.main([*flags, "--batch_size", "1"])
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
def test_answers_made_with_other_settings_are_not_mixed(adapter, tmp_path, change, message):
    flags = ["--adapter", str(adapter), *MEMORIZED, "--output_dir", str(tmp_path)]
    evaluate_hub.main(flags)
    before = (tmp_path / "predictions.jsonl").read_bytes()
    with pytest.raises(InputError, match=message):
        evaluate_hub.main([*flags, *change])
    assert (tmp_path / "predictions.jsonl").read_bytes() == before


def test_two_processes_share_the_sentences(adapter, uninterrupted, tmp_path):
    launch = [
        *("launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"),
        *("--mixed_precision", "no", "--dynamo_backend", "no"),
    ]
    flags = ["--adapter", str(adapter), *ALL, "--output_dir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "accelerate.commands.accelerate_cli", *launch, SCRIPT, *flags],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert "sentences: 48, already answered: 0, processes: 2" in done.stdout
    assert "24/24" in done.stderr
    assert "48/48" not in done.stderr
    check_same_results(tmp_path, uninterrupted)
    assert read_metrics(tmp_path)["settings"] == read_metrics(uninterrupted)["settings"]
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["metrics.json", "predictions.jsonl", "report.html"]


def test_predictions_name_their_rows_in_the_split(adapter, tmp_path):
    evaluate_hub.main(["--adapter", str(adapter), *MEMORIZED, "--output_dir", str(tmp_path)])
    rows = draw_rows(str(SAMPLE), "train", 24, 42)
    header, *lines = read_lines(tmp_path)
    assert header["settings"]["sentences_sha256"] == hash_sentences(rows)
    tokens = dict(zip(rows["row"], rows["tokens"], strict=True))
    assert {line["id"]: line["tokens"] for line in lines} == tokens


def test_a_line_holds_the_tokens_of_its_answer():
    row = {"row": 7, "tokens": ["봄", "이"], "ner_tags": [0, 1]}
    id2label = {0: "B-DT", 1: "O"}
    answer = Answer(0, "<봄:DT>이", True)
    line = describe_answer(answer, row, id2label, "marked")
    assert "pieces" not in line and "confidence" not in line["diagnosis"]["mentions"][0]

    pieces = [Piece(6, -0.123456), Piece(7, -2.0)]
    line = json.loads(
        json.dumps(describe_answer(answer._replace(pieces=pieces), row, id2label, "marked"))
    )
    assert line["pieces"] == [[6, -0.1235], [7, -2.0]]
    assert line["diagnosis"]["mentions"][0]["confidence"] == 0.8838
    assert retag([line], {"prompt": "marked"}) == [line]
