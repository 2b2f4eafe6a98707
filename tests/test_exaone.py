"""EXAONE's configuration, weights and tokenizer, read and written without its remote code."""
import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

import exaone
from conftest import ROOT
from data_processing import InputError

# The hub's configuration of EXAONE-3.0-7.8B-Instruct: EXAONE's field names, and an auto_map to code that is not run.
HUB_CONFIG = {
    "activation_function": "silu", "architectures": ["ExaoneForCausalLM"], "attention_dropout": 0.0,
    "auto_map": {"AutoConfig": "configuration_exaone.ExaoneConfig",
                 "AutoModelForCausalLM": "modeling_exaone.ExaoneForCausalLM"},
    "bos_token_id": 1, "embed_dropout": 0.0, "eos_token_id": 361, "head_dim": 128, "hidden_size": 4096,
    "initializer_range": 0.02, "intermediate_size": 14336, "layer_norm_epsilon": 1e-05,
    "max_position_embeddings": 4096, "model_type": "exaone", "num_attention_heads": 32, "num_key_value_heads": 8,
    "num_layers": 32, "pad_token_id": 0, "rope_scaling": None, "rope_theta": 500000, "tie_word_embeddings": False,
    "torch_dtype": "bfloat16", "use_cache": True, "vocab_size": 102400,
}
# Written out by hand, layer 0 for all: the module under test may not vouch for itself.
LLAMA_NAMES = {
    "transformer.wte.weight": "model.embed_tokens.weight",
    "transformer.h.0.ln_1.weight": "model.layers.0.input_layernorm.weight",
    "transformer.h.0.ln_2.weight": "model.layers.0.post_attention_layernorm.weight",
    "transformer.h.0.attn.attention.q_proj.weight": "model.layers.0.self_attn.q_proj.weight",
    "transformer.h.0.attn.attention.k_proj.weight": "model.layers.0.self_attn.k_proj.weight",
    "transformer.h.0.attn.attention.v_proj.weight": "model.layers.0.self_attn.v_proj.weight",
    "transformer.h.0.attn.attention.out_proj.weight": "model.layers.0.self_attn.o_proj.weight",
    "transformer.h.0.mlp.c_fc_0.weight": "model.layers.0.mlp.gate_proj.weight",
    "transformer.h.0.mlp.c_fc_1.weight": "model.layers.0.mlp.up_proj.weight",
    "transformer.h.0.mlp.c_proj.weight": "model.layers.0.mlp.down_proj.weight",
    "transformer.ln_f.weight": "model.norm.weight",
    "lm_head.weight": "lm_head.weight",
}
LLAMA_NAMES |= {exaone_name.replace(".0.", ".1."): llama_name.replace(".0.", ".1.")
                for exaone_name, llama_name in LLAMA_NAMES.items()}
INPUT_IDS = torch.arange(40).reshape(2, 20) * 37 % 1500


def load_files(folder) -> dict[str, torch.Tensor]:
    return {name: tensor for path in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(path).items()}


def test_hub_config_is_read_as_it_stands(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(HUB_CONFIG))
    config = AutoConfig.from_pretrained(tmp_path)
    assert type(config) is exaone.ExaoneConfig
    assert (config.num_hidden_layers, config.rms_norm_eps, config.hidden_act) == (32, 1e-5, "silu")
    assert config.rope_parameters == {"rope_type": "default", "rope_theta": 500000}
    assert sum(p.numel() for p in exaone.build_empty(config).parameters()) == 7_818_448_896
    assert len(exaone.find_projections(exaone.build_empty(config))) == 7 * 32

    config.save_pretrained(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert {name: saved.get(name) for name in HUB_CONFIG if name != "torch_dtype"} == {
        name: value for name, value in HUB_CONFIG.items() if name != "torch_dtype"}


def test_scaled_rope_survives_saving(tmp_path):
    scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 8192}
    (tmp_path / "config.json").write_text(json.dumps(HUB_CONFIG | {"rope_scaling": scaling}))
    config = AutoConfig.from_pretrained(tmp_path)
    config.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert (saved["rope_scaling"], saved["rope_theta"]) == (scaling, 500000)
    assert AutoConfig.from_pretrained(tmp_path).rope_parameters == config.rope_parameters


def test_weights_load_under_llamas_names_with_llamas_logits(stand_in):
    weights = load_files(stand_in)
    assert weights.keys() == LLAMA_NAMES.keys()

    model, info = AutoModelForCausalLM.from_pretrained(stand_in, output_loading_info=True, dtype=torch.float32)
    assert type(model) is exaone.ExaoneForCausalLM
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]

    fields = json.loads((stand_in / "config.json").read_text())
    llama = LlamaForCausalLM(LlamaConfig(
        vocab_size=fields["vocab_size"], hidden_size=fields["hidden_size"], intermediate_size=fields["intermediate_size"],
        num_hidden_layers=fields["num_layers"], num_attention_heads=fields["num_attention_heads"],
        num_key_value_heads=fields["num_key_value_heads"], rms_norm_eps=fields["layer_norm_epsilon"],
        max_position_embeddings=fields["max_position_embeddings"], rope_theta=fields["rope_theta"]))
    llama.load_state_dict({LLAMA_NAMES[name]: tensor for name, tensor in weights.items()})
    with torch.inference_mode():
        logits = model(INPUT_IDS).logits
        assert torch.equal(logits, llama.eval()(INPUT_IDS).logits)
    assert logits.std() > 0.1


def test_saving_writes_exaones_names_back(stand_in, tmp_path):
    AutoModelForCausalLM.from_pretrained(stand_in).save_pretrained(tmp_path)
    before, after = load_files(stand_in), load_files(tmp_path)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_checkpoint_loads_in_4_bit(stand_in):
    import bitsandbytes
    quantised, exact = exaone.load_model(str(stand_in)), exaone.load_model(str(stand_in), precision="float32")
    layers = exaone.find_projections(quantised)
    assert len(layers) == 14 and all(isinstance(layer, bitsandbytes.nn.Linear4bit) for layer in layers)
    assert all(layer.weight.quant_state.nested and layer.compute_dtype is torch.bfloat16 for layer in layers)
    with torch.inference_mode():
        agreement = torch.nn.functional.cosine_similarity(
            quantised(INPUT_IDS).logits.float().flatten(), exact(INPUT_IDS).logits.flatten(), dim=0)
    assert 0.9 < agreement < 1


def test_tokenizer_is_what_its_file_says(stand_in):
    tokenizer = exaone.load_tokenizer(str(stand_in))
    assert (tokenizer.pad_token, tokenizer.pad_token_id, tokenizer.eos_token) == ("[PAD]", 0, "[|endofturn|]")
    written = json.loads((stand_in / "tokenizer.json").read_text(encoding="utf-8"))
    loaded = json.loads(tokenizer.backend_tokenizer.to_str())
    assert loaded["normalizer"] == written["normalizer"] == {"type": "NFC"}
    assert loaded["pre_tokenizer"] == written["pre_tokenizer"]
    # The trap this guards against: the class that the configuration names has no normaliser.
    assert AutoTokenizer.from_pretrained(stand_in).backend_tokenizer.normalizer is None


def test_chat_template_is_exaones(stand_in):
    tokenizer = exaone.load_tokenizer(str(stand_in))
    chat = [{"role": "system", "content": "가"}, {"role": "user", "content": "나"}, {"role": "assistant", "content": "{}"}]
    assert tokenizer.apply_chat_template(chat, tokenize=False) == \
        "[|system|]가[|endofturn|]\n[|user|]나\n[|assistant|]{}[|endofturn|]\n"
    assert tokenizer.apply_chat_template(chat[1:2], tokenize=False, add_generation_prompt=True) == \
        "[|system|][|endofturn|]\n[|user|]나\n[|assistant|]"


def test_stand_in_is_the_same_every_time(stand_in, tmp_path):
    exaone.main([str(tmp_path / "again")])
    assert sorted(p.name for p in stand_in.iterdir()) == sorted(p.name for p in (tmp_path / "again").iterdir())
    assert all(p.read_bytes() == (tmp_path / "again" / p.name).read_bytes() for p in stand_in.iterdir())


def test_remote_code_is_never_asked_for():
    name = "_".join(["trust", "remote", "code"])
    files = [path for path in ROOT.rglob("*") if path.suffix in {".py", ".md", ".txt"} or path.name in {"Makefile", "run"}]
    ours = [path for path in files if not {".venv", "rehearsal"} & set(path.relative_to(ROOT).parts)]
    assert len(ours) > 10 and not [path for path in ours if name in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("name, exaone_s", [("LGAI-EXAONE/EXAONE-3.0-7.8B-Instruct", True), ("google/gemma-3-270m", False)])
def test_exaones_are_told_by_name(name, exaone_s):
    assert exaone.is_exaone(name) is exaone_s


def test_exaones_are_told_by_config(stand_in, tmp_path):
    assert exaone.is_exaone(str(stand_in))
    (tmp_path / "config.json").write_text('{"model_type": "gemma3_text"}')
    assert not exaone.is_exaone(str(tmp_path))


def test_model_that_needs_remote_code_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(HUB_CONFIG | {"model_type": "unheard_of"}))
    with pytest.raises(InputError, match="which this project never does"):
        exaone.load_config(str(tmp_path))


def test_folder_without_a_model(tmp_path):
    with pytest.raises(InputError, match="holds no config.json"):
        exaone.check_base(str(tmp_path))


def test_no_network_and_nothing_cached():
    with pytest.raises(InputError, match="hub cannot be reached.*make rehearse"):
        exaone.check_base(exaone.EXAONE)


@pytest.mark.skipif(torch.cuda.is_available(), reason="tells of a missing GPU")
def test_large_model_without_a_gpu():
    model = exaone.build_empty(exaone.ExaoneConfig())
    with pytest.raises(InputError, match=r"7\.8 billion parameters.*CUDA GPU with about \d+ GB.*RTX 4090.*make rehearse"):
        exaone.check_device(exaone.EXAONE, model, "nf4", 3e9)
    exaone.check_device("small", exaone.build_empty(exaone.ExaoneConfig(num_layers=1, vocab_size=1000)), "nf4", 3e9)


def test_gpu_with_too_little_room(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "RTX 3060")
    model = exaone.build_empty(exaone.ExaoneConfig())
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (7e9, 12e9))
    with pytest.raises(InputError, match=r"needs about 8 GB of GPU memory; RTX 3060 has 7 GB free.*lower --batch_size"):
        exaone.check_device(exaone.EXAONE, model, "nf4", 3e9)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (9e9, 12e9))
    exaone.check_device(exaone.EXAONE, model, "nf4", 3e9)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match="accelerate launch.*CUDA_VISIBLE_DEVICES=0"):
        exaone.check_device(exaone.EXAONE, model, "nf4", 3e9)
