import pytest

from ner.text.notation import mark_entities, parse_marked_sentence
from ner.text.tags import find_entities


@pytest.mark.parametrize(
    ("line", "sentence", "entities"),
    [
        (
            "<손흥민:PS>은 <춘천:LC>에서 태어났다.",
            "손흥민은 춘천에서 태어났다.",
            [("PS", 0, 3), ("LC", 5, 7)],
        ),
        ("찾을 것이 없다", "찾을 것이 없다", []),
        ("<12:30:TI>에 보자", "12:30에 보자", [("TI", 0, 5)]),
        ("<서울:LC><시청:OG>", "서울시청", [("LC", 0, 2), ("OG", 2, 4)]),
        (r"\<봄\>은 <a\>b:OG> \\ C:\d", r"<봄>은 a>b \ C:\d", [("OG", 5, 8)]),
        ("3 > 2 -> <셋:QT>", "3 > 2 -> 셋", [("QT", 9, 10)]),
    ],
)
def test_marked_sentence_there_and_back(line, sentence, entities):
    tokens, tags = parse_marked_sentence(line)
    assert "".join(tokens) == sentence
    assert find_entities(tags) == entities
    assert parse_marked_sentence(mark_entities(tokens, tags)) == (tokens, tags)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "그때 <손흥민은 달린다",
            "character 4: expected <mention:LABEL> with one of PS, LC, OG, DT, TI, QT, found "
            r"<손흥민은 달린다. Write \\< for a literal <",
        ),
        ("<손흥민:XX>은", "character 1: expected <mention:LABEL>.*found <손흥민:XX>은"),
        ("<손흥민>은", "character 1: expected <mention:LABEL>.*found <손흥민>은"),
        (
            "봄 손흥민:PS>은 간다",
            "character 6: expected <mention:LABEL>, but this mention has no opening bracket",
        ),
        ("<봄:>은", "character 1: expected <mention:LABEL>.*found <봄:>은"),
        ("<:PS>은", "character 1: expected <mention:LABEL>.*found <:PS>은"),
        ("<봄:DT> <손<흥:PS>민:PS>", "character 8: expected <mention:LABEL>.*found <손<흥:PS>"),
    ],
)
def test_malformed_sentence_is_reported_with_the_character(line, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        parse_marked_sentence(line)


def test_any_label_if_none_are_given():
    line = "<모자:상품>와 <감색:색_상> 3:2>1"
    with pytest.raises(ValueError, match="character 1: expected <mention:LABEL> with one of PS"):
        parse_marked_sentence(line)
    tokens, tags = parse_marked_sentence(line, None)
    assert find_entities(tags) == [("상품", 0, 2), ("색_상", 4, 6)]
    assert parse_marked_sentence(line, ["상품", "색_상"]) == (tokens, tags)
    with pytest.raises(ValueError, match=r"character 1: expected <mention:LABEL>, found <봄:D S>"):
        parse_marked_sentence("<봄:D S>", None)
