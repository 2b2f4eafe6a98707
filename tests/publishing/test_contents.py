"""An adapter's files for the hub: complete, private, and equal in effect under EXAONE's names."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from ner.cli import InputError
from ner.model.adapter import rename_modules
from ner.model.hub import Base
from ner.model.lora import load_recognizer
from ner.model.names import to_exaone, to_llama
from ner.model.tensors import hash_adapter
from ner.publishing.contents import collect_files, list_local_paths
from tests.helpers import ROOT
from tests.publishing.helpers import BASE, change_json

INPUT_IDS = torch.arange(40).reshape(2, 20) * 37 % 1500
# Written by hand, so that it is independent of the module under test.
PROJECTIONS = {
    "self_attn.q_proj": "attn.attention.q_proj",
    "self_attn.k_proj": "attn.attention.k_proj",
    "self_attn.v_proj": "attn.attention.v_proj",
    "self_attn.o_proj": "attn.attention.out_proj",
    "mlp.gate_proj": "mlp.c_fc_0",
    "mlp.up_proj": "mlp.c_fc_1",
    "mlp.down_proj": "mlp.c_proj",
}
EXAONE_NAMES = {
    f"model.layers.{layer}.{llama}": f"transformer.h.{layer}.{exaone}"
    for layer in (0, 1)
    for llama, exaone in PROJECTIONS.items()
}


@pytest.mark.parametrize(
    ("file", "field", "value"),
    [
        ("adapter_config.json", "init_lora_weights", "/home/somebody/init.safetensors"),
        ("adapter_config.json", "loftq_config", {"from": ["~/weights"]}),
        ("tokenizer_config.json", "extra", "C:\\Users\\somebody"),
    ],
)
def test_local_path_stops_the_upload(folder, file, field, value):
    change_json(folder / file, **{field: value})
    message = f"a path on this machine \\({file}: {field}.*Remove it"
    with pytest.raises(InputError, match=message):
        collect_files(folder, BASE, True)


def test_local_paths_are_found_at_any_depth():
    value = {"a": "owner/name", "b": ["x", {"c": "../y"}], "d": "file:///z", "e": "a/b", "f": 1}
    assert list_local_paths(value, "config.json") == ["config.json: b: c", "config.json: d"]


def test_published_names_are_exaones_bit_for_bit(folder, published):
    local, sent = (load_file(path / "adapter_model.safetensors") for path in (folder, published))
    assert len(local) == len(sent) == 28
    for name, tensor in local.items():
        module, part = name.removeprefix("base_model.model.").split(".lora_")
        expected = f"base_model.model.{EXAONE_NAMES[module]}.lora_{part}"
        assert torch.equal(sent[expected], tensor)
        assert to_exaone(name) == expected
        assert to_llama(to_exaone(name)) == name
    restored = {to_llama(name): tensor for name, tensor in sent.items()}
    save_file(restored, published / "restored", metadata={"format": "pt"})
    original = (folder / "adapter_model.safetensors").read_bytes()
    assert (published / "restored").read_bytes() == original


def test_published_configuration_differs_in_its_names_alone(folder, published):
    before, after = (
        json.loads((path / "adapter_config.json").read_text()) for path in (folder, published)
    )
    assert after["target_modules"] == [EXAONE_NAMES[name] for name in before["target_modules"]]
    assert rename_modules(after, to_llama)["target_modules"] == before["target_modules"]
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"base_model_name_or_path", "target_modules"}


def compute_logits(stand_in, adapter) -> torch.Tensor:
    model = load_recognizer(Base(str(stand_in)), "float32", adapter)
    with torch.inference_mode():
        return model(INPUT_IDS).logits


def test_logits_are_the_same_under_both_namings_and_by_peft_alone(
    folder, published, stand_in, tmp_path
):
    """Also by their last parts, as PEFT names the modules of a model with more layers."""
    short = tmp_path / "short"
    shutil.copytree(published, short)
    names = ["q_proj", "k_proj", "v_proj", "out_proj", "c_fc_0", "c_fc_1", "c_proj"]
    change_json(short / "adapter_config.json", target_modules=names)
    expected = compute_logits(stand_in, folder)
    assert not torch.allclose(compute_logits(stand_in, None), expected, atol=0.1)

    tokens = tmp_path / "tokens.json"
    tokens.write_text(json.dumps(INPUT_IDS.tolist()))
    script = ROOT / "tests" / "plain_exaone.py"
    command = [sys.executable, script, stand_in, tokens, published, short]
    subprocess.run(command, check=True, cwd=tmp_path)
    for adapter in (published, short):
        assert torch.equal(compute_logits(stand_in, adapter), expected)
        assert torch.equal(load_file(adapter.with_suffix(".logits"))["logits"], expected)


def test_names_that_fit_nowhere_are_reported(published, stand_in):
    """An adapter whose tensors fit nowhere is not silently ignored."""
    path = published / "adapter_model.safetensors"
    tensors = load_file(path)
    save_file({name.replace("c_fc_0", "c_fc_9"): t for name, t in tensors.items()}, path)
    with pytest.raises(InputError, match="of the adapter's 28 tensors did not load"):
        compute_logits(stand_in, published)


def test_fingerprint_depends_on_the_tensors_and_not_on_their_names(folder, published):
    assert hash_adapter(folder) == hash_adapter(published)
    tensors = load_file(published / "adapter_model.safetensors")
    next(iter(tensors.values()))[0, 0] += 1
    save_file(tensors, published / "adapter_model.safetensors")
    assert hash_adapter(folder) != hash_adapter(published)


def test_other_bases_keep_their_names(folder):
    change_json(folder / "adapter_config.json", base_model_name_or_path="google/gemma-3-270m-it")
    files = collect_files(folder, "google/gemma-3-270m-it", False)
    original = (folder / "adapter_model.safetensors").read_bytes()
    assert files["adapter_model.safetensors"] == original
    config = json.loads((folder / "adapter_config.json").read_text())
    assert json.loads(files["adapter_config.json"]) == config
