import json

import pytest

from ner.inference.recognizer import (
    LocalRecognizer,
    choose_max_new_tokens,
    find_recognizer_base,
)
from ner.model.hub import Base
from ner.model.names import EXAONE
from ner.model.tokenizer import load_tokenizer
from ner.text.corpus import load_split
from ner.text.task import KLUE_TASK
from tests.helpers import SAMPLE


def test_token_limit_is_twice_the_longest_training_answer(stand_in):
    tokenizer = load_tokenizer(Base(str(stand_in)))
    marked = (SAMPLE / "train.txt").read_text(encoding="utf-8").splitlines()
    longest = max(marked, key=len)
    limit = choose_max_new_tokens(tokenizer, str(SAMPLE))
    assert limit > len(tokenizer(longest)["input_ids"])
    assert choose_max_new_tokens(tokenizer, str(SAMPLE), "marked") > limit
    assert choose_max_new_tokens(tokenizer, "nowhere") == 512
    assert choose_max_new_tokens(tokenizer, None) == 512


def test_base_and_its_revision_come_from_the_adapter(adapter, stand_in):
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(stand_in)
    assert "revision" in config
    assert find_recognizer_base(adapter, "mine", None, None) == Base(str(stand_in))


@pytest.fixture
def found(monkeypatch) -> list:
    """The bases that find_recognizer_base looks for. They need not exist."""
    arguments = []

    def record(name, revision):
        arguments.append((name, revision))
        return Base(name, revision)

    monkeypatch.setattr("ner.inference.recognizer.find_base", record)
    return arguments


@pytest.fixture
def published(tmp_path):
    """An adapter that was trained on a base of the hub."""
    config = {"base_model_name_or_path": "someone/base", "revision": "abc"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    (tmp_path / "adapter_model.safetensors").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("model", "revision", "expected"),
    [
        (None, None, ("someone/base", "abc")),
        (None, "v2", ("someone/base", "v2")),
        ("other/base", None, ("other/base", None)),  # "abc" is a revision of someone/base
        ("other/base", "v2", ("other/base", "v2")),
        ("someone/base", None, ("someone/base", None)),
    ],
)
def test_flags_override_the_adapters_base(published, found, model, revision, expected, capsys):
    find_recognizer_base(published, "mine", model, revision)
    assert found == [expected]
    is_other = model == "other/base"
    note = "note: mine was trained on someone/base, and is used on other/base here"
    assert (note in capsys.readouterr().out) is is_other


def test_base_without_an_adapter_is_exaone_unless_named(found):
    find_recognizer_base(None, "none", None, None)
    find_recognizer_base(None, "none", "other/base", "v2")
    assert found == [(EXAONE, None), ("other/base", "v2")]


def test_settings_name_everything_that_answers_depend_on(recognizer, adapter, stand_in):
    settings = recognizer.settings
    assert len(settings.pop("adapter_sha256")) == 64
    assert settings == {
        "model": str(stand_in),
        "revision": None,
        "adapter": str(adapter),
        "precision": "float32",
        "prompt": "basic",
        "max_new_tokens": 100,
    }


def test_memorized_sentences_are_answered_by_their_indices(adapter, stand_in):
    from data_processing import bio_to_json
    from ner.text.corpus import get_id2label, sample_rows

    rows = sample_rows(load_split(str(SAMPLE), "train"), 24)
    sentences, expected = {}, {}
    for index in (20, 3):
        tokens = rows[index]["tokens"]
        sentence, answer = bio_to_json(tokens, rows[index]["ner_tags"], get_id2label(rows))
        sentences[index], expected[index] = sentence, answer
    # In the precision in which it memorized them.
    recognizer = LocalRecognizer(
        Base(str(stand_in)), "nf4", adapter, "adapter", KLUE_TASK, max_new_tokens=100
    )
    assert {answer.index: answer.text for answer in recognizer.answer(sentences)} == expected
