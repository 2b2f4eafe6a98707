"""Merged tensors, compared with those of the model that training and evaluation load."""

import math
import re
from pathlib import Path

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit
from safetensors.torch import load_file
from transformers import (
    Exaone4Config,
    Gemma3TextConfig,
    LlamaConfig,
    PreTrainedModel,
)

from benchmarks.random_adapter import write_random_adapter
from ner.cli import InputError
from ner.model.exaone import ExaoneConfig
from ner.model.hub import Base
from ner.model.loading import load_config, load_model
from ner.publishing.merging import check_tensors, find_tensors, merge_tensor, prepare_merging
from tests.stand_in import write_stand_in

FAMILIES = {
    "exaone": (ExaoneConfig, {}),
    "tied exaone": (ExaoneConfig, {"tie_word_embeddings": True}),
    "exaone4": (Exaone4Config, {"sliding_window": None, "layer_types": ["full_attention"] * 2}),
    "gemma3": (Gemma3TextConfig, {"head_dim": 64}),
    "llama": (LlamaConfig, {}),
}


def merge_all(base: Path, adapter: Path, nf4: bool, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    config = load_config(Base(str(base)))
    merging = prepare_merging(config, adapter, nf4, dtype)
    tensors = find_tensors(base, config)
    check_tensors(tensors, merging, base)
    return {name: merge_tensor(name, tensor, merging) for name, tensor in tensors.items()}


def unpack(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """A model's weights by their names, those in 4-bit unpacked."""
    weights = dict(model.named_parameters())
    for name, module in model.named_modules():
        if isinstance(module, Linear4bit):
            packed = module.weight
            weights[f"{name}.weight"] = dequantize_4bit(packed.data, packed.quant_state)
    return weights


def add_updates(
    weights: dict[str, torch.Tensor], adapter: Path, scale: float
) -> dict[str, torch.Tensor]:
    """W + scale * B @ A in float32 for each weight that an adapter under Llama's names changes."""
    lora = load_file(adapter / "adapter_model.safetensors")
    merged = dict(weights)
    for name, weight in weights.items():
        module = f"base_model.model.{name.removesuffix('.weight')}"
        if f"{module}.lora_A.weight" in lora:
            product = lora[f"{module}.lora_B.weight"] @ lora[f"{module}.lora_A.weight"]
            merged[name] = weight.float() + scale * product
    return merged


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    different = [name for name in found if not torch.equal(found[name], expected[name])]
    assert not different


@pytest.fixture(params=FAMILIES)
def base(request, tmp_path) -> Path:
    config_class, fields = FAMILIES[request.param]
    write_stand_in(tmp_path / "EXAONE-base", config_class, **fields)
    return tmp_path / "EXAONE-base"


def test_weights_are_those_that_training_saw(base, tmp_path):
    """Quantized, unpacked, and added to in float32: bit for bit, for every kind of base."""
    adapter = write_random_adapter(base, tmp_path / "adapter")
    unpacked = unpack(load_model(Base(str(base)), "nf4"))
    original = unpack(load_model(Base(str(base)), "float32"))
    projection = "model.layers.1.mlp.down_proj.weight"
    assert not torch.equal(unpacked[projection].float(), original[projection])

    exact = add_updates(unpacked, adapter, scale=2)
    rounded = {name: weight.to(torch.bfloat16) for name, weight in exact.items()}
    assert_same(merge_all(base, adapter, True, torch.bfloat16), rounded)
    assert not torch.equal(rounded[projection], unpacked[projection])
    onto_original = add_updates(original, adapter, scale=2)
    assert_same(merge_all(base, adapter, False, torch.float32), onto_original)


def test_projections_without_an_update_are_quantized_too(stand_in, tmp_path):
    adapter = write_random_adapter(stand_in, tmp_path / "adapter", target_modules=["q_proj"])
    unpacked = unpack(load_model(Base(str(stand_in)), "nf4"))
    merged = merge_all(stand_in, adapter, True, torch.bfloat16)
    changed = [name for name in merged if not torch.equal(merged[name], unpacked[name])]
    assert changed == [f"model.layers.{layer}.self_attn.q_proj.weight" for layer in (0, 1)]


@pytest.mark.parametrize(
    ("fields", "scales"),
    [
        ({"use_rslora": True}, {"q_proj": 8 / math.sqrt(4), "up_proj": 8 / math.sqrt(4)}),
        ({"rank_pattern": {"q_proj": 2}}, {"q_proj": 8 / 2, "up_proj": 8 / 4}),
        (
            {"alpha_pattern": {"layers.0.self_attn.q_proj": 1}, "use_rslora": False},
            {"q_proj": 1 / 4, "up_proj": 8 / 4},
        ),
    ],
)
def test_scales_follow_pefts_rules(stand_in, tmp_path, fields, scales):
    adapter = write_random_adapter(stand_in, tmp_path / "adapter", **fields)
    merging = prepare_merging(load_config(Base(str(stand_in))), adapter, False)
    found = {
        "q_proj": merging.updates["model.layers.0.self_attn.q_proj.weight"].scale,
        "up_proj": merging.updates["model.layers.0.mlp.up_proj.weight"].scale,
    }
    assert found == scales


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"use_dora": True}, "lora_magnitude_vector"),
        ({"lora_bias": True}, "lora_B.bias"),
        ({"modules_to_save": ["lm_head"]}, "lm_head"),
        ({"target_modules": ["q_proj", "embed_tokens"]}, "lora_embedding_A"),
        ({"target_modules": ["q_proj", "lm_head"]}, "lm_head"),
    ],
)
def test_only_plain_lora_is_merged(stand_in, tmp_path, fields, part):
    adapter = write_random_adapter(stand_in, tmp_path / "adapter", **fields)
    with pytest.raises(InputError, match=rf"only plain LoRA.*1?\d of its parts.*{part}"):
        prepare_merging(load_config(Base(str(stand_in))), adapter, True)


def test_variant_that_has_plain_tensors_is_refused(stand_in, tmp_path):
    """Activated LoRA applies to some tokens only, and its files look like plain ones."""
    adapter = write_random_adapter(stand_in, tmp_path / "adapter", alora_invocation_tokens=[5])
    with pytest.raises(InputError, match="only plain LoRA"):
        prepare_merging(load_config(Base(str(stand_in))), adapter, True)


def test_adapter_of_another_base(stand_in, tmp_path):
    write_stand_in(tmp_path / "EXAONE-wider", ExaoneConfig, head_dim=64)
    adapter = write_random_adapter(tmp_path / "EXAONE-wider", tmp_path / "adapter")
    message = r"8 of the adapter's tensors do not fit this base model.*k_proj"
    with pytest.raises(InputError, match=message):
        prepare_merging(load_config(Base(str(stand_in))), adapter, True)


def test_quantized_base(stand_in, tmp_path):
    adapter = write_random_adapter(stand_in, tmp_path / "adapter")
    config = load_config(Base(str(stand_in)))
    config.quantization_config = {"quant_method": "fp8"}
    with pytest.raises(InputError, match=r"its weights are quantized.*--model"):
        prepare_merging(config, adapter, False)


def test_checkpoint_with_other_names(stand_in, tmp_path):
    """As of a model with a vision tower, whose language model has a longer name in its files."""
    config = load_config(Base(str(stand_in)))
    merging = prepare_merging(config, write_random_adapter(stand_in, tmp_path / "adapter"), True)
    tensors = {
        f"language_model.{name}": tensor for name, tensor in find_tensors(stand_in, config).items()
    }
    message = r"14 of the model's projections have other names.*model\.layers\.0\."
    with pytest.raises(InputError, match=message):
        check_tensors(tensors, merging, stand_in)


def test_folder_without_safetensors(stand_in, tmp_path):
    message = re.escape(f"{tmp_path}: has no model.safetensors")
    with pytest.raises(InputError, match=message):
        find_tensors(tmp_path, load_config(Base(str(stand_in))))
