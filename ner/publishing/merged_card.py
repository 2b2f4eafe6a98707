"""The model card of a merged model. Its text is `merged_card.md`, a Jinja template."""

from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData
from transformers import PreTrainedConfig

from ner.model.adapter import read_adapter_task, read_min_confidence
from ner.model.exaone import ExaoneConfig
from ner.model.names import is_exaone
from ner.model.tensors import hash_adapter
from ner.publishing.card import render_chat, write_task
from ner.publishing.merging import Merging
from ner.publishing.names import is_hub_id
from ner.text.task import KLUE_TASK

TEMPLATE = Path(__file__).with_name("merged_card.md")


def build_merged_card(
    name: str, folder: Path, base: str, config: PreTrainedConfig, merging: Merging
) -> ModelCard:
    """Build the card of a model called `name`. Deterministic, and without local paths.

    `folder` holds the model's tokenizer. `base` is the base model's name on the hub or its folder,
    and `config` its configuration.
    """
    exaone_base, public = is_exaone(base), is_hub_id(base)
    task = read_adapter_task(merging.adapter)
    fields = write_task(task) | {"min_confidence": read_min_confidence(merging.adapter)}
    if public:
        fields |= {"base_model": base, "base_model_relation": "finetune"}
    if exaone_base:
        fields |= {"license": "other", "license_name": "exaone", "license_link": "LICENSE"}
    return ModelCard.from_template(
        ModelCardData(
            library_name="transformers",
            language="ko",
            tags=["named-entity-recognition"],
            pipeline_tag="text-generation",
            **fields,
        ),
        template_path=str(TEMPLATE),
        name=name,
        base=f"[{base}](https://huggingface.co/{base})" if public else "a local base model",
        adapter_sha256=hash_adapter(merging.adapter),
        exaone_base=exaone_base,
        llama=isinstance(config, ExaoneConfig),
        nf4=merging.nf4,
        chat=render_chat(folder, task or KLUE_TASK),
    )
