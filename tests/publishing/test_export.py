"""The exported checkpoint, loaded by Transformers alone, and what it takes to write it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import Exaone4Config, Gemma3TextConfig, PreTrainedModel

from benchmarks import random_exaone
from benchmarks.export import measure_export, write_models
from benchmarks.random_adapter import write_random_adapter
from ner.cli import InputError
from ner.model.adapter import read_precision
from ner.model.exaone import ExaoneConfig
from ner.model.hub import Base
from ner.model.loading import load_config, load_model
from ner.model.lora import load_adapter
from ner.publishing import export
from ner.publishing.export import check_space, write_checkpoint
from ner.publishing.merging import prepare_merging
from tests.helpers import LARGER
from tests.publishing.test_merging import unpack
from tests.stand_in import write_stand_in
from tests.test_successors import LLAMA3

INPUT_IDS = torch.arange(40).reshape(2, 20) * 37 % 1500
# Runs without this project. Reads lines of JSON: a checkpoint's folder and a sentence. Saves the
# logits of `ids.pt` beside the folder, and prints the model's class and the ids of the chat.
READ = """
import json, sys, torch
from pathlib import Path
from transformers import AutoModelForCausalLM, AutoTokenizer

for line in sys.stdin:
    folder, sentence = json.loads(line)
    model, info = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True
    )
    assert not any(info.values()), info
    with torch.inference_mode():
        logits = model.eval()(torch.load(Path(folder).with_name("ids.pt"))).logits
    torch.save(logits, Path(folder).with_name("logits.pt"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    chat = [{"role": "user", "content": sentence}]
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True)["input_ids"]
    assert "ner" not in sys.modules
    print(json.dumps([type(model).__name__, ids]), flush=True)
"""


def write_export(
    base: Path, adapter: Path, folder: Path, nf4: bool, dtype: torch.dtype = torch.bfloat16
) -> Path:
    config = load_config(Base(str(base)))
    merging = prepare_merging(config, adapter, nf4, dtype)
    write_checkpoint(Base(str(base)), config, merging, "theirs", folder)
    return folder


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A process in a folder where nothing of this project can be imported."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with subprocess.Popen(
        [sys.executable, "-c", READ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path_factory.mktemp("alone"),
        env=environment,
    ) as process:
        yield process
        process.stdin.close()


def read_alone(reader, checkpoint: Path, sentence: str = "봄") -> tuple[str, torch.Tensor, list]:
    """A model's class, its logits in float32 and the ids of a chat, by Transformers alone."""
    torch.save(INPUT_IDS, checkpoint.with_name("ids.pt"))
    reader.stdin.write(json.dumps([str(checkpoint), sentence]) + "\n")
    reader.stdin.flush()
    name, ids = json.loads(reader.stdout.readline())
    return name, torch.load(checkpoint.with_name("logits.pt")), ids


def load_unmerged(base: Path, adapter: Path, nf4: bool) -> PreTrainedModel:
    """A base model in float32 with its adapter beside it. With `nf4`, its weights are unpacked."""
    model = load_model(Base(str(base)), "float32")
    if nf4:
        unpacked = unpack(load_model(Base(str(base)), "nf4"))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(unpacked[name])
    return load_adapter(model, adapter)


@pytest.mark.parametrize("nf4", [True, False])
def test_merged_model_answers_as_the_unmerged_one(stand_in, adapter, reader, tmp_path, nf4):
    checkpoint = write_export(stand_in, adapter, tmp_path / "EXAONE-a", nf4, torch.float32)
    name, logits, _ = read_alone(reader, checkpoint)
    with torch.inference_mode():
        expected = load_unmerged(stand_in, adapter, nf4)(INPUT_IDS).logits
        base_logits = load_model(Base(str(stand_in)), "float32")(INPUT_IDS).logits
    assert name == "LlamaForCausalLM"
    assert (logits - base_logits).abs().max() > 1
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5 * expected.abs().max())


@pytest.mark.parametrize(
    ("config_class", "fields", "expected"),
    [
        (ExaoneConfig, {"rope_scaling": LLAMA3, "tie_word_embeddings": True}, "LlamaForCausalLM"),
        (
            Exaone4Config,
            {"sliding_window": None, "layer_types": ["full_attention"] * 2},
            "Exaone4ForCausalLM",
        ),
        (Gemma3TextConfig, {"head_dim": 64}, "Gemma3ForCausalLM"),
    ],
)
def test_other_bases(reader, tmp_path, config_class, fields, expected):
    """EXAONE 3.5 keeps its tied embeddings and its rotary scaling. Others keep their type."""
    base = tmp_path / "EXAONE-base"
    write_stand_in(base, config_class, **fields)
    adapter = write_random_adapter(base, tmp_path / "adapter")
    checkpoint = write_export(base, adapter, tmp_path / "EXAONE-a", True, torch.float32)
    name, logits, _ = read_alone(reader, checkpoint)
    with torch.inference_mode():
        unmerged = load_unmerged(base, adapter, True)(INPUT_IDS).logits
    assert name == expected
    torch.testing.assert_close(logits, unmerged, rtol=1e-5, atol=1e-5 * unmerged.abs().max())
    before = json.loads((base / "config.json").read_text())
    after = json.loads((checkpoint / "config.json").read_text())
    assert "auto_map" in before and "auto_map" not in after
    assert after["torch_dtype"] == "float32"
    assert after["tie_word_embeddings"] == before["tie_word_embeddings"]
    assert after.get("rope_scaling") == before.get("rope_scaling")


def test_configuration_is_llamas(stand_in, adapter, tmp_path):
    checkpoint = write_export(stand_in, adapter, tmp_path / "EXAONE-a", True)
    assert json.loads((checkpoint / "config.json").read_text()) == {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 1,
        "eos_token_id": 4,
        "head_dim": 32,
        "hidden_act": "silu",
        "hidden_size": 128,
        "initializer_range": 0.15,
        "intermediate_size": 256,
        "max_position_embeddings": 1024,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "num_key_value_heads": 2,
        "pad_token_id": 0,
        "rms_norm_eps": 1e-5,
        "rope_scaling": None,
        "rope_theta": 500_000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": load_config(Base(str(stand_in))).vocab_size,
    }
    generation = json.loads((checkpoint / "generation_config.json").read_text())
    assert (generation["eos_token_id"], generation["do_sample"]) == ([4], False)
    assert (checkpoint / "LICENSE").read_text() == "theirs"


def test_tokenizer_is_read_as_the_projects_own(stand_in, adapter, recognizer, reader, tmp_path):
    """With its normalizer, which joins the parts of a syllable, under Transformers' own loader."""
    checkpoint = write_export(stand_in, adapter, tmp_path / "EXAONE-a", True)
    sentence = "\u1109\u1169\u11ab흥민은  춘천에서\n태어났다."
    _, _, ids = read_alone(reader, checkpoint, sentence)
    chat = [{"role": "user", "content": sentence}]
    expected = recognizer.tokenizer.apply_chat_template(chat, add_generation_prompt=True)
    assert ids == expected["input_ids"]
    config = json.loads((checkpoint / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"


def test_names_in_the_adapter_do_not_matter(stand_in, adapter, published, tmp_path):
    """An adapter comes back from the hub under EXAONE's names, its settings on its card."""
    assert read_precision(published) == read_precision(adapter) == "nf4"
    folders = [
        write_export(stand_in, source, tmp_path / f"EXAONE-{number}", True)
        for number, source in enumerate((adapter, published))
    ]
    first, second = (load_file(folder / "model.safetensors") for folder in folders)
    assert "model.layers.0.mlp.gate_proj.weight" in first
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_interrupted_export_leaves_nothing(stand_in, adapter, tmp_path, monkeypatch):
    shards = []

    def write_one_shard(*arguments):
        if shards:
            raise KeyboardInterrupt
        shards.append(arguments)
        write_shard(*arguments)

    write_shard = export.write_shard
    monkeypatch.setattr(export, "SHARD", "500KB")
    monkeypatch.setattr(export, "write_shard", write_one_shard)
    (tmp_path / "out").mkdir()
    with pytest.raises(KeyboardInterrupt):
        write_export(stand_in, adapter, tmp_path / "out" / "EXAONE-a", True)
    assert len(shards) == 1
    assert not list((tmp_path / "out").iterdir())


def test_shards_have_an_index(stand_in, adapter, tmp_path, monkeypatch):
    whole = write_export(stand_in, adapter, tmp_path / "EXAONE-whole", True)
    monkeypatch.setattr(export, "SHARD", "500KB")
    split = write_export(stand_in, adapter, tmp_path / "EXAONE-split", True)
    shards = [load_file(path) for path in split.glob("*.safetensors")]
    assert len(shards) > 2
    joined = {name: tensor for shard in shards for name, tensor in shard.items()}
    expected = load_file(whole / "model.safetensors")
    assert all(torch.equal(joined.pop(name), tensor) for name, tensor in expected.items())
    assert not joined
    loaded = load_model(Base(str(split)), "bfloat16").state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in expected.items())


def test_space_is_checked(stand_in, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "free_bytes", lambda folder: 1_600_000)
    config = load_config(Base(str(stand_in)))
    check_space(tmp_path, config, Base(str(stand_in)), torch.bfloat16)
    message = r"needs 3\.1 MB of disk space, but there are 1\.6 MB free"
    with pytest.raises(InputError, match=message):
        check_space(tmp_path, config, Base(str(stand_in)), torch.float32)
    monkeypatch.setattr(export, "constants", type("constants", (), {"HF_HUB_CACHE": tmp_path}))
    with pytest.raises(InputError, match=r"needs 2\.5 MB"):
        check_space(tmp_path, config, Base("owner/name", None, 1_000_000), torch.bfloat16)


def test_memory_holds_one_shard(stand_in, adapter, tmp_path, monkeypatch):
    """Beside the page cache. Freed memory goes back to the system at once here."""
    monkeypatch.setattr(random_exaone, "SHARD", "60MB")
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "65536")
    config = ExaoneConfig(**LARGER)
    larger, folder = write_models(tmp_path, config), tmp_path / "EXAONE-larger"
    # The first export uses everything once.
    before, peak = measure_export("10MB", adapter, tmp_path / "EXAONE-first", larger, folder)
    shards = list(folder.glob("*.safetensors"))
    assert len(shards) > 9
    assert peak - before < sum(shard.stat().st_size for shard in shards) / 3
