import json

import pytest

from ner.cli import InputError
from ner.tagging.reading import check_inputs, read_documents


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        (b"", []),
        (b"\n", [""]),
        ("봄\n\n여름".encode(), ["봄", "", "여름"]),
        ("봄\r\n여름\r\n".encode(), ["봄", "여름"]),
        ("\ufeff봄\n\ufeff".encode(), ["봄", "\ufeff"]),
        ("봄\u2028여\r름\x0b \n".encode(), ["봄\u2028여\r름\x0b "]),
    ],
)
def test_lines_are_documents_exactly_as_given(content, texts, tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    documents = list(read_documents([str(path)]))
    assert [document.text for document in documents] == texts
    assert sum(document.size for document in documents) == len(content)
    assert check_inputs([str(path)], whole_file=False) == len(content)


def test_whole_file_is_a_document(tmp_path):
    text = "봄\r\n\n여름 \n"
    for name, content in (("a.txt", text), ("b.txt", "")):
        (tmp_path / name).write_bytes(content.encode())
    paths = [str(tmp_path / name) for name in ("a.txt", "b.txt")]
    assert [document.text for document in read_documents(paths, whole_file=True)] == [text, ""]


def test_json_lines_keep_their_fields(tmp_path):
    path = tmp_path / "a.jsonl"
    record = {
        "id": 7,
        "text": "봄\n\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
    }
    old = {"entities": [1], "incomplete": [[0, 1]]}
    path.write_text(json.dumps(record | old | {"tags": None}) + "\n")
    [document] = read_documents([str(path)])
    assert document.record == record | {"tags": None}
    assert list(document.record) == ["id", "text", "tags"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", None, r"a\.txt: not found"),
        (".", None, r"is a folder"),
        ("a.txt", b"a\n\xff\n", r"a\.txt:2: not UTF-8 \(byte 0\)"),
        ("a.jsonl", b'{"text": "a"}\n\n', r'a\.jsonl:2: expected \{"text": "…"\}'),
        ("a.jsonl", b'{"txt": "a"}\n', r"a\.jsonl:1: .*\(no text\)"),
        ("a.jsonl", b'["text"]\n', r"a\.jsonl:1: expected"),
        ("a.jsonl", b'{"text": 7}\n', r"a\.jsonl:1: text must be a string, found int"),
        ("a.jsonl", b'{"text": "\\ud83d"}\n', r"a\.jsonl:1: holds half of a surrogate"),
        ("a.jsonl", b'{"text": "a", "b": "\\ud83d"}\n', r"a\.jsonl:1: holds half of a surrogate"),
        ("a.jsonl", b"[" * 100_000, r"a\.jsonl:1: expected"),
    ],
)
def test_wrong_input(name, content, message, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        check_inputs([str(tmp_path / name)], whole_file=False)


def test_json_lines_are_no_whole_file(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\n')
    with pytest.raises(InputError, match=r"a\.jsonl: .*Leave out --whole_file"):
        check_inputs([str(path)], whole_file=True)


def test_size_of_standard_input_is_not_known():
    assert check_inputs(["-"], whole_file=False) is None
