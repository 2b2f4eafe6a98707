"""Names keep their places in documents of any length, and nothing is left out silently."""

import random
import unicodedata

import pytest

import ner
from ner.cli import InputError
from ner.tagging.recognizer import Recognizer
from tests.tagging.gold import GoldModel, find_names

SEPARATORS = [". ", "! ", "? ", "… ", ".\r\n", "\n\n", "。", ".” ", " ", " 😀 ", ", ", "은 3.14배 "]


def write_document(seed: int = 0) -> str:
    """50,000 characters with 500 names, white space or punctuation around each."""
    generator = random.Random(seed)
    parts, words = (
        [],
        ["바람이", "분다", "그는", "2024. 3. 15.", "👩‍👩‍👧‍👦", "e\u0301", "㎞", "<", "\\", '"'],
    )
    for number in range(500):
        kind = generator.choice(["인물", "장소"])
        parts.append(f"{kind}{number:04}")
        filler = ""
        while len(filler) < 100:
            filler += generator.choice(SEPARATORS) + generator.choice(words)
        parts.append(filler[:100] if number % 50 else " 낱말" * 40)
        parts.append(" ")
    return "".join(parts)


@pytest.mark.parametrize("prompt", ["basic", "marked"])
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_every_name_of_a_long_document_keeps_its_place(prompt, form):
    text = unicodedata.normalize(form, write_document())
    assert len(text) > 50_000
    [tagged] = Recognizer(GoldModel(prompt)).tag([text])
    expected = find_names(text)
    assert len(expected) == 500
    assert tagged["text"] == text
    assert [entity | {"confidence": 0.5} for entity in expected] == tagged["entities"]
    for entity in tagged["entities"]:
        assert text[entity["start"] : entity["end"]] == entity["text"]


def test_long_sentence_without_punctuation():
    """Names are lost only across the cuts of a text without white space."""
    spaced = "낱말 인물0001 " * 500
    [tagged] = Recognizer(GoldModel("marked")).tag([spaced])
    assert len(tagged["entities"]) == 500

    unbroken = "가인물0001" * 720
    [tagged] = Recognizer(GoldModel("marked")).tag([unbroken])
    cuts = range(256, len(unbroken), 256)
    whole = [
        name
        for name in find_names(unbroken)
        if not any(name["start"] < cut < name["end"] for cut in cuts)
    ]
    assert len(whole) < 720
    assert [entity["start"] for entity in tagged["entities"]] == [name["start"] for name in whole]


@pytest.mark.parametrize("text", ["", " ", "\r\n\n"])
def test_text_without_a_sentence_asks_no_model(text):
    model = GoldModel()
    assert Recognizer(model).tag([text]) == [{"text": text, "entities": []}]
    assert model.calls == []


def test_answers_at_the_token_limit_are_named():
    text = "인물0001이 왔다.\n끝없는 말.\n장소0002에."
    [tagged] = Recognizer(GoldModel()).tag([text])
    [(start, end)] = tagged["incomplete"]
    assert text[start:end] == "끝없는 말."
    assert [entity["text"] for entity in tagged["entities"]] == ["인물0001", "장소0002"]


def test_server_without_probabilities_gives_no_confidence():
    [tagged] = Recognizer(GoldModel(pieces=False)).tag(["인물0001"])
    assert tagged["entities"] == find_names("인물0001")


@pytest.mark.parametrize(("threshold", "count"), [(0.0, 1), (0.5, 1), (0.51, 0)])
def test_unsure_names_are_left_out(threshold, count):
    [tagged] = Recognizer(GoldModel(), threshold).tag(["인물0001"])
    assert len(tagged["entities"]) == count


@pytest.mark.parametrize(
    ("max_new_tokens", "limit"), [(1, 1), (100, 50), (512, 256), (100_000, 1000)]
)
def test_sentences_fit_the_token_limit(max_new_tokens, limit):
    model = GoldModel()
    model.max_new_tokens = max_new_tokens
    Recognizer(model).tag(["가" * 2000])
    assert max(len(sentence) for call in model.calls for sentence in call) == limit


def test_model_gets_a_bounded_number_of_sentences():
    model = GoldModel()
    Recognizer(model).tag(["인물0001\n" * 3000])
    assert [len(call) for call in model.calls] == [1024, 1024, 952]


def test_one_text_is_no_list():
    with pytest.raises(InputError, match=r"Pass \[text\]"):
        Recognizer(GoldModel()).tag("인물0001")


def test_package_has_the_recognizer_and_nothing_else():
    assert ner.Recognizer is Recognizer
    with pytest.raises(AttributeError, match="module 'ner' has no attribute 'Recogniser'"):
        _ = ner.Recogniser


def test_weights_are_loaded_once(adapter, monkeypatch):
    from ner.inference.recognizer import LocalRecognizer

    loads, load = [], LocalRecognizer.load_generator
    monkeypatch.setattr(
        LocalRecognizer, "load_generator", lambda self: loads.append(1) or load(self)
    )
    recognizer = Recognizer.load(str(adapter))
    first, again = (recognizer.tag(["봄이 왔다."]) for _ in range(2))
    assert first == again
    assert len(loads) == 1
