"""tag.py from its flags to its output."""

import io
import json
import re
import shutil
import signal
import sys
import unicodedata
from pathlib import Path

import pytest

import tag
from ner.cli import InputError
from ner.model.generation import AnswerGenerator
from ner.tagging import run
from ner.text.corpus import get_id2label, load_split, sample_rows
from ner.text.notation import mark_entities, parse_marked_sentence
from ner.text.prompts import SYSTEM_PROMPTS
from ner.text.tags import find_entities
from tests.forks import finish, run_in_two, start
from tests.helpers import SAMPLE
from tests.tagging.gold import GoldModel, find_names
from tests.tagging.tag_with_gold import run_tag


@pytest.fixture(scope="module")
def memorized() -> list[tuple[list[str], list[str]]]:
    """The characters and tags of the 24 sentences that the adapters have memorized."""
    rows = sample_rows(load_split(str(SAMPLE), "train"), 24)
    id2label = get_id2label(rows)
    return [(row["tokens"], [id2label[tag] for tag in row["ner_tags"]]) for row in rows]


@pytest.fixture
def sentences_file(memorized, tmp_path) -> Path:
    path = tmp_path / "in.txt"
    path.write_text("".join("".join(tokens) + "\n" for tokens, _ in memorized), encoding="utf-8")
    return path


@pytest.fixture
def gold(monkeypatch) -> GoldModel:
    model = GoldModel()
    monkeypatch.setattr(tag, "build_recognizer", lambda args: model)
    return model


@pytest.mark.usefixtures("gold")
def test_progress_bar_has_lines_of_its_own(sentences_file, monkeypatch):
    """On a terminal, which shows both outputs."""
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(sys, "stderr", screen)
    tag.main(["--adapter", "none", str(sentences_file)])
    assert "tagging" in screen.getvalue()
    lines = [line for line in re.split(r"[\r\n]", screen.getvalue()) if "{" in line]
    assert len([json.loads(line) for line in lines]) == 24


@pytest.mark.parametrize("kind", ["adapter", "marked_adapter"])
def test_memorized_sentences_are_tagged(kind, sentences_file, memorized, request, capsys):
    flags = ["--adapter", str(request.getfixturevalue(kind)), str(sentences_file)]
    capsys.readouterr()  # of the rehearsal
    tag.main(flags)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 24
    for line, (tokens, tags) in zip(lines, memorized, strict=True):
        assert line["text"] == "".join(tokens)
        assert "incomplete" not in line
        found = [(each["label"], each["start"], each["end"]) for each in line["entities"]]
        assert found == find_entities(tags)
        for entity in line["entities"]:
            assert entity["text"] == line["text"][entity["start"] : entity["end"]]
            assert 0.5 < entity["confidence"] <= 1

    tag.main([*flags, "--format", "marked"])
    printed = capsys.readouterr().out
    assert [parse_marked_sentence(line) for line in printed.splitlines()] == memorized


def test_formats_of_the_memorized_sentences(adapter, sentences_file, memorized, tmp_path):
    flags = ["--adapter", str(adapter), str(sentences_file)]
    tag.main([*flags, "--format", "conll", "--output", str(tmp_path / "out.conll")])
    blocks = (tmp_path / "out.conll").read_text(encoding="utf-8").split("\n\n")
    assert blocks.pop() == ""
    pairs = [[line.split("\t") for line in block.split("\n")] for block in blocks]
    assert [tuple(map(list, zip(*block, strict=True))) for block in pairs] == memorized

    tag.main([*flags, "--format", "doccano", "--output", str(tmp_path / "out.jsonl")])
    lines = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    for line, (tokens, tags) in zip(map(json.loads, lines), memorized, strict=True):
        spans = [[start, end, label] for label, start, end in find_entities(tags)]
        assert line == {"text": "".join(tokens), "label": spans}


def test_text_in_nfd_keeps_its_characters(marked_adapter, memorized, capsys):
    tokens, tags = memorized[0]
    text = unicodedata.normalize("NFD", "".join(tokens))
    tag.main(["--adapter", str(marked_adapter), "--text", text, "--format", "marked"])
    printed = capsys.readouterr().out
    assert "".join(parse_marked_sentence(printed.strip())[0]) == text
    assert unicodedata.normalize("NFC", printed) == mark_entities(tokens, tags) + "\n"


def test_prompt_reaches_the_model(adapter, monkeypatch):
    texts = []

    def record(self, prompts, *rest):
        texts.extend(self.tokenizer.decode(prompt) for prompt in prompts.values())
        raise InputError("enough")

    monkeypatch.setattr(AnswerGenerator, "generate", record)
    for prompt in SYSTEM_PROMPTS:
        with pytest.raises(InputError, match="enough"):
            tag.main(["--adapter", str(adapter), "--prompt", prompt, "--text", "봄"])
    assert texts == [
        f"[|system|]{prompt}[|endofturn|]\n[|user|]봄\n[|assistant|]"
        for prompt in SYSTEM_PROMPTS.values()
    ]


def test_saved_threshold_is_used_if_asked(adapter, memorized, tmp_path, capsys):
    folder = tmp_path / "adapter"
    shutil.copytree(adapter, folder)
    record = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    (folder / "training.json").write_text(json.dumps(record | {"min_confidence": 1.0}))
    texts = ["".join(tokens) for tokens, _ in memorized[:4]]
    tag.main(["--adapter", str(folder), "--min_confidence", "saved", "--text", *texts])
    printed = capsys.readouterr()
    entities = [json.loads(line)["entities"] for line in printed.out.splitlines()]
    assert entities == [[], [], [], []]
    assert "threshold 1.0, saved with the adapter\n" in printed.err


def test_standard_output_has_documents_alone(gold, tmp_path, capsys, monkeypatch):
    given = "인물0001이\r\n\n끝없는".encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
    tag.main([])
    printed = capsys.readouterr()
    assert [json.loads(line)["text"] for line in printed.out.splitlines()] == [
        "인물0001이",
        "",
        "끝없는",
    ]
    assert "documents: 3, sentences whose answers reached the token limit: 1\n" in printed.err
    assert f"tagging: {len(given):.1f}B" in printed.err


def test_fields_and_whole_files(gold, tmp_path, capsys):
    (tmp_path / "a.jsonl").write_text('{"id": 1, "text": "장소0001"}\n')
    (tmp_path / "b.txt").write_text("인물0001\n인물0002\n")
    tag.main([str(tmp_path / "a.jsonl"), str(tmp_path / "b.txt")])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line.get("id") for line in lines] == [1, None, None]
    tag.main([str(tmp_path / "b.txt"), "--whole_file"])
    [line] = map(json.loads, capsys.readouterr().out.splitlines())
    assert [entity["start"] for entity in line["entities"]] == [0, 7]


def write_documents(folder: Path) -> tuple[Path, list[str]]:
    """A file of 120 documents. Returns its path and the flags that tag it."""
    path = folder / "in.txt"
    path.write_text("".join(f"인물{number:04}의 끝. 장소0000.\n" for number in range(120)))
    return path, [str(path), "--output", str(folder / "out.jsonl")]


def test_killed_run_and_two_processes_give_the_same_bytes(tmp_path, monkeypatch):
    path, flags = write_documents(tmp_path)
    logs = tmp_path / "logs"
    logs.mkdir()
    assert finish(start(logs / "killed", run_tag, flags, 50)) == -signal.SIGKILL
    output = tmp_path / "out.jsonl"
    done = output.read_bytes()
    assert 0 < done.count(b"\n") < 60
    assert run_in_two(logs, run_tag, flags).count("documents: 120, ") == 1
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert [line["text"] for line in lines] == path.read_text().splitlines()
    for line in lines:
        names = [entity | {"confidence": 0.5} for entity in find_names(line["text"])]
        assert line["entities"] == names

    expected = output.read_bytes()
    assert expected.startswith(done)
    for file in tmp_path.glob("out*"):
        file.unlink()
    monkeypatch.setattr(run, "SENTENCES", 8)
    monkeypatch.setattr(tag, "build_recognizer", lambda args: GoldModel("marked"))
    tag.main(flags)
    assert output.read_bytes() == expected
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        *("in.txt", "logs", "out.jsonl", "out.jsonl.progress.json")
    ]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["nothing.txt"], r"nothing\.txt: not found"),
        (["in.jsonl"], r"in\.jsonl:1: expected .*no text"),
        (["in.jsonl", "--whole_file"], "Leave out --whole_file"),
        (["in.txt", "--output", "."], "is a folder"),
        (["in.txt", "--adapter", "EXAONE-nowhere"], r"EXAONE-nowhere: no such folder"),
        (["in.txt", "--adapter", "none"], "the hub cannot be reached"),
        (["in.txt", "--adapter", "none", "--min_confidence", "saved"], "no threshold is saved"),
        (["--text", "\udcff"], "--text: holds half of a surrogate pair or bytes"),
        (["in.txt", "--output", "mine.txt"], r"mine\.txt: exists, but"),
        (["in.txt", "--output", "../{folder}/in.txt"], r"in\.txt: is an input too"),
        (["in.txt", "--label_file", "labels.json"], r"labels\.json: cannot be read"),
    ],
)
def test_wrong_input_is_reported_before_any_model_loads(
    flags, message, tmp_path, monkeypatch, stand_in
):
    monkeypatch.setattr(
        "ner.model.lora.load_model", lambda *arguments: pytest.fail("a model was loaded")
    )
    (tmp_path / "in.txt").write_text("봄\n")
    (tmp_path / "in.jsonl").write_text('{"txt": "봄"}\n')
    (tmp_path / "mine.txt").write_text("mine")
    monkeypatch.chdir(tmp_path)
    flags = [flag.format(folder=tmp_path.name) for flag in flags]
    if "--adapter" not in flags:
        flags = [*flags, "--adapter", "none", "--model", str(stand_in)]
    with pytest.raises(InputError, match=message):
        tag.main(flags)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["a.txt", "--text", "봄"], "--text replaces the files"),
        (["--endpoint", "http://127.0.0.1:9/v1", "--text", "봄"], "--endpoint needs --model"),
        (["--format", "xml"], "--format"),
        (["--prompt", "marked", "--prompt_file", "p.txt"], "exclude each other"),
        (["--answer", "marked"], "--answer is for --prompt_file"),
    ],
)
def test_flags_that_do_not_fit(flags, message, capsys):
    with pytest.raises(SystemExit):
        tag.parse_args(flags)
    assert message in capsys.readouterr().err
