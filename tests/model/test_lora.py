import shutil
from pathlib import Path

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from peft import PeftModel
from safetensors.torch import load_file, save_file

from ner.cli import InputError
from ner.model.device import find_projections
from ner.model.hub import Base
from ner.model.loading import load_model
from ner.model.lora import load_recognizer, read_adapter
from ner.model.tensors import list_differing


def move_to_another_layer(tensors):
    return {name.replace("layers.1.", "layers.7."): tensor for name, tensor in tensors.items()}


def rename_a_projection(tensors):
    return {name.replace("o_proj", "p_proj"): tensor for name, tensor in tensors.items()}


def leave_out_a_layer(tensors):
    return {name: tensor for name, tensor in tensors.items() if "layers.1." not in name}


def leave_out_everything(tensors):
    return {}


def widen(tensors):
    return {name: torch.cat([tensor, tensor], dim=-1) for name, tensor in tensors.items()}


def copy_adapter(adapter: Path, folder: Path, change) -> Path:
    """A copy of an adapter with changed tensors."""
    shutil.copytree(adapter, folder)
    path = folder / "adapter_model.safetensors"
    save_file(change(load_file(path)), path)
    return folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (move_to_another_layer, "28 of the adapter's 28"),
        (rename_a_projection, "8 of the adapter's 28"),
        (leave_out_a_layer, "14 of the adapter's 14"),
        (leave_out_everything, "28 of the adapter's 0"),
        (widen, "tensors do not have the sizes of this base"),
    ],
)
def test_adapter_that_does_not_load_whole_is_an_error(adapter, stand_in, tmp_path, change, message):
    copy = copy_adapter(adapter, tmp_path / "adapter", change)
    with pytest.raises(InputError, match=message):
        load_recognizer(Base(str(stand_in)), "nf4", copy)


def test_base_without_an_adapter_is_the_base(stand_in):
    model = load_recognizer(Base(str(stand_in)), "float32")
    assert not [name for name, _ in model.named_parameters() if "lora" in name]


def test_adapter_has_the_precision_of_its_base(adapter, stand_in):
    model = load_recognizer(Base(str(stand_in)), "bfloat16", adapter)
    lora = [parameter for name, parameter in model.named_parameters() if "lora" in name]
    assert len(lora) == 28
    assert {parameter.dtype for parameter in lora} == {torch.bfloat16}
    assert not model.training


@pytest.fixture(scope="module")
def merged(adapter, stand_in):
    return load_recognizer(Base(str(stand_in)), "merged", adapter)


def test_merged_weights_are_those_of_training(adapter, stand_in, merged):
    """Computed in float32 without PEFT. The difference is that of rounding twice to bfloat16."""
    config, tensors = read_adapter(adapter, "exaone")
    packed = load_model(Base(str(stand_in)), "nf4")
    names = {layer: name for name, layer in packed.named_modules()}
    for layer in find_projections(packed):
        name = names[layer]
        down, up = (
            tensors[f"base_model.model.{name}.{part}.weight"].bfloat16().float()
            for part in ("lora_A", "lora_B")
        )
        change = config.lora_alpha / config.r * up @ down
        expected = dequantize_4bit(layer.weight.data, layer.weight.quant_state).float() + change
        error = (merged.get_submodule(name).weight.float() - expected).abs()
        assert (error <= 1.01 * 2**-8 * (change.abs() + expected.abs())).all(), name


def compute_logits(model, prompts: list[list[int]]) -> torch.Tensor:
    """The logits of the token after each prompt: (prompts, vocabulary)."""
    with torch.inference_mode():
        rows = [model(torch.tensor([prompt])).logits[0, -1].float() for prompt in prompts]
    return torch.stack(rows)


def measure_difference(logits: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    return (logits - others).norm(dim=-1) / others.norm(dim=-1)


def test_merged_model_answers_as_the_unmerged_one(adapter, stand_in, merged, prompts):
    """Merged into the original weights, the adapter gives other logits."""
    base = Base(str(stand_in))
    unmerged = compute_logits(load_recognizer(base, "nf4", adapter), prompts)
    logits = compute_logits(merged, prompts)
    assert measure_difference(logits, unmerged).max() < 0.06
    assert torch.equal(logits.argmax(-1), unmerged.argmax(-1))
    original = load_recognizer(base, "bfloat16", adapter).merge_and_unload()
    assert measure_difference(compute_logits(original, prompts), unmerged).mean() > 0.15


def test_merged_model_is_a_plain_one(merged, tmp_path):
    """It is saved and read like any other."""
    assert not isinstance(merged, PeftModel)
    assert not merged.is_quantized
    assert not any(module.training for module in merged.modules())
    merged.save_pretrained(tmp_path)
    again = load_model(Base(str(tmp_path)), "bfloat16")
    assert list_differing(merged.state_dict(), again.state_dict()) == []
    assert {parameter.dtype for parameter in again.parameters()} == {torch.bfloat16}


def test_base_can_be_unpacked_without_an_adapter(stand_in, prompts):
    packed, plain = (load_recognizer(Base(str(stand_in)), name) for name in ("nf4", "merged"))
    assert {type(layer) for layer in find_projections(plain)} == {torch.nn.Linear}
    logits, expected = (compute_logits(model, prompts[:4]) for model in (plain, packed))
    assert measure_difference(logits, expected).max() < 0.02
