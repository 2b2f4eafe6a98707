"""Attach an adapter to its base model and check that all tensors load."""

from pathlib import Path

import torch
from peft import (
    PeftConfig,
    PeftModel,
    get_peft_model,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from safetensors.torch import load_file
from transformers import PreTrainedModel

from ner.cli import InputError
from ner.model.adapter import rename_modules
from ner.model.exaone import ExaoneConfig
from ner.model.hub import Base
from ner.model.loading import load_model, unpack_model
from ner.model.names import to_llama
from ner.model.tensors import list_differing, rename_tensors


def read_adapter(folder: Path, model_type: str) -> tuple[PeftConfig, dict[str, torch.Tensor]]:
    """An adapter's configuration and tensors for a base of `model_type`.

    For EXAONE 3, modules and tensors get Llama's names, even if the files use EXAONE's.
    """
    config = PeftConfig.from_pretrained(folder)
    tensors = load_file(folder / "adapter_model.safetensors")
    config.base_model_name_or_path = None  # PEFT fills in the base model
    config.inference_mode = False  # PEFT saves True, which would freeze the adapter
    if model_type == ExaoneConfig.model_type:
        for field, value in rename_modules(vars(config), to_llama).items():
            setattr(config, field, value)
        tensors = rename_tensors(tensors, to_llama)
    return config, tensors


def fill_adapter(model: PeftModel, tensors: dict[str, torch.Tensor], folder: Path) -> None:
    """Copy the tensors of `folder` into a model's adapter. Raises InputError unless all fit.

    PEFT ignores tensors that fit nowhere, so the base would answer without the adapter.
    """
    try:
        set_peft_model_state_dict(model, tensors)
    except RuntimeError as error:
        if "size mismatch" not in str(error):
            raise
        raise InputError(
            f"{folder}: the adapter's tensors do not have the sizes of this base model's "
            "projections. It was trained on another base model (--model)"
        ) from None
    loaded = get_peft_model_state_dict(model, save_embedding_layers=False)
    lost = list_differing(tensors, loaded)
    if lost or not tensors:
        raise InputError(
            f"{folder}: {len(lost)} of the adapter's {len(tensors)} tensors did not load, such as "
            f"{lost[:1]}. It was trained on another base model (--model) or is damaged"
        )


def load_adapter(model: PreTrainedModel, folder: Path) -> PeftModel:
    """Attach an adapter to its base model. Raises InputError if it does not fit."""
    config, tensors = read_adapter(folder, model.config.model_type)
    model = get_peft_model(model, config)
    fill_adapter(model, tensors, folder)
    # In training, autocast converted these weights to the model's dtype. Here they are converted
    # once, which saves two conversions per product.
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(model.dtype)
    return model.eval()


def load_recognizer(
    base: Base, precision: str = "nf4", adapter: Path | None = None
) -> PreTrainedModel | PeftModel:
    """Load a base model with its adapter, if it has one.

    `precision` is one of `load_model`, or "merged": the 4-bit base unpacked to bfloat16, and the
    adapter merged into it. Of all weights, the adapter was trained on these. Merging into the
    original ones, or packing the merged ones again, would change more answers.
    """
    merged = precision == "merged"
    model = load_model(base, "nf4" if merged else precision)
    if merged:
        unpack_model(model)
    if adapter is None:
        return model
    model = load_adapter(model, adapter)
    return model.merge_and_unload() if merged else model
