import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ner.cli import InputError
from ner.model.hub import Base
from ner.model.lora import load_recognizer


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
