import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import train
from ner.training.saving import check_adapter
from tests.training.helpers import build_command


def fill_b_matrices(model, value: float) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.fill_(value)


def test_adapter_is_refused_unless_it_is_the_trained_one(trainer, tmp_path, capsys):
    model, row = trainer.model, trainer.train_dataset[0]
    model.save_pretrained(tmp_path, save_embedding_layers=False)
    with pytest.raises(RuntimeError, match="the adapter is empty"):
        check_adapter(model, tmp_path, row)

    fill_b_matrices(model, 1e-30)
    model.save_pretrained(tmp_path, save_embedding_layers=False)
    with pytest.raises(RuntimeError, match="does not change the model's answer"):
        check_adapter(model, tmp_path, row)

    fill_b_matrices(model, 0.01)
    model.save_pretrained(tmp_path, save_embedding_layers=False)
    check_adapter(model, tmp_path, row)
    assert "adapter: 28 tensors, read back as trained" in capsys.readouterr().out

    path = tmp_path / "adapter_model.safetensors"
    tensors = load_file(path)
    name = min(tensors)
    save_file(tensors | {name: tensors[name] + 1}, path)
    with pytest.raises(RuntimeError, match="1 saved tensors are not the trained ones"):
        check_adapter(model, tmp_path, row)
    save_file({key: tensor for key, tensor in tensors.items() if key != name}, path)
    with pytest.raises(RuntimeError, match="1 saved tensors are not the trained ones"):
        check_adapter(model, tmp_path, row)


def test_adapter_is_checked_before_it_replaces_another(stand_in, chats_file, tmp_path, monkeypatch):
    def refuse(*_):
        raise RuntimeError("refused")

    monkeypatch.setattr("ner.training.saving.check_adapter", refuse)
    with pytest.raises(RuntimeError, match="refused"):
        train.main([*build_command(stand_in, chats_file, tmp_path), "--max_steps", "2"])
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def test_adapter_trains_all_seven_projections_of_every_layer(adapter):
    modules = [
        *(f"self_attn.{name}" for name in ("q_proj", "k_proj", "v_proj", "o_proj")),
        *(f"mlp.{name}" for name in ("gate_proj", "up_proj", "down_proj")),
    ]
    tensors = load_file(adapter / "adapter_model.safetensors")
    assert tensors.keys() == {
        f"base_model.model.model.layers.{layer}.{module}.lora_{side}.weight"
        for layer in (0, 1)
        for module in modules
        for side in "AB"
    }
    for tensor in tensors.values():
        assert tensor.abs().sum() > 0
        assert tensor.dtype == torch.float32


def test_folder_of_an_adapter_records_its_training(adapter, stand_in, chats_file):
    record = json.loads((adapter / "training.json").read_text(encoding="utf-8"))
    source = json.loads(chats_file.with_name("train.source.json").read_text(encoding="utf-8"))
    assert record["base"] == {"name": str(stand_in), "revision": None}
    assert record["data"] == {"sha256": source["sha256"], "source": source}
    assert record["settings"]["lora_r"] == 32
    assert record["settings"]["max_steps"] == record["steps"] == 120
    assert record["versions"].keys() == {
        *("python", "torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate"),
        "datasets",
    }
    assert any("loss" in line for line in record["log"])
    files = {path.name for path in adapter.iterdir()}
    assert {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"} <= files
    assert "README.md" not in files
    assert list((adapter.parent / "results" / "runs").rglob("events.out.tfevents.*"))
