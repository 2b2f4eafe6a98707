"""The speed table: its rows, what it counts, and its refusals."""

import json
import shutil
from pathlib import Path
from statistics import fmean

import pytest

from benchmarks import generation, generation_run
from ner.cli import InputError
from ner.evaluation.answering import draw_rows
from ner.inference.recognizer import LocalRecognizer
from ner.model.adapter import RECORD
from ner.model.hub import Base
from ner.text.answers import Answer, Piece
from ner.text.task import build_task
from tests.helpers import SAMPLE

FLAGS = ["--dataset", str(SAMPLE), "--split", "train", "--precision", "float32"]


@pytest.fixture(scope="module")
def sentences() -> dict[int, str]:
    rows = draw_rows(str(SAMPLE), "train", 5, 42)
    return dict(enumerate("".join(tokens) for tokens in rows["tokens"]))


@pytest.fixture(scope="module")
def marked_adapter(adapter, tmp_path_factory) -> Path:
    """The adapter under another name of its prompt. Only the grammar makes its answers copies."""
    folder = tmp_path_factory.mktemp("marked") / "adapter"
    shutil.copytree(adapter, folder)
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    record["data"]["source"]["prompt"] = "marked"
    (folder / RECORD).write_text(json.dumps(record), encoding="utf-8")
    return folder


def build_recognizer(
    adapter: Path, stand_in: Path, limit: int, constrain: bool = True
) -> LocalRecognizer:
    return LocalRecognizer(
        Base(str(stand_in)),
        "float32",
        adapter,
        "adapter",
        build_task("marked"),
        max_new_tokens=limit,
        constrain=constrain,
        draft=0,
    )


def read_table(capsys) -> tuple[list[list[str]], str]:
    """The cells of the table's rows, and the text below them."""
    table, _, notes = capsys.readouterr().out.partition("\n\n")
    rows = [line.split("|")[1:-1] for line in table.splitlines()[2:]]
    return [[cell.strip() for cell in row] for row in rows], notes


def test_table(adapter, marked_adapter, generator, prompts, recognizer, sentences, capsys):
    generation.main(
        [
            *("--adapter", str(adapter), "--marked_adapter", str(marked_adapter), *FLAGS),
            *("--num_samples", "5", "--batch_size", "2", "--single", "3", "--draft", "3", "0"),
            *("--max_new_tokens", "40"),
        ]
    )
    rows, notes = read_table(capsys)
    assert [row[:3] for row in rows] == [
        ["JSON", "float32", "0"],
        ["marked, constrained", "float32", "0"],
        ["marked, constrained", "float32", "3"],
    ]
    assert [row[7:] for row in rows] == [
        ["", "0 of 3", ""],
        ["", "0 of 3", ""],
        ["0 of 5", "0 of 3", ""],
    ]
    assert all(float(row[column]) > 0 for row in rows for column in (4, 6))

    # JSON answers are not drafted: a call for every token.
    encoded = {index: recognizer.encode_prompt(text) for index, text in sentences.items()}
    answers = sorted(generator.generate(encoded, [], 1, 40))
    tokens = [len(answer.pieces) for answer in answers]
    assert [rows[0][3], rows[0][5]] == [f"{fmean(tokens):.1f}", f"{fmean(tokens[:3]):.1f}"]
    assert float(rows[2][3]) < float(rows[1][3])

    prefix = len(recognizer.find_prefix([]))
    assert "5 sentences, 3 of them one at a time. Threads: " in notes
    assert f"JSON, float32: the prompts share {prefix} tokens.\n" in notes
    assert "masks per sentence" in notes


@pytest.mark.parametrize("batch_size", [1, 2])
@pytest.mark.parametrize("draft", [0, 3])
def test_calls_are_those_of_the_model(marked_adapter, stand_in, sentences, batch_size, draft):
    """A hook on the model sees the same. The call for the prefix has one row, not counted."""
    recognizer = build_recognizer(marked_adapter, stand_in, 16)
    counting = generation_run.load_generator(recognizer)
    counting.rules.draft = draft
    rows = []
    counting.model.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    timing = generation_run.time_answers(counting, recognizer, sentences, batch_size)
    assert max(rows) == batch_size
    assert timing.calls == (sum(rows) - (batch_size > 1)) / 5
    again = generation_run.time_answers(counting, recognizer, sentences, batch_size)
    assert (again.calls, again.masks) == (timing.calls, timing.masks)


def test_first_tokens_counted_by_hand(marked_adapter, stand_in, sentences):
    """Without drafts, a token takes a call. The grammar replaces tokens that begin no copy."""
    timings = {}
    for limit, constrain in [(1, False), (1, True), (3, True)]:
        recognizer = build_recognizer(marked_adapter, stand_in, limit, constrain)
        counting = generation_run.load_generator(recognizer)
        timing = generation_run.time_answers(counting, recognizer, sentences, 2)
        assert timing.calls == limit
        timings[limit, constrain] = timing
    firsts = [answer.text for answer in timings[1, False].answers]
    wrong = [
        first
        for first, sentence in zip(firsts, sentences.values(), strict=True)
        if not (sentence.startswith(first) or f"<{sentence}".startswith(first))
    ]
    assert len(wrong) > 2
    assert timings[1, False].masks == 0
    assert timings[1, True].masks == len(wrong) / 5


def test_an_adapter_alone(adapter, capsys):
    """Also one with marked answers. Then these are the only rows."""
    flags = ["--adapter", str(adapter), *FLAGS, "--num_samples", "2", "--max_new_tokens", "20"]
    generation.main(flags)
    rows, notes = read_table(capsys)
    assert [row[:3] for row in rows] == [["JSON", "float32", "0"]]
    assert "masks" not in notes

    generation.main([*flags, "--prompt", "marked", "--no-constrain", "--draft", "8", "4"])
    rows, notes = read_table(capsys)
    assert [row[1:3] for row in rows] == [["float32", "4"], ["float32", "8"]]
    assert [row[7:] for row in rows] == [["", "0 of 2", ""]] * 2
    assert "masks" not in notes


def test_precisions_are_compared_with_the_first(adapter, marked_adapter, capsys):
    flags = ["--adapter", str(adapter), "--marked_adapter", str(marked_adapter), *FLAGS]
    more = ["--num_samples", "3", "--draft", "0", "2", "--max_new_tokens", "20"]
    generation.main([*flags, *more, "--precision", "float32", "merged"])
    rows, notes = read_table(capsys)
    assert [row[:3] for row in rows] == [
        [name, precision, draft]
        for precision in ("float32", "merged")
        for name, draft in [
            ("JSON", "0"),
            ("marked, constrained", "0"),
            ("marked, constrained", "2"),
        ]
    ]
    assert [row[9] for row in rows[:3]] == [""] * 3
    assert [row[9].endswith(" of 3") for row in rows[3:]] == [True] * 3
    assert notes.count(", merged: the prompts share") == 2


def test_differences_are_counted():
    answers = [Answer(index, text, True, []) for index, text in enumerate("가나다")]
    cut = answers[1]._replace(stopped=False)
    other = answers[2]._replace(text="라")
    unsure = answers[0]._replace(pieces=[Piece(1, -9)])
    assert generation.count_differences(answers, [unsure, cut, other]) == "2 of 3"
    assert generation.count_differences(answers, answers[:2]) == "0 of 2"


def test_marked_adapter_that_answers_in_json(adapter):
    with pytest.raises(InputError, match="its prompt is basic, which asks for JSON"):
        generation.main(["--adapter", str(adapter), "--marked_adapter", str(adapter), *FLAGS])
