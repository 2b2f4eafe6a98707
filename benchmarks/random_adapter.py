"""Adapters with random tensors, for base models of any kind."""

from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file

from ner.model.hub import Base
from ner.model.loading import build_empty, load_config

PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def write_random_adapter(base: Path, folder: Path, **fields: object) -> Path:
    """Write an adapter as PEFT does. `fields` are those of its LoraConfig. Returns `folder`."""
    fields = {"r": 4, "lora_alpha": 8, "target_modules": PROJECTIONS} | fields
    config = LoraConfig(task_type="CAUSAL_LM", **fields)
    model = get_peft_model(build_empty(load_config(Base(str(base)))), config)
    shapes = get_peft_model_state_dict(model, save_embedding_layers=False)
    generator = torch.Generator().manual_seed(0)
    tensors = {
        name: torch.randn(tensor.shape, generator=generator) / 10 for name, tensor in shapes.items()
    }
    config.base_model_name_or_path = str(base)
    config.save_pretrained(folder)
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder
