import hashlib
import json

import pytest

from ner.cli import InputError
from ner.text.chats import describe_chats, load_chats, source_path, write_chats
from ner.text.prompts import SYSTEM_PROMPTS, build_prompt

MESSAGES = [{"role": "user", "content": "봄"}, {"role": "assistant", "content": "{}"}]
LINE = '{"messages": [{"role": "user", "content": "봄"}, {"role": "assistant", "content": "{}"}]}\n'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "train.jsonl: not found. Write it first: python data_processing.py"),
        ("", "train.jsonl: no chats. Write the file again: python data_processing.py"),
        (LINE + '{"messages": [{"role": "user"\n', "train.jsonl:2: expected .*JSONDecodeError"),
        (LINE + '{"text": "봄"}\n', "train.jsonl:2: expected .*KeyError: 'messages'"),
        (LINE + '["messages"]\n', "train.jsonl:2: expected .*TypeError"),
        (b"\xff", "train.jsonl: not UTF-8"),
        (
            LINE.replace("assistant", "user"),
            "train.jsonl:1: expected the roles system, user, assistant, found user, user",
        ),
        (LINE.replace('"{}"', "{}"), "train.jsonl:1: every content must be a string"),
    ],
)
def test_malformed_chats_are_reported_with_file_and_line(tmp_path, content, message):
    path = tmp_path / "train.jsonl"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message):
        load_chats(path)


def test_last_line_needs_no_newline(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text(LINE + LINE.strip(), encoding="utf-8")
    assert load_chats(path) == [MESSAGES, MESSAGES]


def test_chats_there_and_back_with_their_source(tmp_path):
    path = tmp_path / "train.jsonl"
    write_chats(path, [{"messages": MESSAGES}], {"dataset": "data/sample"})
    assert path.read_text(encoding="utf-8") == LINE
    assert load_chats(path) == [MESSAGES]
    fingerprint = hashlib.sha256(LINE.encode()).hexdigest()
    source = {"dataset": "data/sample", "chats": 1, "sha256": fingerprint}
    assert source_path(path) == tmp_path / "train.source.json"
    assert json.loads(source_path(path).read_text(encoding="utf-8")) == source
    assert describe_chats(path) == {"sha256": fingerprint, "source": source}


def test_source_of_edited_chats_is_unknown(tmp_path):
    path = tmp_path / "train.jsonl"
    write_chats(path, [{"messages": MESSAGES}], {"dataset": "data/sample"})
    path.write_text(LINE + LINE, encoding="utf-8")
    fingerprint = hashlib.sha256((LINE + LINE).encode()).hexdigest()
    assert describe_chats(path) == {"sha256": fingerprint, "source": None, "prompt": None}
    source_path(path).unlink()
    assert describe_chats(path) == {"sha256": fingerprint, "source": None, "prompt": None}


def test_edited_chats_keep_the_name_of_their_prompt(tmp_path):
    path = tmp_path / "train.jsonl"
    chat = [
        *build_prompt("봄", SYSTEM_PROMPTS["marked"]),
        {"role": "assistant", "content": "<봄:DT>"},
    ]
    write_chats(path, [{"messages": chat}] * 2, {"prompt": "marked"})
    path.write_text(path.read_text(encoding="utf-8").splitlines(keepends=True)[0], encoding="utf-8")
    assert describe_chats(path)["source"] is None
    assert describe_chats(path)["prompt"] == "marked"
