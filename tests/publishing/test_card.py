"""The card is read back as written, is the same every time, and has no private names."""

import json

import pytest
from jinja2 import Environment
from jinja2.meta import find_undeclared_variables

from ner.evaluation.definitions import SCORES
from ner.model.adapter import read_adapter_task, read_min_confidence
from ner.publishing import card as card_module
from ner.publishing.card import build_card
from ner.text.prompts import SYSTEM_PROMPTS
from ner.text.task import build_own_task, build_task
from tests.publishing.helpers import BASE, build_metrics, change_json, read_card, write_published


def test_card_is_read_back_as_it_was_meant(folder, tmp_path):
    source = {"dataset": "klue/klue", "split": "train", "revision": "f00d"}
    source |= {"prompt": "strict", "chats": 21008}
    record = json.loads((folder / "training.json").read_text())
    settings = record["settings"] | {"adapter": str(folder), "optim": "paged_adamw_32bit"}
    change_json(folder / "training.json", data={"sha256": "0", "source": source}, settings=settings)
    written = build_card("alice/EXAONE-NER", folder, BASE, True, build_metrics(folder))
    card = read_card(str(written), tmp_path)

    data = card.data.to_dict()
    index = data.pop("model-index")
    assert data == {
        "base_model": BASE,
        "base_model_relation": "adapter",
        "library_name": "peft",
        "license": "other",
        "license_name": "exaone",
        "license_link": "LICENSE",
        "language": "ko",
        "tags": ["lora", "named-entity-recognition"],
        "datasets": ["klue/klue"],
        "pipeline_tag": "text-generation",
        "system_prompt": "strict",
    }
    assert index[0]["name"] == card.data.model_name == "EXAONE-NER"
    results = card.data.eval_results
    scores = {result.metric_name: (result.metric_value, result.metric_args) for result in results}
    assert scores["seqeval, micro, f1"] == (0.6667, {"interval_95": [0.0, 1.0]})
    assert len(scores) == len(SCORES) + 2
    measured_on = (results[0].dataset_type, results[0].dataset_split, results[0].dataset_revision)
    assert measured_on == ("klue/klue", "validation", "abc")

    text = card.content
    assert text.count("\n# EXAONE-NER\n") == 1
    assert SYSTEM_PROMPTS["strict"] in text
    assert "[|assistant|]\n````" in text
    assert "| seqeval, micro | 0.6667 | 0.0000 – 1.0000 |" in text
    assert "2 sentences of the validation split of klue/klue (revision abc), with" in text
    assert "with the project's `strict` prompt and the base model in nf4" in text
    assert "| `optim` | paged_adamw_32bit |" in text
    assert "| `lora_r` | 32 |" in text
    assert "peft 0." in text
    assert "revision f00d, 21,008 sentences of its train split, CC BY-SA 4.0)" in text
    assert "have not run any of the following" in text
    assert "for research only" in text
    assert 'begins with "EXAONE"' in text
    assert str(folder) not in text
    assert "`adapter`" not in text


def test_card_serves_with_vllm(folder):
    """vLLM runs the base's code, and would lose the normalizer of the base's tokenizer."""
    text = str(build_card("alice/EXAONE-a", folder, BASE, True, None))
    assert f"vllm serve {BASE} --trust-remote-code --tokenizer alice/EXAONE-a \\\n" in text
    assert "--lora-modules EXAONE-a=alice/EXAONE-a" in text
    assert "needs a version of Transformers below 5" in text


def test_merged_evaluation_is_on_the_card(folder):
    metrics = build_metrics(folder, precision="merged")
    card = str(build_card("alice/EXAONE-a", folder, BASE, True, metrics))
    assert "base model in nf4, unpacked to bfloat16 and merged with the adapter.\n" in card


def test_card_is_the_same_every_time(folder):
    cards = [str(build_card("alice/EXAONE-a", folder, BASE, True, None)) for _ in range(2)]
    assert cards[0] == cards[1]


def test_local_corpus_is_not_named(folder, tmp_path):
    card = read_card(str(build_card("alice/EXAONE-a", folder, BASE, True, None)), tmp_path)
    assert card.data.datasets is None
    assert "data/sample" not in card.content


def test_card_without_a_record_of_the_training(folder):
    (folder / "training.json").unlink()
    card = str(build_card("alice/EXAONE-a", folder, BASE, True, None))
    assert "Not recorded." in card
    assert "The prompt used in training is not recorded." in card


def test_earlier_adapter_is_on_the_card(folder):
    change_json(folder / "training.json", adapter={"sha256": "c0ffee"}, steps=1313)
    card = str(build_card("alice/EXAONE-a", folder, BASE, True, None))
    assert "1,313 steps, from an earlier adapter (fingerprint c0ffee)." in card


def test_card_of_another_base(folder):
    card = build_card("alice/a", folder, "google/gemma-3-270m-it", False, None)
    assert card.data.license is None
    text = str(card)
    assert "EXAONE's own names" not in text
    assert "vllm" not in text
    assert "See the license of [google/gemma-3-270m-it]" in text


def test_revision_of_the_base_is_on_the_card(folder):
    assert "(revision " not in str(build_card("me/EXAONE-a", folder, BASE, True, None))
    change_json(folder / "adapter_config.json", revision="f00d")
    card = str(build_card("me/EXAONE-a", folder, BASE, True, None))
    assert f"huggingface.co/{BASE}) (revision f00d) into a Korean" in card


def test_card_says_how_to_load_the_adapter(folder):
    text = str(build_card("me/EXAONE-a", folder, BASE, True, None))
    assert 'Recognizer.load("me/EXAONE-a")\n' in text
    assert '    python tag.py --adapter me/EXAONE-a --text "손흥민은 춘천에서 태어났다."\n' in text


def test_prompt_travels_with_the_card(folder, tmp_path):
    change_json(folder / "training.json", data={"source": {"prompt": "strict", "revision": None}})
    strict = write_published(folder, tmp_path / "strict")
    assert read_adapter_task(folder) == read_adapter_task(strict) == build_task("strict")
    (strict / "README.md").write_text("---\nsystem_prompt: unheard_of\n---\n")
    assert read_adapter_task(strict) is None


@pytest.mark.parametrize(
    "task",
    [
        build_task("basic", {"상품": "제품 이름", "no": "", "brand-2": "on: # 'off'"}),
        build_task("marked", {"색_상": "", "1": "하나"}),
        build_own_task("이름을 찾으세요.\n\n---\n  # '{}': 끝", "marked"),
        build_own_task("찾으세요.", "json", {"상품": ""}),
    ],
)
def test_task_travels_with_the_card(folder, tmp_path, task):
    source = {"revision": None, **task.record}
    change_json(folder / "training.json", data={"source": source})
    published = write_published(folder, tmp_path / "published")
    assert not (published / "training.json").exists()
    assert read_adapter_task(folder) == read_adapter_task(published) == task
    card = (published / "README.md").read_text(encoding="utf-8")
    assert task.system_prompt in card
    assert all(label in card for label in task.labels)


@pytest.mark.parametrize(
    ("threshold", "text"), [(0.42, "0.42"), (0.123456789, "0.1235"), (1e-05, "1e-05"), (1.0, "1")]
)
def test_threshold_travels_with_the_card(folder, tmp_path, threshold, text):
    change_json(folder / "training.json", min_confidence=threshold)
    published = write_published(folder, tmp_path / "published")
    assert not (published / "training.json").exists()
    assert read_min_confidence(folder) == read_min_confidence(published) == threshold
    card = (published / "README.md").read_text()
    assert f"without the names whose confidence is below {text}.\n" in card
    assert "`--min_confidence saved` leaves them out" in card


@pytest.mark.parametrize("threshold", [None, 0.0])
def test_threshold_that_leaves_nothing_out_is_not_explained(folder, tmp_path, threshold):
    change_json(folder / "training.json", min_confidence=threshold)
    published = write_published(folder, tmp_path / "published")
    assert read_min_confidence(published) == threshold
    card = (published / "README.md").read_text()
    assert ("\nmin_confidence: 0.0\n" in card) is (threshold is not None)
    assert "--min_confidence" not in card


EXACT = "The answers were held to exact copies of their sentences."
FREE = "The answers were not held to exact copies of their sentences."


@pytest.mark.parametrize(
    ("settings", "threshold", "sentences"),
    [
        ({}, {}, []),
        ({"constrain": True}, {}, [EXACT]),
        ({"constrain": False}, {}, [FREE]),
        ({}, {"min_confidence": 0.421875}, ["Names with a confidence below 0.4219 were left out."]),
        (
            {"constrain": True},
            {"min_confidence": 1e-05},
            [EXACT, "Names with a confidence below 1e-05 were left out."],
        ),
    ],
)
def test_card_says_how_the_scores_were_measured(folder, tmp_path, settings, threshold, sentences):
    metrics = build_metrics(folder, **settings) | threshold
    card = read_card(str(build_card("alice/EXAONE-a", folder, BASE, True, metrics)), tmp_path)
    _, _, results = card.content.partition("## How well it does\n\n")
    lines = results.splitlines()
    assert lines[0].endswith("prompt and the base model in nf4.")
    assert lines[1 : 1 + len(sentences)] == sentences
    assert lines[1 + len(sentences)].startswith("The intervals are 95 % bootstrap intervals")
    [conditions] = {
        json.dumps(result.metric_args | {"interval_95": None}) for result in card.data.eval_results
    }
    assert json.loads(conditions) == settings | threshold | {"interval_95": None}
    # The threshold of an evaluation is not the one that training chose.
    assert read_min_confidence(tmp_path) is None


def test_template_uses_only_the_values_it_is_given(folder, monkeypatch):
    """Jinja renders an unknown name as nothing, without an error."""
    given = {}
    monkeypatch.setattr(
        card_module.ModelCard, "from_template", lambda data, **values: given.update(values)
    )
    build_card("alice/EXAONE-a", folder, BASE, True, None)
    used = find_undeclared_variables(Environment().parse(card_module.TEMPLATE.read_text()))
    assert used - {"card_data"} == given.keys() - {"template_path"}


def test_marked_answers_are_on_the_card(folder):
    record = json.loads((folder / "training.json").read_text())
    source = record["data"]["source"] | {"prompt": "marked"}
    change_json(folder / "training.json", data=record["data"] | {"source": source})
    text = str(build_card("alice/EXAONE-NER", folder, BASE, True, None))
    assert "repeats it with the names in it marked" in text
    assert "    <손흥민:PS>은 <춘천:LC>에서 태어났다." in text
    assert SYSTEM_PROMPTS["marked"] in text
    assert "By default, the project allows exact copies only. At the token limit" in text
    assert "JSON" not in text
