"""The comparison of three systems: its steps, on small models, and its refusals."""

import json
from pathlib import Path

import pytest

from benchmarks import runs, systems
from ner.cli import InputError
from tests.helpers import SAMPLE, run_here

TRAINING = ["--train", "--max_steps", "2", "--precision", "bfloat16", "--max_length", "512"]


@pytest.fixture
def steps(monkeypatch) -> list[list[str]]:
    """The steps that were run, each with its arguments. The taggers train for one epoch."""
    steps = []

    def run(script: str, *arguments: object) -> None:
        steps.append([script, *map(str, arguments)])
        brief = ["--epochs", "1"] if script.startswith("benchmarks.") else []
        run_here(script, *arguments, *brief)

    monkeypatch.setattr(runs, "run_step", run)
    return steps


def read_settings(path: str) -> dict:
    return json.loads(Path(path).read_text(encoding="utf-8").splitlines()[0])["settings"]


def test_three_systems_on_the_same_sentences(stand_in, bert, tmp_path, steps):
    flags = [
        *("--model", str(stand_in), "--dataset", str(SAMPLE), "--work_dir", str(tmp_path)),
        *("--encoder", str(bert), "--num_samples", "3"),
    ]
    systems.main([*flags, *TRAINING])
    assert [step[0] for step in steps] == [
        *("data_processing.py", "train.py", "evaluate_hub.py"),
        *("benchmarks.encoder", "benchmarks.bilstm_crf", "report.py"),
    ]
    ours, encoder, bilstm_crf = map(read_settings, steps[-1][1:4])
    assert (ours["prompt"], ours["precision"], ours["num_samples"]) == ("marked", "bfloat16", 3)
    names = [str(stand_in), str(bert), "Bi-LSTM-CRF"]
    assert [settings["model"] for settings in (ours, encoder, bilstm_crf)] == names
    table = json.loads((tmp_path / "ours" / "evaluation" / "systems.json").read_text())
    assert table["sentences"] == 3
    assert [system["name"] for system in table["systems"]] == [
        *(f"{stand_in}, marked answers", str(bert), "Bi-LSTM-CRF")
    ]
    record = json.loads((tmp_path / "ours" / "adapter" / "training.json").read_text())
    assert record["steps"] == 2

    systems.main([*flags, "--without", "encoder", *TRAINING])  # only compares again
    assert [step[0] for step in steps[6:]] == ["report.py"]
    table = json.loads((tmp_path / "ours" / "evaluation" / "systems.json").read_text())
    assert len(table["systems"]) == 2


def test_flags_of_each_step(tmp_path, monkeypatch):
    steps = {}
    monkeypatch.setattr(systems, "find_base", lambda encoder: None)
    monkeypatch.setattr(runs, "run_step", lambda script, *flags: steps.update({script: flags}))
    systems.main(
        [
            *("--model", "m", "--dataset", "d", "--work_dir", str(tmp_path), "--encoder", "e"),
            *("--labels", "O,B-A", "--join", "words", "--answer", "json", "--seed", "7"),
            *("--num_samples", "5", "--train", "--learning_rate", "1e-3"),
        ]
    )
    corpus = ("--dataset", "d", "--labels", "O,B-A", "--join", "words")
    sample = ("--num_samples", 5, "--seed", 7)
    assert steps["benchmarks.encoder"] == (
        *(*corpus, "--model", "e", *sample, "--output_dir", tmp_path / "encoder"),
    )
    assert steps["benchmarks.bilstm_crf"] == (
        *(*corpus, *sample, "--output_dir", tmp_path / "bilstm_crf"),
    )
    assert steps["train.py"][-4:] == ("--seed", 7, "--learning_rate", "1e-3")
    assert "--seed" not in steps["evaluate_hub.py"]  # which draws the same sentences always
    *paths, flag, ours, encoder, bilstm_crf = steps["report.py"]
    folders = [str(path.parent.relative_to(tmp_path)) for path in paths]
    assert folders == ["ours/evaluation", "encoder", "bilstm_crf"]
    assert (flag, ours, encoder, bilstm_crf) == ("--names", "m, json answers", "e", "Bi-LSTM-CRF")


def test_wrong_flags_of_training_end_the_run(tmp_path, steps, capsys):
    flags = ["--model", "m", "--dataset", "d", "--work_dir", str(tmp_path)]
    with pytest.raises(SystemExit):
        systems.main([*flags, "--train", "--no_such_flag"])
    assert "--no_such_flag" in capsys.readouterr().err
    assert not steps


def test_missing_encoder_ends_the_run_before_ours_is_trained(tmp_path, steps):
    flags = ["--model", "m", "--dataset", "d", "--work_dir", str(tmp_path / "work")]
    with pytest.raises(InputError, match=r"no config\.json"):
        systems.main([*flags, "--encoder", str(tmp_path)])
    assert not steps


def test_other_settings_need_another_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(systems, "find_base", lambda encoder: None)
    monkeypatch.setattr(runs, "run_step", lambda *_: None)
    flags = ["--model", "m", "--dataset", "d", "--work_dir", str(tmp_path)]
    systems.main(flags)
    systems.main([*flags, "--without", "encoder"])
    (tmp_path / "marked.jsonl").touch()
    with pytest.raises(InputError, match=r"seed: was 42, now 43\nChoose another --work_dir"):
        systems.main([*flags, "--seed", "43"])
