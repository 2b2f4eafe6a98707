"""Runs over many documents: in order, in four formats, interrupted, in bounded memory."""

import json
from pathlib import Path

import pytest

from ner.cli import InputError
from ner.tagging import run
from ner.tagging.reading import Document, read_texts
from ner.tagging.recognizer import Recognizer
from ner.tagging.run import tag_documents, tag_to_file
from ner.tagging.writing import FORMATS, OutputFile, Progress
from ner.text.answers import Answer
from tests.tagging.gold import GoldModel

TEXTS = [
    "인물0001은 장소0002에서 왔다.\n끝없는 <말>.",
    "",
    "제목\n본문의 인물0003",
    *(f"문서 {number}.\n장소{number:04}는 멀다." for number in range(40)),
]
SETTINGS = {"model": "gold"}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(run, "SENTENCES", 8)


def tag_texts(
    path: Path, model: GoldModel | None = None, form: str = "jsonl", texts=TEXTS
) -> bytes:
    recognizer = Recognizer(model or GoldModel("marked"))
    settings = recognizer.settings | {"format": form}
    tag_to_file(recognizer, read_texts(texts), form, path, settings)
    return path.read_bytes()


def test_json_lines_are_in_order(tmp_path):
    lines = [json.loads(line) for line in tag_texts(tmp_path / "out").splitlines()]
    assert [line["text"] for line in lines] == TEXTS
    assert lines[0]["incomplete"] == [[21, 29]]
    assert TEXTS[0][21:29] == "끝없는 <말>."
    assert lines[1] == {"text": "", "entities": []}
    assert all(len(line["entities"]) == 1 for line in lines[2:])


@pytest.mark.parametrize(
    ("form", "beginning"),
    [
        (
            "marked",
            "<인물0001:PS>은 <장소0002:LC>에서 왔다.\n끝없는 \\<말\\>.\n"
            "\n제목\n본문의 <인물0003:PS>\n",
        ),
        (
            "conll",
            "인\tB-PS\n물\tI-PS\n0\tI-PS\n0\tI-PS\n0\tI-PS\n1\tI-PS\n은\tO\n \tO\n장\tB-LC\n",
        ),
        (
            "doccano",
            '{"text": "인물0001은 장소0002에서 왔다.\\n끝없는 <말>.", '
            '"label": [[0, 6, "PS"], [8, 14, "LC"]]}\n',
        ),
    ],
)
def test_other_formats(form, beginning, tmp_path):
    assert tag_texts(tmp_path / "out", form=form).decode().startswith(beginning)


def test_conll_separates_documents_and_leaves_out_line_breaks(tmp_path):
    content = tag_texts(tmp_path / "out", form="conll", texts=["가\r\n나", "", "\t"]).decode()
    # A tab would be a third column.
    assert content == "가\tO\n나\tO\n\n\n \tO\n\n"


def test_other_fields_are_kept():
    written = []
    documents = [Document({"id": 7, "text": "인물0001", "tag": None}, 1)]
    for form in ("jsonl", "doccano"):
        tag_documents(
            Recognizer(GoldModel(pieces=False)),
            documents,
            form,
            lambda content, progress: written.append(json.loads(content)),
            Progress(),
        )
    entity = {"label": "PS", "text": "인물0001", "start": 0, "end": 6}
    assert written == [
        {"id": 7, "text": "인물0001", "tag": None, "entities": [entity]},
        {"id": 7, "text": "인물0001", "tag": None, "label": [[0, 6, "PS"]]},
    ]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("fail_at", [0, 1, 8, 30, 80])
def test_interrupted_run_continues_to_the_same_bytes(form, fail_at, tmp_path, monkeypatch):
    unbroken, path = GoldModel("marked"), tmp_path / "out"
    expected = tag_texts(tmp_path / "unbroken", unbroken, form)
    interrupted = GoldModel("marked", fail_at)
    with pytest.raises(RuntimeError, match="the power is out"):
        tag_texts(path, interrupted, form)
    done = path.read_bytes()
    assert expected.startswith(done) and done != expected
    # Killed while it wrote: the record does not know the last bytes.
    path.write_bytes(done + '{"text": "봄'.encode()[:-1])
    continued = GoldModel("marked")
    assert tag_texts(path, continued, form) == expected
    # The model is asked in the same groups.
    assert interrupted.calls[:-1] + continued.calls == unbroken.calls
    record = json.loads((tmp_path / "out.progress.json").read_text())
    assert record == json.loads((tmp_path / "unbroken.progress.json").read_text())
    assert record["incomplete"] == 1


def test_documents_are_written_before_they_count(tmp_path, monkeypatch):
    """A run that ends between the two writes its last chunk again."""
    expected = tag_texts(tmp_path / "unbroken")
    with monkeypatch.context() as patch, pytest.raises(OSError, match="disk"):
        save, saved = OutputFile.save_record, []

        def fail(output):
            saved.append(output.size)
            if len(saved) == 4:
                raise OSError("no disk")
            save(output)

        patch.setattr(OutputFile, "save_record", fail)
        tag_texts(tmp_path / "out")
    assert 0 < (tmp_path / "out").stat().st_size < len(expected)
    assert tag_texts(tmp_path / "out") == expected


def test_complete_file_is_left_alone(tmp_path, capsys):
    before = tag_texts(tmp_path / "out")
    model = GoldModel("marked")
    assert "complete" not in capsys.readouterr().out
    assert tag_texts(tmp_path / "out", model) == before
    assert model.calls == []
    printed = capsys.readouterr().out
    assert "out: is complete already. Delete it" in printed
    assert "documents: 43, sentences whose answers reached the token limit: 1" in printed


def test_complete_file_that_was_changed_is_left_alone(tmp_path):
    tag_texts(tmp_path / "out")
    with (tmp_path / "out").open("ab") as file:
        file.write(b"mine\n")
    changed = (tmp_path / "out").read_bytes()
    with pytest.raises(InputError, match="was changed since"):
        tag_texts(tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == changed


def test_deleted_file_is_begun_again(tmp_path):
    before = tag_texts(tmp_path / "out")
    (tmp_path / "out").unlink()
    assert tag_texts(tmp_path / "out") == before
    assert tag_texts(tmp_path / "none", texts=[]) == b""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"model": GoldModel("basic")},
            r"other settings:\n  prompt: was marked, now basic\n.*delete",
        ),
        ({"form": "conll"}, "format: was jsonl, now conll"),
        ({"texts": [*TEXTS[:5], "x", *TEXTS[6:]]}, "the documents have changed"),
        ({"texts": TEXTS[:9]}, "the documents have changed"),
    ],
)
def test_other_runs_are_not_mixed(change, message, tmp_path):
    before = tag_texts(tmp_path / "out")
    with pytest.raises(InputError, match=message):
        tag_texts(tmp_path / "out", **change)
    assert (tmp_path / "out").read_bytes() == before


def test_files_of_others_are_not_overwritten(tmp_path):
    path = tmp_path / "out"
    path.write_text("mine")
    with pytest.raises(InputError, match=r"out: exists, but out\.progress\.json does not"):
        tag_texts(path)
    assert path.read_text() == "mine"
    path.unlink()
    tag_texts(path)
    path.write_text("short")
    with pytest.raises(InputError, match="was changed since"):
        tag_texts(path)


class SilentModel(GoldModel):
    """Finds nothing, quickly."""

    def answer(self, sentences):
        for index, sentence in sentences.items():
            yield Answer(index, sentence, True)


def measure_memory() -> int:
    """This process's memory in bytes."""
    return 4096 * int(Path("/proc/self/statm").read_text().split()[1])


def test_memory_does_not_grow_with_the_documents(monkeypatch):
    monkeypatch.setattr(run, "SENTENCES", 1024)
    documents = (
        Document({"text": f"{number}번째 줄에 봄이 왔다."}, 40) for number in range(60_000)
    )
    sizes = []

    def write(content: str, progress: Progress) -> None:
        sizes.append(measure_memory())

    progress = tag_documents(
        Recognizer(SilentModel("marked")), documents, "jsonl", write, Progress()
    )
    assert progress.documents == 60_000
    assert len(sizes) == 59
    assert max(sizes) - sizes[10] < 3_000_000
