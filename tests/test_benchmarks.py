"""The parts of the benchmarks that choose data and count tokens."""

import argparse
from types import SimpleNamespace

import pytest
from datasets import Dataset

from benchmarks import conversion, recipe, runs, training
from benchmarks.training_run import arrange_rows, choose_rows
from ner.cli import InputError
from ner.training.trainer import EpochOrder

SETTINGS = {"max_steps": 3, "chats_per_step": 4, "group_by_length": True, "seed": 42}


@pytest.fixture
def dataset() -> Dataset:
    """Forty chats of one to forty tokens."""
    return Dataset.from_dict({"input_ids": [[0] * length for length in range(1, 41)]})


def test_measured_steps_are_spread_over_the_epoch(dataset):
    rows = choose_rows(dataset, SimpleNamespace(**SETTINGS))
    order = list(EpochOrder(list(range(1, 41)), 4, 42))
    steps = [order[start : start + 4] for start in range(0, 40, 4)]
    assert [rows[:4], rows[4:8], rows[8:]] == [steps[1], steps[5], steps[8]]


def test_trainer_takes_the_chosen_rows_in_their_order(dataset):
    rows = [7, 3, 39, 0, 12, 7]
    arranged = arrange_rows(dataset, rows, seed=42)
    taken = [arranged[position] for position in EpochOrder([1] * 6, None, 42)]
    assert [len(row["input_ids"]) - 1 for row in taken] == rows


def test_first_step_alone_would_measure_nothing(capsys):
    with pytest.raises(SystemExit):
        training.main(["--steps", "1"])
    assert "--steps 1 leaves no step that counts" in capsys.readouterr().err


def test_lengths_of_gold_answers(capsys):
    """`{"PS": ["가"]}` and `<가:PS>나` have 13 and 7 characters, `{}` and `나다` 2 and 2."""
    sentences = [
        conversion.Sentence(["가", "나"], ["B-PS", "O"], {"PS": ["가"]}),
        conversion.Sentence(["나", "다"], ["O", "O"], {}),
    ]
    conversion.print_lengths(sentences)
    expected = "Characters of a gold answer: JSON 7.5, marked 4.5, 0.60 times as many\n"
    assert capsys.readouterr().out == expected


def test_rows_with_other_settings_are_not_mixed(tmp_path):
    settings = {"model": "m", "dataset": "d", "max_steps": 3, "num_samples": 4, "seed": 42}
    args = argparse.Namespace(work_dir=tmp_path / "rows", **settings)
    recipe.check_settings(args)
    args.num_samples = 5
    recipe.check_settings(args)  # the first run has no results
    (args.work_dir / "basic.jsonl").touch()
    recipe.check_settings(args)
    args.num_samples = 6
    with pytest.raises(InputError, match=r"num_samples: was 5, now 6\nChoose another --work_dir"):
        recipe.check_settings(args)


def test_model_that_is_built_anew_is_another_model(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    runs.check_settings(tmp_path / "rows", {"model": str(model)})
    (tmp_path / "rows" / "basic.jsonl").touch()
    runs.check_settings(tmp_path / "rows", {"model": str(model)})
    (model / "config.json").write_text("[]")
    with pytest.raises(InputError, match=r"model_sha256: was [0-9a-f]{64}, now [0-9a-f]{64}"):
        runs.check_settings(tmp_path / "rows", {"model": str(model)})


def test_folder_with_the_name_of_a_model_is_none(tmp_path, monkeypatch):
    """Such as the results of `--output_dir Bi-LSTM-CRF`."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "Bi-LSTM-CRF"
    runs.check_settings(folder, {"model": "Bi-LSTM-CRF"})
    (folder / "metrics.json").write_text("{}")
    runs.check_settings(folder, {"model": "Bi-LSTM-CRF"})


def test_step_that_fails_ends_the_benchmark(tmp_path):
    with pytest.raises(SystemExit, match=r"report.py failed \(exit status 1\)"):
        runs.run_step("report.py", tmp_path / "missing.jsonl")
