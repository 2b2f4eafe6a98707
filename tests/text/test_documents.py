import unicodedata

import pytest

from ner.text.documents import split_sentences

LONG = "가나다 " * 2000


def list_texts(text: str, limit: int = 256, together: int = 0) -> list[str]:
    return [sentence.text for sentence in split_sentences(text, limit, together)]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", []),
        (" \t\r\n\u2028 ", []),
        ("봄이 왔다", ["봄이 왔다"]),
        ("봄이 왔다. 꽃이 핀다! 정말? 그래…", ["봄이 왔다.", "꽃이 핀다!", "정말?", "그래…"]),
        ("왔다...  그는?! 갔다", ["왔다...", "그는?!", "갔다"]),
        ("春が来た。花が咲く！", ["春が来た。", "花が咲く！"]),
        ("제목\n본문\r\n끝\u2028뒤", ["제목", "본문", "끝", "뒤"]),
        ("“왔다.” 그가 말했다. (끝.) 뒤", ["“왔다.”", "그가 말했다.", "(끝.)", "뒤"]),
        ("“왔다.”라고 말했다.", ["“왔다.”라고 말했다."]),
        ("값은 3.14이다. www.klue.ai에 있다.", ["값은 3.14이다.", "www.klue.ai에 있다."]),
        ("2024. 3. 15. 서울에서 만났다.", ["2024. 3. 15.", "서울에서 만났다."]),
        ("J. K. 롤링과 U.S. 대통령", ["J. K. 롤링과 U.S. 대통령"]),
        ("플랜B. 다음", ["플랜B.", "다음"]),
        ("값은 3.\n4월", ["값은 3.", "4월"]),
        ("😀! 👩‍👩‍👧‍👦. 끝", ["😀!", "👩‍👩‍👧‍👦.", "끝"]),
    ],
)
def test_sentences(text, sentences):
    assert list_texts(text) == sentences


def test_short_sentences_of_a_line_stay_together():
    text = "봄이 왔다.  꽃이 핀다! 끝.\n뒤. 긴 문장이 더 많이 있다."
    expected = ["봄이 왔다.  꽃이 핀다!", "끝.", "뒤.", "긴 문장이 더 많이 있다."]
    assert list_texts(text, together=14) == expected
    assert list_texts(text, 14, together=100) == expected
    assert list_texts(text, together=100) == text.split("\n")
    line = "가나다라마바사. " * 100
    assert max(len(sentence.text) for sentence in split_sentences(line, 256)) == 143


def test_long_sentence_is_cut_at_white_space():
    assert list_texts("가나 다라 마바 사", 6) == ["가나 다라", "마바 사"]
    assert list_texts("가나다라마바사 아", 3) == ["가나다", "라마바", "사 아"]


def test_hard_cut_keeps_syllables_and_emoji_whole():
    """Nothing can be kept whole that is longer than the limit."""
    decomposed = unicodedata.normalize("NFD", "각" * 5)
    assert list_texts(decomposed, 4) == [decomposed[:3]] * 5
    assert list_texts("가👩‍👧나", 3) == ["가", "👩‍👧", "나"]
    assert list_texts("e\u0301" * 3, 3) == ["e\u0301"] * 3
    assert list_texts(decomposed[:3], 2) == [decomposed[:2], decomposed[2]]


@pytest.mark.parametrize("limit", [1, 2, 7, 256])
@pytest.mark.parametrize(
    "text",
    [
        LONG,
        LONG.replace(" ", ""),
        "." * 5000,
        ". " * 2500,
        " " * 5000 + "봄",
        unicodedata.normalize("NFD", "“봄이 왔다.” 그가\r\n말했다… 3. 4. 😀👍🏽 끝。") * 20,
    ],
    ids=["words", "no white space", "dots", "spaced dots", "spaces", "mixed"],
)
def test_sentences_hold_everything_but_white_space(text, limit):
    sentences = split_sentences(text, limit)
    end = 0
    for sentence in sentences:
        assert text[sentence.start : sentence.end] == sentence.text == sentence.text.strip()
        assert 0 < len(sentence.text) <= limit
        assert not text[end : sentence.start].strip()
        end = sentence.end
    assert not text[end:].strip()


@pytest.mark.parametrize("text", ["." * 300_000, "가" * 300_000, " " * 300_000, "1. " * 100_000])
def test_time_is_linear(text):
    """With backtracking, this would take minutes."""
    assert sum(len(part) for part in list_texts(text)) <= len(text)
