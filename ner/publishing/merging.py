"""Merge an adapter into its base model's tensors, one tensor at a time."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from peft import get_peft_model, get_peft_model_state_dict
from peft.tuners.lora import Linear
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import safe_open
from transformers import PreTrainedConfig, PreTrainedModel

from ner.cli import InputError
from ner.files import read_json
from ner.model.device import find_projections
from ner.model.exaone import ExaoneConfig
from ner.model.loading import build_empty
from ner.model.lora import read_adapter
from ner.model.names import to_llama
from ner.model.process import get_process

PREFIX = "base_model.model."  # PEFT's, before the names in the model
# A merge would lose everything else that PEFT can train.
MERGED_TENSORS = (".lora_A.weight", ".lora_B.weight")


class StoredTensor(NamedTuple):
    """A tensor in a file, under the name that it has there."""

    file: Path
    name: str


class Update(NamedTuple):
    """An adapter's product for a weight: scale * B @ A. A is (rank, in), B is (out, rank)."""

    a: torch.Tensor
    b: torch.Tensor
    scale: float


class Merging(NamedTuple):
    """An adapter, its updates, and the precision of the base model and of the result.

    `adapter` is its folder. `updates` and `projections` go by the names of the weights in the
    model. With `nf4`, the base is the one that training in 4-bit saw, otherwise the original.
    """

    adapter: Path
    updates: dict[str, Update]
    projections: set[str]
    nf4: bool
    dtype: torch.dtype


def prepare_merging(
    config: PreTrainedConfig, adapter: Path, nf4: bool, dtype: torch.dtype = torch.bfloat16
) -> Merging:
    """Read an adapter for a base model of this configuration. Needs no weights of the base.

    Raises InputError if it does not fit or is not plain LoRA on the projections.
    """
    if getattr(config, "quantization_config", None):
        raise InputError(
            f"{config.name_or_path}: its weights are quantized, so nothing can be merged into "
            "them. Choose the original model: --model"
        )
    model = build_empty(config)
    linear = set(find_projections(model))
    projections = {f"{name}.weight" for name, module in model.named_modules() if module in linear}
    updates = read_updates(model, adapter, projections)
    return Merging(adapter, updates, projections, nf4, dtype)


def read_updates(model: PreTrainedModel, adapter: Path, projections: set[str]) -> dict[str, Update]:
    """An adapter's updates by the names of the weights.

    `model` is an empty base model. PEFT attaches the adapter to it, so that its own rules for
    targets, ranks and scales apply. Raises InputError.
    """
    lora, tensors = read_adapter(adapter, model.config.model_type)
    check_plain(adapter, (name for name in tensors if not name.endswith(MERGED_TENSORS)))
    model = get_peft_model(model, lora)
    check_fit(adapter, tensors, get_peft_model_state_dict(model, save_embedding_layers=False))
    layers = {
        name: module for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)
    }
    updates = {}
    for name, layer in layers.items():
        weight = f"{name.removeprefix(PREFIX)}.weight"
        if weight not in projections or not is_plain(layer):
            check_plain(adapter, [name])
        a, b = (tensors[f"{name}{part}"].float() for part in MERGED_TENSORS)
        updates[weight] = Update(a, b, layer.scaling["default"])
    return updates


def check_fit(
    adapter: Path, tensors: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]
) -> None:
    """Check an adapter's names and shapes against those that PEFT expects. Raises InputError."""
    found = {name: tensor.shape for name, tensor in tensors.items()}
    shapes = {name: tensor.shape for name, tensor in expected.items()}
    if differing := sorted({name for name, _ in found.items() ^ shapes.items()}):
        raise InputError(
            f"{adapter}: {len(differing)} of the adapter's tensors do not fit this base model, "
            f"such as {differing[0]}. It was trained on another base model (--model) or is damaged"
        )


def is_plain(layer: torch.nn.Module) -> bool:
    """Whether a layer of an adapter only adds a product of two matrices to a weight."""
    return type(layer) is Linear and not layer.lora_variant


def check_plain(adapter: Path, others: Iterable[str]) -> None:
    """Raise InputError if an adapter has `others`, parts that cannot be merged."""
    if names := list(others):
        raise InputError(
            f"{adapter}: only plain LoRA on the model's projections can be merged, without DoRA, "
            f"biases or whole modules. {len(names)} of its parts are others, such as {names[0]}"
        )


def find_tensors(folder: Path, config: PreTrainedConfig) -> dict[str, StoredTensor]:
    """A base model's tensors by their names in the model. EXAONE 3's get Llama's names."""
    index = read_json(folder / "model.safetensors.index.json")
    if index:
        stored = {name: folder / file for name, file in index["weight_map"].items()}
    else:
        file = folder / "model.safetensors"
        if not file.is_file():
            raise InputError(f"{folder}: has no {file.name}, and no index of several such files")
        with safe_open(file, "pt") as tensors:
            stored = dict.fromkeys(tensors.keys(), file)
    exaone_names = config.model_type == ExaoneConfig.model_type
    return {
        to_llama(name) if exaone_names else name: StoredTensor(file, name)
        for name, file in stored.items()
    }


def check_tensors(tensors: dict[str, StoredTensor], merging: Merging, folder: Path) -> None:
    """Check that the files hold all projections under the model's names. Raises InputError."""
    if missing := sorted(merging.projections - tensors.keys()):
        raise InputError(
            f"{folder}: {len(missing)} of the model's projections have other names in its files, "
            f"such as {missing[0]}. An adapter cannot be merged into them"
        )


def read_shape(tensor: StoredTensor) -> list[int]:
    with safe_open(tensor.file, "pt") as file:
        return file.get_slice(tensor.name).get_shape()


def merge_tensor(name: str, tensor: StoredTensor, merging: Merging) -> torch.Tensor:
    """A tensor of the merged model: W + scale * B @ A, computed in float32.

    `name` is its name in the model.
    """
    with safe_open(tensor.file, "pt", device=str(get_process().device)) as file:
        weight = file.get_tensor(tensor.name)
    if merging.nf4:
        weight = weight.to(torch.bfloat16)  # as `load_model` does, before it quantizes
        if name in merging.projections:
            weight = round_to_nf4(weight)
    if update := merging.updates.get(name):
        product = (update.b @ update.a).to(weight.device)
        weight = product.mul_(update.scale).add_(weight)  # in place, which saves two large copies
    return weight.to(merging.dtype).cpu()


def round_to_nf4(weight: torch.Tensor) -> torch.Tensor:
    """Quantize a weight as `load_model` does, and unpack it again."""
    packed, state = quantize_4bit(weight, compress_statistics=True, quant_type="nf4")
    return dequantize_4bit(packed, state)
