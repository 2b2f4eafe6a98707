"""The comparison of the kinds of answers: its steps, its table and its refusals."""

from pathlib import Path

import pytest

from benchmarks import answers, runs
from ner.cli import InputError
from tests.evaluation.rows import make_row, write_predictions
from tests.helpers import SAMPLE, run_here

SENTENCES = ["<손흥민:PS>은 <춘천:LC>에서 왔다", "<봄:DT>이 왔다"]
JSON = [{"PS": ["손흥민"]}, {}]
FREE = [SENTENCES[0], "<봄:DT>이 와"]
CONSTRAINED = [SENTENCES[0], "<봄:LC>이 왔다"]  # the last mark is wrong, and the least probable


def make_rows(texts: list, kind: str, logprobs: list[float] | None = None) -> list[dict]:
    """Rows of both sentences. Each answer's first token, its first mark, has a log-probability."""
    rows = []
    for number, (sentence, text) in enumerate(zip(SENTENCES, texts, strict=True)):
        row = make_row(number, sentence, text, kind=kind)
        if logprobs:
            mark = row["answer"].index(">") + 1
            row["pieces"] = [[mark, logprobs[number]], [len(row["answer"]), -0.1]]
        rows.append(row)
    return rows


def write_run(run: Path, prompt: str, evaluations: dict[str, list[dict]]) -> None:
    """Write what a finished run leaves behind, as far as the table needs it."""
    (run / "adapter").mkdir(parents=True)
    for name, rows in evaluations.items():
        (run / name).mkdir()
        write_predictions(run / name / "predictions.jsonl", rows, {"prompt": prompt})
        (run / name / "metrics.json").touch()


@pytest.fixture
def finished(tmp_path, monkeypatch) -> list[str]:
    """The flags of a comparison after 5 steps whose parts are all complete."""
    for kind in ("json", "marked"):
        (tmp_path / f"{kind}.jsonl").touch()
    write_run(tmp_path / "json-5", "basic", {"evaluation": make_rows(JSON, "json")})
    free = make_rows(FREE, "marked")
    constrained = make_rows(CONSTRAINED, "marked", [-0.2, -2.0])
    evaluations = {"evaluation-free": free, "evaluation": constrained}
    write_run(tmp_path / "marked-5", "marked", evaluations)
    monkeypatch.setattr(runs, "run_step", lambda *_: pytest.fail("a complete step runs again"))
    return [
        *("--model", "m", "--dataset", "d", "--work_dir", str(tmp_path), "--max_steps", "5"),
    ]


def read_cells(capsys) -> list[list[str]]:
    """The cells of the table's rows, below its header, without the intervals."""
    _, _, table = capsys.readouterr().out.rpartition("|---|\n")
    rows = [line.split("|")[1:-1] for line in table.splitlines()]
    return [[cell.partition("(")[0].strip() for cell in row] for row in rows]


def test_table_of_complete_steps(finished, monkeypatch, capsys):
    monkeypatch.setattr(answers, "read_min_confidence", lambda adapter: 0.5)
    answers.main(finished)
    rows = read_cells(capsys)
    # Of three entities, JSON finds one. The other two find all or two, and a wrong one. Below the
    # threshold is exp(-2), the wrong one.
    assert [row[:5] for row in rows] == [
        ["5", "JSON", "0.5000", "1.0000", "0.3333"],
        ["5", "marked", "1.0000", "1.0000", "1.0000"],
        ["5", "marked, constrained", "0.6667", "0.6667", "0.6667"],
        ["5", "marked, constrained, threshold of --validation", "0.8000", "1.0000", "0.6667"],
    ]
    assert [row[5:] for row in rows] == [
        ["", "", ""],
        ["+0.5000", "50.0%", ""],
        ["+0.1667", "100.0%", "1.0000"],
        ["+0.3000", "100.0%", "1.0000"],
    ]


def test_some_answers(finished, capsys):
    answers.main([*finished, "--answers", "constrained"])
    assert [row[1] for row in read_cells(capsys)] == ["JSON", "marked, constrained"]


def test_adapter_without_a_threshold(finished):
    with pytest.raises(InputError, match=r"marked-5.adapter: has no threshold.*Remove .*marked-5 "):
        answers.main(finished)


def test_other_settings_need_another_folder(finished):
    answers.main([*finished, "--answers", "json"])
    answers.main([*finished, "--answers", "marked"])
    with pytest.raises(InputError, match=r"learning_rate: was 0\.001, now 0\.002\nChoose another"):
        answers.main([*finished, "--answers", "json", "--learning_rate", "2e-3"])


def test_all_steps_on_a_small_model(stand_in, tmp_path, monkeypatch, capsys):
    """Two steps of training, one short answer. The same command then has nothing left to do."""
    steps = []

    def run(script: str, *arguments: object) -> None:
        steps.append(script)
        limit = ["--max_new_tokens", "16"] if script == "evaluate_hub.py" else []
        run_here(script, *arguments, *limit)

    monkeypatch.setattr(runs, "run_step", run)
    flags = [
        *("--model", str(stand_in), "--dataset", str(SAMPLE), "--work_dir", str(tmp_path)),
        *("--max_steps", "2", "--validation", "1", "--num_samples", "1"),
    ]
    answers.main(flags)
    assert steps == [
        *("data_processing.py", "train.py", "evaluate_hub.py"),
        *("data_processing.py", "train.py", "evaluate_hub.py", "evaluate_hub.py"),
    ]
    rows = read_cells(capsys)
    assert [row[:2] for row in rows] == [["2", row.name] for row in answers.ANSWERS.values()]
    answers.main(flags)
    assert len(steps) == 7
    assert read_cells(capsys) == rows
