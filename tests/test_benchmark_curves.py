"""The learning curves: their figures, their files, and a whole run on a small model."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import curves, runs
from benchmarks.curves_report import choose_rate, describe_checkpoint
from ner.cli import InputError
from ner.training.checkpoint_hashes import HashCheckpoint
from ner.training.validation_scores import write_scores
from tests.helpers import SAMPLE, run_here

SVG = "{http://www.w3.org/2000/svg}"


def make_curve(rate: float, best: float, complete: bool = True, seed: int = 42) -> dict:
    checkpoints = [{"f1": {"value": value}} for value in (0.1, best, 0.2)]
    curve = {"learning_rate": rate, "seed": seed, "complete": complete}
    return curve | {"checkpoints": checkpoints}


def write_run(folder: Path, f1s: dict[int, float], complete: bool) -> None:
    """Write the scores of checkpoints by their steps, on ten chats of one entity each."""
    for step, f1 in f1s.items():
        right = round(10 * f1)
        counts = [[1, 1, 1]] * right + [[0, 1, 1]] * (10 - right)
        scores = {"step": step, "epoch": step / 3, "loss": None, "f1": f1, "counts": counts}
        write_scores(folder / "results", scores)
    if complete:
        (folder / "adapter").mkdir()


@pytest.fixture
def flags(tmp_path) -> list[str]:
    return ["--model", "m", "--dataset", "d", "--work_dir", str(tmp_path)]


def test_figures_of_a_checkpoint():
    """One of three entities is right, of two in the chats: F1 is 2 / 5."""
    scores = {"step": 3, "epoch": 1.0, "loss": 0.5, "f1": 0.4, "counts": [[1, 2, 1], [0, 1, 1]]}
    figures = describe_checkpoint(scores)
    assert figures["f1"] == pytest.approx({"value": 0.4, "low": 0.0, "high": 2 / 3})
    assert (figures["step"], figures["epoch"], figures["loss"]) == (3, 1.0, 0.5)


@pytest.mark.parametrize(
    ("planned", "rate"),
    [
        ([], None),
        ([make_curve(1e-3, 0.9, complete=False)], None),
        ([make_curve(1e-4, 0.8), make_curve(1e-3, 0.9)], 1e-3),
        ([make_curve(1e-4, 0.8), make_curve(1e-3, 0.9, complete=False)], 1e-4),
        # The mean of the seeds counts.
        ([make_curve(1e-4, 0.8), make_curve(1e-3, 0.9), make_curve(1e-3, 0.6, seed=43)], 1e-4),
    ],
)
def test_best_rate(planned, rate):
    assert choose_rate(planned) == rate


def test_files_of_curves_that_still_run(flags, tmp_path, capsys):
    write_run(tmp_path / "marked-0.0002-42", {3: 0.5, 6: 0.8}, complete=True)
    write_run(tmp_path / "marked-0.0005-42", {3: 0.6}, complete=False)
    curves.main([*flags, "--no-train"])
    table = (tmp_path / "curves.md").read_text()
    assert table in capsys.readouterr().out
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| 0")]
    assert [row[:4] for row in rows] == [
        ["| 0.0002", "42", "3", "1.00"],
        ["| 0.0002", "42", "6", "2.00"],
        ["| 0.0005", "42", "3", "1.00"],
    ]
    assert [row[4][:6] for row in rows] == ["0.5000", "0.8000", "0.6000"]
    assert "- learning rate 0.0005, seed 42: 1 checkpoints so far" in table
    assert "- learning rate 0.001, seed 42: 0 checkpoints so far" in table

    content = json.loads((tmp_path / "curves.json").read_text())
    assert [curve["complete"] for curve in content["curves"]] == [True, False, False]
    assert content["curves"][0]["checkpoints"][1]["f1"]["low"] < 0.8

    picture = ElementTree.parse(tmp_path / "curves.svg").getroot()
    lines = picture.findall(f".//{SVG}polyline")
    assert [len(line.get("points").split()) for line in lines] == [2, 1]
    assert len(picture.findall(f".//{SVG}polygon")) == 2
    texts = [text.text for text in picture.iter(f"{SVG}text")]
    assert texts[-3:] == [
        "learning rate 0.0002",
        "learning rate 0.0005 (not complete)",
        "learning rate 0.001 (not complete)",
    ]
    assert json.loads((tmp_path / "final.json").read_text()) == {"rows": []}


def test_nothing_to_draw_yet(flags, tmp_path):
    curves.main([*flags, "--no-train", "--learning_rates", "1e-3"])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("curves.json", "curves.md", "settings.json")
    ]


def test_other_settings_need_another_folder(flags):
    curves.main([*flags, "--no-train"])
    curves.main([*flags, "--no-train", "--learning_rates", "1e-3", "--seeds", "43"])
    with pytest.raises(InputError, match=r"epochs: was 4, now 5\nChoose another --work_dir"):
        curves.main([*flags, "--no-train", "--epochs", "5"])


def test_interrupted_run_on_a_small_model(stand_in, tmp_path, monkeypatch, capsys):
    """Steps of 16 of 44 chats: three per epoch, with checkpoints after two and three."""
    steps = []

    def run(script: str, *arguments: object) -> None:
        steps.append(script)
        run_here(script, *arguments)

    monkeypatch.setattr(runs, "run_step", run)
    flags = [
        *("--model", str(stand_in), "--dataset", str(SAMPLE), "--work_dir", str(tmp_path)),
        *("--validation", "4", "--epochs", "1", "--learning_rates", "1e-3", "5e-3"),
        *("--precision", "bfloat16", "--num_samples", "2"),
        *("--rows", "marked", "post", "--final_seeds", "42"),
    ]
    hash_checkpoint = HashCheckpoint.on_save

    def interrupt_second_run(self, args, state, control, **kwargs):
        hash_checkpoint(self, args, state, control, **kwargs)
        if steps.count("train.py") == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(HashCheckpoint, "on_save", interrupt_second_run)
        curves.main(flags)
    curves.main([*flags, "--no-train"])
    content = json.loads((tmp_path / "curves.json").read_text())
    assert [[each["step"] for each in curve["checkpoints"]] for curve in content["curves"]] == [
        [2, 3],
        [2],
    ]
    capsys.readouterr()

    curves.main(flags)
    assert "resuming from" in capsys.readouterr().out
    assert steps == [
        *("data_processing.py", "train.py", "train.py"),  # the second was interrupted
        *("train.py", "evaluate_hub.py", "data_processing.py", "train.py", "evaluate_hub.py"),
    ]
    content = json.loads((tmp_path / "curves.json").read_text())
    assert all(curve["complete"] for curve in content["curves"])
    assert [len(curve["checkpoints"]) for curve in content["curves"]] == [2, 2]
    rows = json.loads((tmp_path / "final.json").read_text())["rows"]
    best = choose_rate(content["curves"])
    assert [(row["learning_rate"], row["seed"], row["sentences"]) for row in rows] == [
        (best, 42, 2),
        (2e-4, 42, 2),
    ]
    assert rows[0]["difference"] is None
    assert rows[1]["difference"]["value"] == pytest.approx(
        rows[1]["f1"]["value"] - rows[0]["f1"]["value"]
    )
    curves.main(flags)  # has nothing left to do
    assert len(steps) == 8
