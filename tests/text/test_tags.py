import pytest

from ner.text.tags import find_entities, map_characters, start_entities, write_tags


@pytest.mark.parametrize(
    ("tags", "entities"),
    [
        ("B-PS I-PS O", [("PS", 0, 2)]),
        ("B-PS B-PS I-PS", [("PS", 0, 1), ("PS", 1, 3)]),
        ("I-PS I-PS O", []),
        ("B-PS I-LC I-LC", [("PS", 0, 1)]),
        ("B-PS I-LC I-PS", [("PS", 0, 1)]),
        ("B-PS O I-PS", [("PS", 0, 1)]),
        ("O B-LC", [("LC", 1, 2)]),
    ],
)
def test_orphan_inside_tag_starts_no_entity(tags, entities):
    assert find_entities(tags.split()) == entities


def test_token_that_two_entities_share_goes_to_the_first():
    tokens = ["한국과일본", "은행", "", "앞"]
    assert map_characters(tokens) == [0, 0, 0, 0, 0, 1, 1, 3]
    assert write_tags([(3, 7, "OG"), (0, 2, "LC")], tokens) == ["B-LC", "B-OG", "O", "O"]


@pytest.mark.parametrize(
    ("tags", "fixed"),
    [
        ("O I-PS I-PS", "O B-PS I-PS"),
        ("I-PS I-LC", "B-PS B-LC"),
        ("B-PS I-LC I-PS", "B-PS B-LC B-PS"),
        ("B-PS B-PS I-PS O", "B-PS B-PS I-PS O"),
        ("", ""),
    ],
)
def test_orphan_inside_tag_of_a_tagger_starts_an_entity(tags, fixed):
    assert start_entities(tags.split()) == fixed.split()
