"""The names and the fingerprint of an adapter's tensors."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save

from ner.model.names import to_llama


def rename_tensors(
    tensors: dict[str, torch.Tensor], rename: Callable[[str], str]
) -> dict[str, torch.Tensor]:
    return {rename(name): tensor for name, tensor in tensors.items()}


def list_differing(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> list[str]:
    """Names that only one of two sets of tensors has, or whose values differ."""
    return [
        name
        for name in sorted(first.keys() | second.keys())
        if name not in first
        or name not in second
        or not torch.equal(first[name].cpu().float(), second[name].cpu().float())
    ]


def hash_adapter(folder: Path) -> str:
    """A fingerprint of an adapter's tensors, the same under EXAONE's names and under Llama's."""
    tensors = load_file(folder / "adapter_model.safetensors")
    return hashlib.sha256(save(rename_tensors(tensors, to_llama))).hexdigest()
