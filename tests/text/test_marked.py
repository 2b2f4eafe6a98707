"""Marked answers: exact copies, copies with differences, and anything else."""

import time
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ner.text.conversion import tag_answer, write_gold_answer
from ner.text.corpus import get_id2label, load_split
from ner.text.klue import LABELS
from ner.text.marked import locate_marks, parse_marks, read_marked
from ner.text.tags import find_entities, write_tags
from tests.helpers import SAMPLE

SENTENCE = "손흥민은 춘천에서 태어났다."
MARKED = "<손흥민:PS>은 <춘천:LC>에서 태어났다."
BOTH = [("PS", 0, 3), ("LC", 5, 7)]


def tag(answer: str, sentence: str = SENTENCE) -> list[tuple[str, int, int]]:
    """The entities that a marked answer gives a sentence."""
    tags, _ = tag_answer(answer, list(sentence), "marked")
    return find_entities(tags)


def read(answer: str, sentence: str = SENTENCE) -> tuple[str, int]:
    reading, _ = read_marked(answer, sentence)
    return reading["read"], reading["edits"]


@pytest.mark.parametrize(
    ("answer", "expected", "entities"),
    [
        (MARKED, ("copied", 0), BOTH),
        (SENTENCE, ("copied", 0), []),
        (f"```\n{MARKED}\n```", ("mended", 0), BOTH),
        (f"다음과 같습니다: {MARKED} 이상입니다.", ("mended", 0), BOTH),
        (f"{MARKED}\n{MARKED}", ("mended", 0), BOTH),
        (f"{SENTENCE}\n{MARKED}", ("mended", 0), BOTH),
        (f"입력: {SENTENCE} 출력: {MARKED}", ("mended", 0), BOTH),
        (f"{MARKED}\n{SENTENCE}", ("mended", 0), BOTH),
        (f"{SENTENCE} <손흥민:PS>", ("cut off", 10), BOTH[:1]),
        ("<손 흥민:PS>은 <춘천:LC>에서태어났다.", ("mended", 0), BOTH),
        ("<손홍민:PS>은 <춘천:LC>에서 태어났다.", ("mended", 1), BOTH),
        ("<송흥민:PS>은 <춘천:LC>에서 태어났다.", ("mended", 1), BOTH),
        ("<손흥빈:PS>은 <준천:LC>에서 태어났다.", ("mended", 2), BOTH),
        ("<손흥민:PS>은 <춘천:LC>에서 정말 태어났다.", ("mended", 2), BOTH),
        ("<손흥민:PS>은 <춘천:LC>서 태어났다.", ("mended", 1), BOTH),
        ("<손흥민:사람>은 <춘천:lc>에서 태어났다.", ("copied", 0), BOTH),
        ("<손흥민:PS>은 <춘천:LC>에서 태", ("cut off", 4), BOTH),
        ("<손흥민:PS>은 <춘천:L", ("cut off", 7), BOTH[:1]),
        ("<손흥민:PS>은 <춘", ("cut off", 8), BOTH[:1]),
        ("<손흥민:PS>은 <부산:LC>에서 태어났다.", ("mended", 2), BOTH[:1]),
        ('{"PS": ["손흥민"]}', ("unreadable", 10), []),
        ("", ("unreadable", 13), []),
    ],
)
def test_answers_and_their_readings(answer, expected, entities):
    assert read(answer) == expected
    assert tag(answer) == entities


def test_diagnosis_lists_every_mark():
    answer = "<손흥민:PS>은 <부산:LC>에서 <태어:WHEN>났다."
    _, diagnosis = tag_answer(answer, list(SENTENCE), "marked")
    assert diagnosis == {
        "read": "mended",
        "edits": 2,
        "mentions": [
            {"label": "PS", "text": "손흥민", "status": "placed", "start": 0, "end": 3},
            {"label": "LC", "text": "부산", "status": "not found"},
            {"label": "WHEN", "text": "태어", "status": "unknown label"},
        ],
        "further": [],
    }


def test_a_name_that_occurs_twice_is_tagged_where_it_is_marked():
    sentence = "이 사람, 이 대표"
    assert tag("이 사람, <이:PS> 대표", sentence) == [("PS", 6, 7)]
    assert tag("이 사람 <이:PS> 대표", sentence) == [("PS", 6, 7)]


def test_brackets_that_mark_nothing_are_text():
    assert parse_marks("a < b <c> 1:2 \\<d:PS\\> \\\\") == ("a < b <c> 1:2 <d:PS> \\", [])


@pytest.mark.parametrize("before", ["", "```\n", "a < b, \\<c\\> \\\\ <d> ", "\ud83d\ude00 "])
def test_marks_are_located_where_they_stand(before):
    marks = ["<손흥민:PS>", "<춘\\>천:LC>", "<태어:WHEN>"]
    answer = f"{before}{marks[0]}은 {marks[1]}에서 {marks[2]}났다. <서울"
    assert [answer[start:end] for start, end in locate_marks(answer)] == marks


def test_gold_answers_of_the_sample_are_exact():
    rows = load_split(str(SAMPLE), "train")
    id2label = get_id2label(rows)
    for row in rows:
        gold = [id2label[tag] for tag in row["ner_tags"]]
        answer = write_gold_answer(row["tokens"], gold, "marked")
        assert tag_answer(answer, row["tokens"], "marked")[0] == gold


PIECES = ["<", ">", "\\", ":", " ", "PS", "LC", "손흥민", "가", "가", "㎞", "😀", "\ud83d", "\n"]
TEXT = st.lists(st.sampled_from(PIECES) | st.characters(), max_size=30).map("".join)


@given(TEXT, TEXT)
@example("<5k:QT><m:QT> 밖", "5㎞ 밖")
def test_no_string_raises_and_tags_are_well_formed(answer, sentence):
    tags, diagnosis = tag_answer(answer, list(sentence), "marked")
    assert len(tags) == len(sentence)
    before = "O"
    for tag in tags:
        assert not tag.startswith("I-") or before[2:] == tag[2:]
        before = tag
    assert diagnosis["read"] in ("copied", "mended", "cut off", "unreadable")
    placed = [mention for mention in diagnosis["mentions"] if mention["status"] == "placed"]
    for mention, following in pairwise(placed):
        assert mention["end"] <= following["start"]


@st.composite
def tagged_sentences(draw) -> tuple[list[str], list[str]]:
    tokens = list(
        draw(TEXT.filter(lambda text: text and not any("\ud800" <= c < "\ue000" for c in text)))
    )
    cuts = sorted(draw(st.sets(st.integers(0, len(tokens)), max_size=8)))
    entities = [
        (start, end, draw(st.sampled_from(sorted(LABELS))))
        for start, end in zip(cuts[::2], cuts[1::2], strict=False)
    ]
    return tokens, write_tags(entities, tokens)


@given(tagged_sentences())
def test_any_gold_marking_comes_back_exactly(sentence):
    tokens, tags = sentence
    answer = write_gold_answer(tokens, tags, "marked")
    assert tag_answer(answer, tokens, "marked")[0] == tags


@pytest.mark.parametrize("length", [1, 2000])
def test_short_and_long_sentences(length):
    sentence = ("손흥민은 춘천에서 뛴다. " * 200)[:length]
    tags = write_tags([(0, min(3, length), "PS")], list(sentence))
    answer = write_gold_answer(list(sentence), tags, "marked")
    assert tag(answer, sentence) == find_entities(tags)


@pytest.mark.parametrize(
    "answer",
    ["<" * 200_000, "<a:" * 60_000, "\\" * 200_000, "가" * 200_000, "<가:PS>" * 40_000],
)
def test_time_is_bounded(answer):
    start = time.process_time()
    assert read(answer, "손흥민은 춘천에서 뛴다. " * 140)[0] in ("unreadable", "mended")
    assert time.process_time() - start < 5
