import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ner.text.alignment import normalize, place_mentions
from ner.text.klue import LABELS


def find_placed(answer: dict[str, list[str]], sentence: str) -> list[tuple[str, str, int]]:
    """The entities that an answer finds in a sentence, from left to right: (label, text, start)."""
    mentions = [(label, text) for label, texts in answer.items() for text in texts]
    spans, further = place_mentions(mentions, sentence)
    placed = [(entity["start"], entity["end"], entity["label"]) for entity in further]
    for (label, _), span in zip(mentions, spans, strict=True):
        if span:
            placed.append((*span, label))
    return [(label, sentence[start:end], start) for start, end, label in sorted(placed)]


def test_further_occurrences_are_returned_apart():
    mentions = [("PS", "이강인"), ("LC", "춘천")]
    spans, further = place_mentions(mentions, "손흥민은 춘천 사람, 춘천에 산다")
    assert spans == [None, (5, 7)]
    assert further == [{"label": "LC", "text": "춘천", "start": 12, "end": 14}]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize(
    ("sentence", "answer", "expected"),
    [
        # Repeated names go to successive occurrences, whatever their labels.
        ("한국과 한국", {"LC": ["한국"], "OG": ["한국"]}, [("LC", "한국", 0), ("OG", "한국", 4)]),
        (
            "한국, 일본, 한국, 일본",
            {"LC": ["한국", "일본"], "OG": ["한국", "일본"]},
            [("LC", "한국", 0), ("LC", "일본", 4), ("OG", "한국", 8), ("OG", "일본", 12)],
        ),
        # Mentions of one label keep the order in which they are listed.
        (
            "한국 한국은행 한국",
            {"LC": ["한국"], "OG": ["한국은행", "한국"]},
            [("LC", "한국", 0), ("OG", "한국은행", 3), ("OG", "한국", 8)],
        ),
        (
            "1위와 2위, 1위",
            {"QT": ["2위", "1위"]},
            [("QT", "1위", 0), ("QT", "2위", 4), ("QT", "1위", 8)],
        ),
        ("김씨와 박철수, 김씨", {"PS": ["박철수", "김"]}, [("PS", "박철수", 4), ("PS", "김", 9)]),
        (
            "김씨와 박철수와 남궁영희, 김씨",
            {"PS": ["박철수", "김", "남궁영희"]},
            [("PS", "김", 0), ("PS", "박철수", 4), ("PS", "남궁영희", 9)],
        ),
        # Occurrences may overlap each other.
        (
            "가나다나다나",
            {"PS": ["가나다"], "LC": ["나다나"]},
            [("PS", "가나다", 0), ("LC", "나다나", 3)],
        ),
        # Longer mentions come before shorter ones.
        ("서울시청 앞", {"LC": ["서울"], "OG": ["서울시청"]}, [("OG", "서울시청", 0)]),
        (
            "서울시청은 서울에 있다",
            {"LC": ["서울"], "OG": ["서울시청"]},
            [("OG", "서울시청", 0), ("LC", "서울", 6)],
        ),
        ("김철수와 김씨", {"PS": ["김", "김철수"]}, [("PS", "김철수", 0), ("PS", "김", 5)]),
        # The start of a word comes before the inside of one.
        ("조이와 이모씨", {"PS": ["이"]}, [("PS", "이", 4)]),
        ("동서울 (서울)", {"LC": ["서울"]}, [("LC", "서울", 1), ("LC", "서울", 5)]),
        ("100명 중 10", {"QT": ["10"]}, [("QT", "10", 7)]),
        ("Exodus, Exo", {"PS": ["Exo"]}, [("PS", "Exo", 8)]),
        # A single syllable is preferably a word of its own, or a name before 씨.
        ("한숨 쉬던 한 사람", {"QT": ["한"]}, [("QT", "한", 6)]),
        ("강당에서 본 강씨", {"PS": ["강"]}, [("PS", "강", 7)]),
        # The inside of a word is used if there is no other place.
        ("이조이씨", {"PS": ["조이"]}, [("PS", "조이", 1)]),
        ("SM5", {"QT": ["5"]}, [("QT", "5", 2)]),
        # A verbatim match comes before a normalized one, wherever it is.
        (
            "apple과 Apple",
            {"OG": ["Apple", "apple"]},
            [("OG", "apple", 0), ("OG", "Apple", 7)],
        ),
        (
            "2 명과 2명 중 ２명",
            {"QT": ["2명", "２명"]},
            [("QT", "2 명", 0), ("QT", "2명", 5), ("QT", "２명", 10)],
        ),
        # A vowel alone, as KLUE has ㅠ, is not part of the syllable before it.
        (
            "이용만ᅲ 10글자ᅳᅳ 큐",
            {"PS": ["이용만"], "QT": ["10글자"]},
            [("PS", "이용만", 0), ("QT", "10글자", 5)],
        ),
        # White space around a mention does not count, even where the sentence has it.
        ("저 손흥민 선수", {"PS": [" 손흥민 "]}, [("PS", "손흥민", 2)]),
        ("그는 서울에", {"LC": [" 서울"]}, [("LC", "서울", 3)]),
        ("그는 서울에", {"LC": [" "]}, []),
        # Further occurrences: no single syllable, no part of a number or of a Latin word.
        ("이씨는 이 영화", {"PS": ["이"]}, [("PS", "이", 0)]),
        ("A씨와 A씨", {"PS": ["A"]}, [("PS", "A", 0), ("PS", "A", 4)]),
        ("10과 2010", {"QT": ["10"]}, [("QT", "10", 0)]),
        (
            "두번, 두번씩 두번씩",
            {"QT": ["두번", "두번씩"]},
            [("QT", "두번", 0), ("QT", "두번씩", 4), ("QT", "두번씩", 8)],
        ),
    ],
)
def test_each_mention_gets_its_own_occurrence(sentence, answer, expected, form):
    """Also in a decomposed sentence, whose places are those of the composed one."""
    sentence = unicodedata.normalize(form, sentence)

    def compose(text: str) -> str:
        return unicodedata.normalize("NFC", text)

    found = find_placed(answer, sentence)
    composed = [(label, compose(text), len(compose(sentence[:at]))) for label, text, at in found]
    assert composed == expected


@pytest.mark.parametrize(
    ("mention", "sentence", "found"),
    [
        ("입센로랑", "저 입센 로랑", "입센 로랑"),
        ("입센\u3000 로랑", "저 입센로랑은", "입센로랑"),
        ("BTS", "bts가", "bts"),
        ("ＢＴＳ", "BTS가", "BTS"),
        ("5km", "5㎞를", "5㎞"),
        ("5㎞", "5 KM를", "5 KM"),
        ("3℃", "3°C로", "3°C"),
        ("9m2", "9㎡의", "9㎡"),
        ("50%", "50％를", "50％"),
        ("1/2", "½만", "½"),
        ("(주)한빛", "㈜한빛은", "㈜한빛"),
        ("ㅋㅋ", "ᄏᄏ씨", "ᄏᄏ"),
        ("\u110f\u1172", "ㅋㅠ씨", "ㅋㅠ"),
        ("각하", "\u1100\u1161\u11a8하", "\u1100\u1161\u11a8하"),
        ("10-20", "10–20명", "10–20"),
        ("10~20", "10∼20명", "10∼20"),
        ("가·나", "가ㆍ나다", "가ㆍ나"),
        ("가・나", "가·나다", "가·나"),
        ("오'닐", "오’닐은", "오’닐"),
        ('"왕"', "“왕”이", "“왕”"),
        ("Beyonce\u0301", "Beyoncé는", "Beyoncé"),
        ("서\u200b울", "서울은", "서울"),
    ],
)
def test_similar_spellings_match(mention, sentence, found):
    assert [text for _, text, _ in find_placed({"OG": [mention]}, sentence)] == [found]


@pytest.mark.parametrize(
    ("mention", "sentence"),
    [
        ("5k", "5㎞"),
        ("m", "5㎞"),
        ("1", "½"),
        ("주", "㈜한빛"),
        ("ㅎ", "한국"),
        ("하", "한국"),
        ("C", "3℃"),
        ("e", "é"),
    ],
)
def test_match_never_starts_or_ends_inside_a_character(mention, sentence):
    assert find_placed({"QT": [mention]}, sentence) == []


def test_normalizing_keeps_jamo_apart():
    assert normalize("ㅋㅋㅠㅠ") == ("\u110f\u110f\u1172\u1172", [0, 1, 2, 3, 4])
    assert normalize("5 ㎞") == ("5km", [0, 2, 2, 3])


@settings(deadline=None)
@given(
    data=st.data(), sentence=st.text(st.sampled_from("가나다 한ab1㎞é"), min_size=1, max_size=30)
)
def test_verbatim_and_unambiguous_mention_is_always_placed(data, sentence):
    positions = st.integers(0, len(sentence))
    cuts = sorted(data.draw(st.sets(positions, min_size=2, max_size=8)))
    texts = [sentence[start:end] for start, end in pairwise(cuts)]
    mentions = [
        (data.draw(st.sampled_from([*LABELS])), text)
        for text in texts
        if (bare := text.strip()) and sentence.find(bare) == sentence.rfind(bare)
    ]
    listed = data.draw(st.permutations(mentions))
    spans, _ = place_mentions(listed, sentence)
    for (_, text), span in zip(listed, spans, strict=True):
        bare = text.strip()
        assert span == (sentence.index(bare), sentence.index(bare) + len(bare))
