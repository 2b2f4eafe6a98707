"""The model card of a published adapter. Its text is `card.md`, a Jinja template."""

import re
from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData

from ner.model.adapter import (
    read_adapter_config,
    read_adapter_task,
    read_min_confidence,
    read_record,
)
from ner.model.hub import Base
from ner.model.names import is_exaone
from ner.model.tokenizer import load_tokenizer
from ner.publishing.results import build_eval_results, describe_evaluation
from ner.text.hub_data import split_config
from ner.text.prompts import build_prompt
from ner.text.task import KLUE_TASK, OWN, Task, is_klue

TEMPLATE = Path(__file__).with_name("card.md")
SENTENCE = "손흥민은 춘천에서 태어났다."
ANSWERS = {
    "json": '{"PS": ["손흥민"], "LC": ["춘천"]}',
    "marked": "<손흥민:PS>은 <춘천:LC>에서 태어났다.",
}


def build_card(
    repo_id: str, folder: Path, base: str, exaone_names: bool, metrics: dict | None
) -> ModelCard:
    """Build the card of the adapter in `folder`. Deterministic.

    `base` is the base model's name on the hub. `exaone_names` is whether the adapter is published
    under EXAONE's names. `metrics` are those of `metrics.json`, if it was measured with this
    adapter.
    """
    config, record = read_adapter_config(folder), read_record(folder)
    source = record["data"]["source"] if record else None
    corpus = None  # a local one is not named
    if source and source["revision"]:
        corpus = source | {"dataset": split_config(source["dataset"])[0]}
    recorded, min_confidence = read_adapter_task(folder), read_min_confidence(folder)
    task = recorded or KLUE_TASK
    name = repo_id.rpartition("/")[2]
    return ModelCard.from_template(
        build_metadata(name, base, corpus, recorded, min_confidence, metrics),
        template_path=str(TEMPLATE),
        name=name,
        repo_id=repo_id,
        base=base,
        revision=config.get("revision"),
        rank=config["r"],
        exaone_base=is_exaone(base),
        exaone_names=exaone_names,
        corpus=corpus,
        prompt=recorded.prompt if recorded else None,
        own_prompt=task.prompt == OWN,
        labels=None if is_klue(task.labels) else task.labels,
        sentence=SENTENCE,
        marked=task.kind == "marked",
        answer=write_example(task),
        min_confidence=min_confidence,
        chat=render_chat(folder, task),
        training=describe_training(record) if record else None,
        evaluation=describe_evaluation(metrics) if metrics else None,
    )


def build_metadata(
    name: str,
    base: str,
    corpus: dict | None,
    task: Task | None,
    min_confidence: float | None,
    metrics: dict | None,
) -> ModelCardData:
    """The card's YAML block."""
    fields = write_task(task) | {"min_confidence": min_confidence}
    if is_exaone(base):
        fields |= {"license": "other", "license_name": "exaone", "license_link": "LICENSE"}
    if metrics:
        results = build_eval_results(metrics)
        fields |= {"model_name": name, "eval_results": results}
    return ModelCardData(
        base_model=base,
        base_model_relation="adapter",
        library_name="peft",
        language="ko",
        tags=["lora", "named-entity-recognition"],
        datasets=[corpus["dataset"]] if corpus else None,
        pipeline_tag="text-generation",
        **fields,
    )


def write_task(task: Task | None) -> dict:
    """The fields of a card's YAML block that `read_adapter_task` reads back."""
    record = dict(task.record) if task else {}
    fields = {"system_prompt": record.pop("prompt", None)}
    return fields | {"ner_task": record} if record else fields


def write_example(task: Task) -> str:
    """An answer to `SENTENCE`, or the form of one if the labels are not KLUE's."""
    if is_klue(task.labels):
        return ANSWERS[task.kind]
    label = next(iter(task.labels))
    return f"… <…:{label}> …" if task.kind == "marked" else f'{{"{label}": ["…", …], …}}'


def render_chat(folder: Path, task: Task) -> str:
    """The chat that asks for the names in `SENTENCE`, as the model reads it."""
    chat = build_prompt(SENTENCE, task.system_prompt)
    tokenizer = load_tokenizer(Base(str(folder)))
    return tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)


def describe_training(record: dict) -> dict:
    """Facts about a run for the card. Settings that may be paths are left out."""
    settings = {
        name: value
        for name, value in record["settings"].items()
        if isinstance(value, int | float)
        or (isinstance(value, str) and re.fullmatch(r"[\w.+-]+", value))
    }
    return {
        "steps": record["steps"],
        "start": record["adapter"]["sha256"] if "adapter" in record else None,
        "settings": settings,
        "versions": record["versions"],
    }
