import pytest

from ner.text.words import are_words, insert_spaces


@pytest.mark.parametrize(
    ("sentences", "words"),
    [
        ([["손흥민은", "달린다"]], True),
        ([list("봄이 왔다")], False),
        ([list("봄이")], False),
        ([["손흥민", "은", " ", "달린다"]], False),
        ([["손흥민은", "달린다"] * 50, ["\xa0"]], True),
        ([list("봄이왔다여름이왔"), ["10", "월"]], False),
        ([["봄", "이", "왔", "다", "여름이"]], True),
        ([[], []], False),
    ],
)
def test_words_are_told_from_characters(sentences, words):
    assert are_words(sentences) is words


def test_spaces_are_in_an_entity_only_between_its_words():
    words = ["LG", "전자", "서울", "강남", "역"]
    tags = ["B-OG", "I-OG", "B-LC", "I-LC", "O"]
    tokens, spaced = insert_spaces(words, tags)
    assert "".join(tokens) == "LG 전자 서울 강남 역"
    assert spaced == ["B-OG", "I-OG", "I-OG", "O", "B-LC", "I-LC", "I-LC", "O", "O"]
    assert insert_spaces([], []) == ([], [])
