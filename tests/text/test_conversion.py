import json
import math
import time
from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ner.text.alignment import normalize
from ner.text.answers import Piece, join_surrogates
from ner.text.conversion import tag_answer, write_gold_answer
from ner.text.corpus import get_id2label, load_split
from ner.text.klue import LABELS, TAGS
from ner.text.tags import find_entities, write_tags

SENTENCE = "손흥민은 7일 춘천에서 태어났다"


@pytest.mark.parametrize(
    ("read", "answer", "entities"),
    [
        ("json", '{"PS": ["손흥민"], "LC": ["춘천"]}', [("PS", 0, 3), ("LC", 8, 10)]),
        ("repaired", "{'LC': '춘천', 'PS': '손흥민'}", [("PS", 0, 3), ("LC", 8, 10)]),
        ("cut off", '{"PS": ["손흥민"], "LC": ["춘', [("PS", 0, 3)]),
        ("unreadable", "손흥민, 춘천", []),
    ],
)
def test_every_reading_ends_in_tags(read, answer, entities):
    tags, diagnosis = tag_answer(answer, list(SENTENCE))
    assert find_entities(tags) == entities
    assert diagnosis["read"] == read


def test_unreadable_answer_has_an_empty_diagnosis():
    tags, diagnosis = tag_answer("없습니다", list("손흥민"))
    assert tags == ["O", "O", "O"]
    assert diagnosis == {"read": "unreadable", "mentions": [], "further": []}


def test_unknown_labels_are_reported_but_not_tagged():
    answer = '{"EVENT": ["손흥민"], "LC": ["춘천"], "PS-B": ["7일"]}'
    tags, diagnosis = tag_answer(answer, list(SENTENCE))
    assert find_entities(tags) == [("LC", 8, 10)]
    statuses = [mention["status"] for mention in diagnosis["mentions"]]
    assert statuses == ["unknown label", "placed", "unknown label"]


SHOP = {"상품": "제품 이름", "brand-2": "", "색_상": "색"}


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("json", '{"상품": ["운동화"], "brand-2": ["나래"], "색_상": ["흰색"], "PS": ["나래"]}'),
        ("json", '{"제품 이름": ["운동화"], "BRAND-2": ["나래"], "색": ["흰색"]}'),
        ("marked", "<나래:brand-2> <흰색:색_상> <운동화:상품>와 <끈:PS>"),
        ("marked", "<나래:Brand-2> <흰색:색> <운동화:제품 이름>와 끈"),
    ],
)
def test_labels_of_ones_own(kind, answer):
    tokens = list("나래 흰색 운동화와 끈")
    tags, diagnosis = tag_answer(answer, tokens, kind, labels=SHOP)
    assert find_entities(tags) == [("brand-2", 0, 2), ("색_상", 3, 5), ("상품", 6, 9)]
    unknown = [m for m in diagnosis["mentions"] if m["status"] == "unknown label"]
    assert [m["label"] for m in unknown] == (["PS"] if "PS" in answer else [])


def test_diagnosis_has_the_status_of_each_mention():
    tokens = list("손흥민은 춘천 사람, 춘천에 산다")
    answer = '{"PS": ["손흥민", "이강인"], "LC": ["춘천"], "X": ["서울"]}'
    tags, diagnosis = tag_answer(answer, tokens)
    assert tags == write_tags([(0, 3, "PS"), (5, 7, "LC"), (12, 14, "LC")], tokens)
    assert diagnosis == {
        "read": "json",
        "mentions": [
            {"label": "PS", "text": "손흥민", "status": "placed", "start": 0, "end": 3},
            {"label": "PS", "text": "이강인", "status": "not found"},
            {"label": "LC", "text": "춘천", "status": "placed", "start": 5, "end": 7},
            {"label": "X", "text": "서울", "status": "unknown label"},
        ],
        "further": [{"label": "LC", "text": "춘천", "start": 12, "end": 14}],
    }


def test_bare_numbers_are_placed():
    _, diagnosis = tag_answer('{"QT": 1.50, "DT": [2014]}', list("2014년 1.50점"))
    assert diagnosis["mentions"] == [
        {"label": "QT", "text": "1.50", "status": "placed", "start": 6, "end": 10},
        {"label": "DT", "text": "2014", "status": "placed", "start": 0, "end": 4},
    ]


def write_pieces(answer: str, parts: list[tuple[str, float]]) -> list[Piece]:
    """The tokens of an answer from their texts and probabilities."""
    assert "".join(text for text, _ in parts) == answer
    ends = accumulate(len(text) for text, _ in parts)
    logprobs = [math.log(probability) for _, probability in parts]
    return [Piece(*piece) for piece in zip(ends, logprobs, strict=True)]


def test_each_mention_has_the_confidence_of_its_tokens():
    tokens = list("손흥민은 춘천 사람, 춘천에 산다")
    answer = '{"PS": ["손흥민", "이강인"], "LC": ["춘천"]}'
    parts = [('{"PS": ["', 0.1), ("손흥", 0.9), ("민", 0.8), ('", "', 0.1), ("이강인", 0.7)]
    parts += [('"], "LC": ["', 0.1), ("춘천", 0.6), ('"]', 0.1), ("}", 0.1)]
    pieces = write_pieces(answer, parts)
    tags, diagnosis = tag_answer(answer, tokens, pieces=pieces)
    assert find_entities(tags) == [("PS", 0, 3), ("LC", 5, 7), ("LC", 12, 14)]
    mentions = diagnosis["mentions"]
    assert [mention["confidence"] for mention in mentions] == [0.72, 0.7, 0.6]
    assert [mention["answer_span"] for mention in mentions] == [[9, 12], [16, 19], [31, 33]]
    assert [entity["confidence"] for entity in diagnosis["further"]] == [0.6]
    # At the threshold itself an entity is kept.
    assert tag_answer(answer, tokens, "json", pieces, 0.6) == (tags, diagnosis)

    tags, diagnosis = tag_answer(answer, tokens, "json", pieces, 0.7)
    assert find_entities(tags) == [("PS", 0, 3)]
    assert diagnosis["mentions"][1]["status"] == "not found"
    unsure = {"status": "unsure", "answer_span": [31, 33], "confidence": 0.6}
    assert diagnosis["mentions"][2] == {"label": "LC", "text": "춘천"} | unsure
    assert diagnosis["further"] == []


def test_a_mark_has_the_confidence_of_its_tokens():
    answer = "<손흥민:PS>은 <춘천:LC>에"
    parts = [("<", 0.9), ("손흥민", 0.8), (":PS>은", 0.5), (" ", 0.1)]
    parts += [("<춘천:LC>", 0.7), ("에", 0.1)]
    pieces = write_pieces(answer, parts)
    tags, diagnosis = tag_answer(answer, list("손흥민은 춘천에"), "marked", pieces, 0.5)
    assert [mention["confidence"] for mention in diagnosis["mentions"]] == [0.36, 0.7]
    assert [mention["answer_span"] for mention in diagnosis["mentions"]] == [[0, 8], [10, 17]]
    assert [mention["status"] for mention in diagnosis["mentions"]] == ["unsure", "placed"]
    assert find_entities(tags) == [("LC", 5, 7)]


def test_the_first_of_equal_mentions_decides_on_further_occurrences():
    answer = '{"LC": ["춘천", "춘천"]}'
    parts = [('{"LC": ["', 1.0), ("춘천", 0.6), ('", "', 1.0), ("춘천", 0.9), ('"]}', 1.0)]
    pieces = write_pieces(answer, parts)
    _, diagnosis = tag_answer(answer, list("춘천, 춘천, 춘천"), "json", pieces, 0.7)
    assert [mention["status"] for mention in diagnosis["mentions"]] == ["unsure", "placed"]
    assert diagnosis["further"] == []


def test_mentions_that_cannot_be_located_have_the_confidence_of_the_answer():
    answer = '{"PS": ' * 200 + '"손흥민"' + "}" * 200
    pieces = [Piece(1400, math.log(0.5)), Piece(len(answer), math.log(0.5))]
    _, diagnosis = tag_answer(answer, list("손흥민은"), pieces=pieces)
    (mention,) = diagnosis["mentions"]
    assert (mention["status"], mention["confidence"]) == ("placed", 0.25)
    assert mention["answer_span"] == [0, len(answer)]


@pytest.mark.parametrize(("kind", "inexact"), [("json", 23), ("marked", 0)])
def test_inexact_gold_answers_of_klue(klue_copy, kind, inexact):
    """See "Limits" in docs/conversion.md."""
    found = 0
    for split in ("train", "validation"):
        rows = load_split(str(klue_copy), split)
        id2label = get_id2label(rows)
        for row in rows:
            gold = [id2label[tag] for tag in row["ner_tags"]]
            answer = write_gold_answer(row["tokens"], gold, kind)
            found += tag_answer(answer, row["tokens"], kind)[0] != gold
    assert found == inexact


# Each sentence, written for this test, repeats a failure that the post printed.
@pytest.mark.parametrize(
    ("sentence", "answer", "expected"),
    [
        (
            "김연아는 3일 밤 캐나다 밴쿠버 퍼시픽 콜리시엄에서 1500m를 뛰었다",
            {
                "PS": ["김연아"],
                "DT": ["3일"],
                "LC": ["캐나다 밴쿠버 퍼시픽 콜리시엄"],
                "TI": ["밤"],
                "QT": ["1500m"],
            },
            "PS:김연아 DT:3일 TI:밤 LC:캐나다 밴쿠버 퍼시픽 콜리시엄 QT:1500m",
        ),
        (
            "일본 정부는 도쿄항을 닫았다",
            {"OG": ["일본 정부"], "LC": ["도쿄항"]},
            "OG:일본 정부 LC:도쿄항",
        ),
        (
            "전반 9분까지 6.4㎞를 뛰었다",
            {"TI": ["전반 9분"], "QT": ["6.4km"]},
            "TI:전반 9분 QT:6.4㎞",
        ),
        (
            "전반 9분까지 6.4km를 뛰었다",
            {"TI": ["전반9분"], "QT": ["6.4 ㎞"]},
            "TI:전반 9분 QT:6.4km",
        ),
        ("월요일엔 10m, 화요일엔 20m", {"QT": ["10m", "20m"]}, "QT:10m QT:20m"),
        ("영하 3℃, Canon 카메라", {"QT": ["3°C"], "OG": ["CANON"]}, "QT:3℃ OG:Canon"),
        ("8점 준다 8점!", {"QT": ["8점", "8점"]}, "QT:8점 QT:8점"),
        ("8점 준다 8점!", {"QT": ["8점"]}, "QT:8점 QT:8점"),
        # A mention is tagged with its particle: only the model can know where the name ends.
        ("앨리스의 하루", {"PS": ["앨리스의"]}, "PS:앨리스의"),
        # With another particle it is not in the sentence. A guess would hide the model's mistake.
        ("앨리스의 하루", {"PS": ["앨리스는"]}, ""),
        ("하루에 한번씩 본다", {"DT": ["매일"], "QT": ["한번"]}, "QT:한번"),
    ],
)
def test_mentions_that_the_post_lost(sentence, answer, expected):
    tags, _ = tag_answer(json.dumps(answer, ensure_ascii=False), list(sentence))
    entities = [f"{label}:{sentence[start:end]}" for label, start, end in find_entities(tags)]
    assert " ".join(entities) == expected


@pytest.mark.parametrize(
    ("tokens", "answer", "tags"),
    [
        (
            ["손흥민은", " ", "춘천", "에서"],
            {"PS": ["손흥민"], "LC": ["춘천"]},
            ["B-PS", "O", "B-LC", "O"],
        ),
        (["손흥", "민", "", "은"], {"PS": ["손흥민"]}, ["B-PS", "I-PS", "O", "O"]),
        (["손", "", "흥민"], {"PS": ["손흥민"]}, ["B-PS", "I-PS", "I-PS"]),
        (["한국과일본", "은행"], {"LC": ["한국"], "OG": ["일본은행"]}, ["B-LC", "B-OG"]),
        (["한국과일본"], {"LC": ["한국"], "OG": ["일본"]}, ["B-LC"]),
        ([], {"PS": ["손흥민"]}, []),
        ([""], {"PS": ["손흥민"]}, ["O"]),
    ],
)
def test_each_token_gets_one_tag(tokens, answer, tags):
    assert tag_answer(json.dumps(answer), tokens)[0] == tags


# Properties of any answer

SNIPPETS = [
    *('{"PS": ["', '"], "LC": ["', '"]}', "```json\n", "```", '"text": ', '"label": ', "null"),
    *("{", "}", "[", "]", '"', "'", ":", ",", "\\", "\\u", "：", "｛", "“", "”", " ", "\n"),
    *("손흥민", "5㎞", "ㅋ", "한", "12", "PS", "사람", "\ud800"),
]
noise = st.text() | st.lists(st.sampled_from(SNIPPETS), max_size=30).map("".join)
words = st.sampled_from(["손흥민", "5㎞", "ㅋ", "한", " ", "12", "a", "㈜", "é"])
tokens_of_any_length = st.lists(words | st.text(max_size=3))
keys = st.sampled_from([*LABELS, "text", "label", "ps", "사람", "X"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | noise,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


def is_well_formed(tags: list[str]) -> bool:
    if not set(tags) <= set(TAGS):
        return False
    pairs = pairwise(["O", *tags])
    return all(before[1:] == tag[1:] for before, tag in pairs if tag.startswith("I-"))


@settings(deadline=None)
@given(answer=noise, tokens=tokens_of_any_length)
def test_no_string_raises_and_tags_are_well_formed(answer, tokens):
    tags, diagnosis = tag_answer(answer, tokens)
    assert len(tags) == len(tokens)
    assert is_well_formed(tags)
    json.dumps(diagnosis, ensure_ascii=False).encode()


@settings(deadline=None)
@given(value=json_values, tokens=tokens_of_any_length)
def test_spans_hold_their_text_and_do_not_overlap(value, tokens):
    sentence = "".join(tokens)
    tags, diagnosis = tag_answer(json.dumps(value), tokens)
    assert is_well_formed(tags)
    entities = [found for found in diagnosis["mentions"] + diagnosis["further"] if "start" in found]
    for entity in entities:
        span = sentence[entity["start"] : entity["end"]]
        assert normalize(span)[0] == normalize(entity["text"])[0]
    entities.sort(key=lambda entity: entity["start"])
    assert all(before["end"] <= after["start"] for before, after in pairwise(entities))


@settings(deadline=None)
@given(
    answer=noise | json_values.map(json.dumps) | json_values.map(str),
    tokens=tokens_of_any_length,
    before=st.sampled_from(["", " ", "\n\n", "\u3000"]),
    after=st.sampled_from(["", " ", "\r\n"]),
)
def test_white_space_and_fences_change_nothing(answer, tokens, before, after):
    tags, diagnosis = tag_answer(answer, tokens)
    del diagnosis["read"]
    variants = [
        before + answer + after,
        f"{before}```json\n{answer}{after}\n```",
        f"```\n{answer}",
        f"{answer}\n```",
    ]
    for variant in variants:
        other_tags, other_diagnosis = tag_answer(variant, tokens)
        del other_diagnosis["read"]
        assert (other_tags, other_diagnosis) == (tags, diagnosis)


# A string alone is left out: an object inside it is not plain JSON.
@settings(deadline=None)
@given(
    value=json_values.filter(lambda value: not isinstance(value, str)),
    tokens=tokens_of_any_length,
)
def test_mentions_of_plain_json_are_located(value, tokens):
    answer = json.dumps(value)
    _, diagnosis = tag_answer(answer, tokens, pieces=[])
    for mention in diagnosis["mentions"]:
        start, end = mention["answer_span"]
        assert join_surrogates(json.loads(f'"{answer[start:end]}"')) == mention["text"]


@settings(deadline=None)
@given(
    answer=noise | json_values.map(str),
    tokens=tokens_of_any_length,
    kind=st.sampled_from(["json", "marked"]),
    width=st.integers(1, 9),
)
def test_probabilities_change_no_tags(answer, tokens, kind, width):
    tags, diagnosis = tag_answer(answer, tokens, kind)
    pieces = [Piece(end, -0.5) for end in range(0, len(answer) + width, width)]
    assert tag_answer(answer, tokens, kind, pieces, 1.0)[0] == ["O"] * len(tokens)
    tags_with_pieces, with_pieces = tag_answer(answer, tokens, kind, pieces)
    for mention in with_pieces["mentions"]:
        start, end = mention.pop("answer_span")
        assert 0 <= start < end <= len(answer)
    for mention in with_pieces["mentions"] + with_pieces["further"]:
        assert 0 <= mention.pop("confidence") < 1
    assert (tags_with_pieces, with_pieces) == (tags, diagnosis)


# Time: answers of 200,000 characters and other extremes

UNITS = ['"', "{", "[", "[1]", '{"PS":', '"a" ', "\\", "a", " ", "'a':", '"PS": ["손흥민"], ']
TEXT = "손흥민은 5㎞"
MENTIONS = json.dumps({"QT": [f"{number}명" for number in range(20_000)]}, ensure_ascii=False)
ONE_MENTION = json.dumps({"PS": ["가"] * 20_000})
NUMBERS = "".join(f"{number}명 " for number in range(2_000))


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        *(
            pytest.param((unit * 200_000)[:200_000], TEXT, id=f"200,000 of {unit!r}")
            for unit in UNITS
        ),
        pytest.param('{"PS": ["' + ('"a ' * 70_000), TEXT, id="an unclosed string"),
        pytest.param('{"PS": ["a"' + " " * 200_000 + "b", TEXT, id="much white space"),
        pytest.param("{" * 50_000 + "}" * 50_000, TEXT, id="50,000 braces"),
        pytest.param('{"PS":' * 30_000 + "1" + "}" * 30_000, TEXT, id="30,000 nested objects"),
        pytest.param(MENTIONS, TEXT, id="20,000 different mentions"),
        pytest.param(ONE_MENTION, "가" * 10_000, id="20,000 times one mention, all overlapping"),
        pytest.param(MENTIONS[:10_000], NUMBERS, id="10,000 against 10,000"),
    ],
)
def test_no_answer_takes_long(answer, sentence):
    # Again if it was slow, because other programs can slow down a machine.
    assert any(measure_seconds(answer, list(sentence)) < 1 for _ in range(3))


def measure_seconds(answer: str, tokens: list[str]) -> float:
    """Seconds of processor time to tag an answer."""
    start = time.process_time()
    tag_answer(answer, tokens)
    return time.process_time() - start
