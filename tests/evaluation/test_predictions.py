"""The predictions file: read back, incomplete, malformed."""

import json
import math

import pytest

from ner.cli import InputError
from ner.evaluation.predictions import find_task, read_answered, read_predictions, retag
from tests.evaluation.rows import (
    CONFIDENT,
    HAND_MADE,
    SETTINGS,
    TAGS_ALONE,
    write_predictions,
)

MALFORMED_PIECES = [
    *(None, {}, [1], ["1"], [[1]], [[1, -0.5, 0]], [["1", -0.5]], [[1.0, -0.5]], [[1, None]]),
    *([[1, -0.5], [2, 0.1]], [[1, math.nan]], [[1, math.inf]]),
]
GOOD = {"id": 1, "tokens": ["봄"], "gold": ["B-DT"], "answer": "{}", "stopped": True}
TAGGED = {"id": 2, "tokens": ["봄", "날"], "gold": ["B-DT", "O"], "tags": ["B-DT", "I-DT"]}


def test_predictions_are_read_back_in_the_order_of_their_ids(tmp_path):
    path = write_predictions(tmp_path / "predictions.jsonl", HAND_MADE[::-1])
    assert read_predictions(path) == (SETTINGS, HAND_MADE)


@pytest.mark.parametrize("cut", [1, 2, 10, 100, -2])
def test_an_incomplete_last_line_is_ignored(tmp_path, cut):
    path = write_predictions(tmp_path / "predictions.jsonl", HAND_MADE)
    content = path.read_bytes()
    last_line = content.rstrip(b"\n").rindex(b"\n") + 1
    path.write_bytes(content[: last_line + cut] if cut > 0 else content[:cut])
    assert read_predictions(path) == (SETTINGS, HAND_MADE[:-1])


def test_a_last_line_without_a_line_break_is_read(tmp_path):
    path = write_predictions(tmp_path / "predictions.jsonl", HAND_MADE)
    path.write_bytes(path.read_bytes()[:-1])
    assert read_predictions(path)[1] == HAND_MADE


@pytest.mark.parametrize(
    "lines, message",
    [
        ([GOOD], r'jsonl:1: the first line must be {"settings"'),
        ([{"settings": {}}, "{", GOOD], "jsonl:2: Expecting"),
        ([{"settings": {}}, GOOD, ""], "jsonl:3: Expecting"),
        ([{"settings": {}}, [1]], "jsonl:2: a sentence must be a JSON object"),
        ([{"settings": {}}, {}], r"2: .* id \(int\), .*, tags \(list\), or answer and stopped"),
        (
            [{"settings": {}}, {**TAGGED, "stopped": True}],
            r"jsonl:2: a sentence needs answer \(str\)\.",
        ),
        ([{"settings": {}}, TAGGED | {"tags": "O"}], r"jsonl:2: a sentence needs tags \(list\)"),
        (
            [{"settings": {}}, TAGGED | {"tags": ["O"]}],
            "jsonl:2: tags must hold one tag per token, of B-DT",
        ),
        ([{"settings": {}}, TAGGED | {"tags": ["O", []]}], "jsonl:2: tags must hold one tag per"),
        ([{"settings": {}}, TAGGED | {"tags": ["O", "B-XX"]}], "jsonl:2: tags must hold one tag"),
        (
            [{"settings": {}}, TAGGED, TAGGED | {"id": 3, "tags": ["B-DT", "I-PS"]}],
            "jsonl:3: I-PS continues nothing. An entity starts with B-PS",
        ),
        ([{"settings": {}}, TAGGED | {"tags": ["I-DT", "O"]}], "jsonl:2: I-DT continues nothing"),
        ([{"settings": {}}, TAGGED | {"tokens": ["봄", ""]}], "jsonl:2: a token is empty"),
        ([{"settings": {}}, TAGGED | {"pieces": []}], "jsonl:2: pieces are the tokens of"),
        ([{"settings": {}}, TAGGED, GOOD], "sentence 1 has an answer, but 2 has tags alone"),
        ([{"settings": {"labels": ["DT"]}}, TAGGED], "jsonl:1: labels: expected descriptions"),
        ([{"settings": {"labels": {"D T": ""}}}, TAGGED], "jsonl:1: labels: label 'D T'"),
        (
            [{"settings": {}}, {**GOOD, "answer": None}],
            r"jsonl:2: a sentence needs .*answer \(str\)",
        ),
        ([{"settings": {}}, {**GOOD, "tokens": [1]}], "jsonl:2: tokens must be strings"),
        ([{"settings": {}}, {**GOOD, "gold": []}], "jsonl:2: gold must hold one tag per token"),
        (
            [{"settings": {}}, {**GOOD, "gold": ["B-XX"]}],
            "jsonl:2: gold must hold one tag per token, of B-DT",
        ),
        (
            [{"settings": {}}, {**GOOD, "gold": [["O"]]}],
            "jsonl:2: gold must hold one tag per token, of B-DT",
        ),
        *(
            ([{"settings": {}}, {**GOOD, "pieces": pieces}], "jsonl:2: pieces must be a list of")
            for pieces in MALFORMED_PIECES
        ),
        ([{"settings": {}}, GOOD, GOOD], "sentence 1 occurs more than once"),
    ],
)
def test_malformed_predictions_are_refused_with_file_and_line(tmp_path, lines, message):
    path = tmp_path / "predictions.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("".join(f"{text}\n" for text in texts))
    with pytest.raises(InputError, match=message):
        read_predictions(path)
    with pytest.raises(InputError, match=r"nowhere.jsonl: cannot be read"):
        read_predictions(tmp_path / "nowhere.jsonl")


@pytest.mark.parametrize("content", ["", '{"settings": {}}\n'])
def test_a_file_without_answers_is_read_but_not_scored(tmp_path, content):
    path = tmp_path / "predictions.jsonl"
    path.write_text(content)
    assert read_predictions(path)[1] == []
    with pytest.raises(InputError, match="holds no predictions yet"):
        read_answered(path)


def test_pieces_are_read_back(tmp_path):
    path = write_predictions(tmp_path / "predictions.jsonl", CONFIDENT)
    assert read_predictions(path)[1] == CONFIDENT
    rows = [GOOD | {"pieces": pieces} for pieces in ([], [[1, 0], [2, -1]], [[2, -math.inf]])]
    for row in rows:
        write_predictions(path, [row])
        assert read_predictions(path)[1] == [row]


def test_a_threshold_needs_the_tokens_of_every_row():
    tags = [row["tags"] for row in retag(CONFIDENT, {}, 0.5)]
    assert tags == [
        *(row["tags"] for row in CONFIDENT[:2]),
        ["O"] * 6,
        CONFIDENT[3]["tags"],
        ["O"] * 6,
    ]
    with pytest.raises(InputError, match=r"no probabilities .* --min_confidence. Leave it out"):
        retag([*CONFIDENT, HAND_MADE[0]], {}, 0.5)


def test_tags_alone_are_read_and_kept(tmp_path):
    path = write_predictions(tmp_path / "predictions.jsonl", TAGS_ALONE)
    settings, rows = read_predictions(path)
    assert rows == TAGS_ALONE
    retagged = retag(rows, settings)
    assert [row["tags"] for row in retagged] == [row["tags"] for row in HAND_MADE]
    assert retagged[0]["diagnosis"] == {
        "read": "tags",
        "mentions": [
            {"label": "PS", "text": "손흥민", "status": "placed", "start": 0, "end": 3},
            {"label": "LC", "text": "춘천", "status": "placed", "start": 5, "end": 7},
        ],
        "further": [],
    }
    with pytest.raises(InputError, match=r"no probabilities .* --min_confidence. Leave it out"):
        retag(rows, settings, 0.5)


@pytest.mark.parametrize("settings", [{}, {"prompt": "basic"}, {"prompt": "marked"}])
def test_labels_are_found_with_and_without_a_prompt(tmp_path, settings):
    labels = {"BRAND": "상표", "SIZE": ""}
    row = {"id": 0, "tokens": ["나래", " ", "XL"], "gold": ["B-BRAND", "O", "B-SIZE"]}
    row["tags"] = row["gold"]
    path = write_predictions(tmp_path / "own.jsonl", [row], settings | {"labels": labels})
    assert find_task(read_predictions(path)[0]).labels == labels
    # Without labels they are KLUE's, which the tags are not.
    write_predictions(path, [row], settings)
    with pytest.raises(InputError, match=r"own.jsonl:2: gold must hold one tag per token, of B-DT"):
        read_predictions(path)


def test_retagging_reads_the_answers_again():
    fields = ("id", "tokens", "gold", "answer", "stopped")
    rows = [{name: row[name] for name in fields} for row in HAND_MADE]
    assert retag(rows, {}) == HAND_MADE
