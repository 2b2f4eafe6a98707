import json
import re
from itertools import accumulate

import pytest

from ner.text.answers import locate_mentions, read_answer, write_answer
from ner.text.notation import parse_marked_sentence
from ner.text.tags import find_entities
from tests.helpers import SAMPLE


@pytest.mark.parametrize("split", ["train", "validation"])
def test_sample_answers_there_and_back(split):
    for line in (SAMPLE / f"{split}.txt").read_text(encoding="utf-8").splitlines():
        tokens, tags = parse_marked_sentence(line)
        entities = find_entities(tags)
        read, mentions = read_answer(write_answer(tokens, entities))
        texts = [(label, "".join(tokens[start:end])) for label, start, end in entities]
        labels = list(dict.fromkeys(label for label, _ in texts))
        assert read == "json"
        assert mentions == sorted(texts, key=lambda mention: labels.index(mention[0]))


@pytest.mark.parametrize(
    ("read", "answer"),
    [
        ("json", '{"PS": ["손흥민"], "LC": ["춘천"]}'),
        ("json", ' \n{"PS":["손흥민"],\n"LC":["춘천"]}\n '),
        ("json", '{"PS": "손흥민", "LC": "춘천"}'),
        (
            "json",
            '{"PS": ["손흥민"], "LC": ["춘천"], "DT": [], "TI": null, "QT": "", '
            '"OG": [null, true, NaN]}',
        ),
        ("json", '{"ps": ["손흥민"], "Lc": ["춘천"]}'),
        ("json", '{"사람": ["손흥민"], " 장소 ": ["춘천"]}'),
        ("json", '{"ＰＳ": ["손흥민"], "ＬＣ": ["춘천"]}'),
        (
            "json",
            '[{"text": "손흥민", "label": "PS"}, {"label": "장소", "text": "춘천", "start": 8}]',
        ),
        (
            "json",
            '{"entities": [{"text": "손흥민", "label": "PS"}, {"text": ["춘천"], "label": "LC"}]}',
        ),
        ("json", '{"PS": [{"text": "손흥민"}], "LC": [["춘천"]]}'),
        ("json", '[{"PS": ["손흥민"]}, {"LC": ["춘천"]}]'),
        ("json", r'{"PS": ["\uc190\ud765\ubbfc"], "LC": ["\ucd98\ucc9c"]}'),
        ("repaired", '```json\n{"PS": ["손흥민"], "LC": ["춘천"]}\n```'),
        ("repaired", '```\n{"PS": ["손흥민"], "LC": ["춘천"]}'),
        ("repaired", '개체명: {"PS": ["손흥민"], "LC": ["춘천"]} "PS"는 [사람]입니다.'),
        ("repaired", '[답변] {문장}의 [1]번 답: {"PS": ["손흥민"], "LC": ["춘천"]}'),
        ("repaired", '{"PS": ["손흥민"], "LC": ["춘천"]}\n{"PS": [], "DT": ["7일"]}'),
        ("repaired", '{"PS": ["손흥민"], "LC": ["춘천"]}}'),
        ("repaired", "{'PS': ['손흥민'], 'LC': ['춘천']}"),
        ("repaired", "{'PS': ['손흥민'], 'LC': ['춘천'], 'DT': None}"),
        ("repaired", "{“PS”: [“손흥민”], “LC”: [“춘천”]}"),
        ("repaired", '{"PS": ["손흥민",], "LC": ["춘천"],}'),
        ("repaired", '｛"PS"：［"손흥민"］，"LC"：［"춘천"］｝'),
        ("repaired", "｛＂PS＂：［＂손흥민＂］，＂LC＂：［＂춘천＂］｝"),
        ("repaired", "{PS: [손흥민], LC: 춘천}"),
        ("repaired", '{"PS": ["손흥민", "LC": ["춘천"]}'),
        ("repaired", '{"PS": ["손흥민"]], "LC": ["춘천"}'),
        ("repaired", '{{"PS": ["손흥민"], "LC": ["춘천"]}}'),
        ("repaired", '{"PS":: ["손흥민"],, "LC": ["춘천"]; "DT": []}'),
        ("repaired", '{"PS": "손흥민", "LC": "춘천", "7일"}'),
        ("repaired", '\ufeff{"PS": ["손흥민"], "LC": ["춘천"]}'),
        ("cut off", '{"PS": ["손흥민"], "LC": ["춘천"'),
        ("cut off", '```json\n{"PS": ["손흥민"], "LC": ["춘천"\n```'),
        ("cut off", '```json\n{"PS": ["손흥민"], "LC": ["춘천"], "DT": ["7'),
        ("cut off", '{"PS": ["손흥민"], "LC": ["춘천", "7일'),
        ("cut off", '{"PS": ["손흥민"], "LC": ["춘천"], "DT": [7'),
        ("cut off", '{"PS": ["손흥민"], "LC": ["춘천"], "DT'),
        ("cut off", '{"PS": ["손흥민"], "LC": ["춘천"], "DT"'),
        (
            "cut off",
            '[{"text": "손흥민", "label": "PS"}, {"text": "춘천", "label": "LC"}, '
            '{"text": "7일", "lab',
        ),
    ],
)
def test_answer_is_read_in_any_form(read, answer):
    assert read_answer(answer) == (read, [("PS", "손흥민"), ("LC", "춘천")])
    written = [answer[start:end] for start, end in locate_mentions(answer)]
    assert [json.loads(f'"{text}"') for text in written] == ["손흥민", "춘천"]


NO_ANSWERS = ["", " ", "손흥민", '"손흥민"', "3", "null", "[1]", '["손흥민"]', "{손흥민}", "}]"]


@pytest.mark.parametrize("answer", [*NO_ANSWERS, '"PS": "손흥민"', "```"])
def test_text_without_an_answer_is_unreadable(answer):
    assert read_answer(answer) == ("unreadable", [])


@pytest.mark.parametrize(
    "answer", ["{}", "[]", '{"PS": []}', "```json\n{}\n```", '{}\n{"PS": ["손흥민"]}']
)
def test_empty_answer_has_no_mentions(answer):
    read, mentions = read_answer(answer)
    assert read in ("json", "repaired")
    assert mentions == []


@pytest.mark.parametrize("answer", ["{", "```json\n{", '{"P', '{"PS"', '{"PS": ["손', "{" * 50_000])
def test_answer_cut_off_early_has_no_mentions(answer):
    assert read_answer(answer) == ("cut off", [])


@pytest.mark.parametrize(
    "answer", ['{"PS": "", "LC": [" ", null]}', '["손", {"PS": []}]', "{'PS': None, '손'}"]
)
def test_mention_needs_a_text_and_a_label(answer):
    assert read_answer(answer)[1] == []


def test_duplicate_keys_join_their_lists():
    _, mentions = read_answer('{"LC": ["춘천"], "PS": [], "LC": ["서울"]}')
    assert mentions == [("LC", "춘천"), ("LC", "서울")]


def test_numbers_stay_as_they_were_written():
    digits = "9" * 5_000
    _, mentions = read_answer(f'{{"QT": [1.50, 007, {digits}]}}')
    assert [text for _, text in mentions] == ["1.50", "007", digits]
    assert read_answer('{"QT": 1.50, "DT": [2014]}') == ("json", [("QT", "1.50"), ("DT", "2014")])


@pytest.mark.parametrize(
    "answer",
    [
        '{"PS": ["말론 "대부" 브랜도"]}',
        r'{"PS": ["말론 \"대부\" 브랜도"]}',
        "{'PS': ['말론 \"대부\" 브랜도']}",
    ],
)
def test_quotes_within_a_name(answer):
    assert read_answer(answer)[1] == [("PS", '말론 "대부" 브랜도')]


def test_apostrophe_within_single_quotes():
    _, mentions = read_answer("{'PS': ['샤킬 오'닐', '조던']}")
    assert mentions == [("PS", "샤킬 오'닐"), ("PS", "조던")]


def test_escapes_are_decoded_in_repaired_answers_too():
    answer = r'{"OG": ["\ud83d\ude00 \"가\"", "\uc11c\t울", "\ud83d"]}'
    _, mentions = read_answer(answer)
    assert mentions == [("OG", '😀 "가"'), ("OG", "서\t울"), ("OG", "\ufffd")]
    assert read_answer(f"답: {answer}") == ("repaired", mentions)
    assert read_answer('{"OG": ["서\\\n울"]}') == ("repaired", [("OG", "서\n울")])


@pytest.mark.parametrize(
    "marked",
    [
        '{"PS": ["<S>", "<PS>", "<S>"], "QT": [<3.0>, "<3>"]}',
        '[{"label": "LC", "text": "<LC>"}, {"text": ["<PS>"], "label": "PS"}]',
        '["LC"] 답은 {"LC": ["<LC>"]}',
        r"{'PS': [<오'닐> , '<a\'b\u0063>'], PS",
        '{"PS": ["<말론 "대부" 브랜도>"], "LC": null, "춘천',
        "없음",
    ],
)
def test_mentions_are_located_where_they_stand(marked):
    """The places are marked with < and > here."""
    parts = re.split("[<>]", marked)
    ends = list(accumulate(len(part) for part in parts))
    answer = "".join(parts)
    assert locate_mentions(answer) == list(zip(ends[:-1:2], ends[1::2], strict=True))
    assert len(read_answer(answer)[1]) == len(parts) // 2


def test_unknown_labels_stay_as_they_are():
    _, mentions = read_answer('{"event": ["대회"], "PS-B": ["손흥민"]}')
    assert mentions == [("event", "대회"), ("PS-B", "손흥민")]


def test_code_in_an_answer_is_only_text(tmp_path):
    target = tmp_path / "written"
    read_answer(f"{{'PS': [open({str(target)!r}, 'w')]}}")
    assert not target.exists()


@pytest.mark.parametrize(("depth", "read"), [(100, "repaired"), (101, "cut off")])
def test_nesting_is_limited_unless_it_is_json(depth, read):
    nested = '{"PS": ' * depth + '"손흥민"' + "}" * depth
    assert read_answer(nested) == ("json", [("PS", "손흥민")])
    assert len(locate_mentions(nested)) == (1 if read == "repaired" else 0)
    assert read_answer(f"답: {nested}") == (read, [("PS", "손흥민")] if read == "repaired" else [])
