"""EXAONE's configuration and weights, read and written without remote code."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from ner.model.device import count_parameters, find_projections
from ner.model.exaone import ExaoneConfig, ExaoneForCausalLM
from ner.model.loading import build_empty

# The hub's configuration of EXAONE-3.0-7.8B-Instruct: EXAONE's field names, and remote code.
HUB_CONFIG = {
    "activation_function": "silu",
    "architectures": ["ExaoneForCausalLM"],
    "attention_dropout": 0.0,
    "auto_map": {
        "AutoConfig": "configuration_exaone.ExaoneConfig",
        "AutoModelForCausalLM": "modeling_exaone.ExaoneForCausalLM",
    },
    "bos_token_id": 1,
    "embed_dropout": 0.0,
    "eos_token_id": 361,
    "head_dim": 128,
    "hidden_size": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 14336,
    "layer_norm_epsilon": 1e-05,
    "max_position_embeddings": 4096,
    "model_type": "exaone",
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "num_layers": 32,
    "pad_token_id": 0,
    "rope_scaling": None,
    "rope_theta": 500000,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "vocab_size": 102400,
}
# Layer 0 stands for all. Written by hand, because the module's own table is under test.
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
LLAMA_NAMES |= {
    exaone.replace(".0.", ".1."): llama.replace(".0.", ".1.")
    for exaone, llama in LLAMA_NAMES.items()
}
INPUT_IDS = torch.arange(40).reshape(2, 20) * 37 % 1500


def load_weights(folder: Path) -> dict[str, torch.Tensor]:
    weights = {}
    for path in sorted(folder.glob("*.safetensors")):
        weights |= load_file(path)
    return weights


def build_llama(fields: dict) -> LlamaForCausalLM:
    """Transformers' own Llama in the size of an EXAONE's `config.json`."""
    config = LlamaConfig(
        vocab_size=fields["vocab_size"],
        hidden_size=fields["hidden_size"],
        intermediate_size=fields["intermediate_size"],
        num_hidden_layers=fields["num_layers"],
        num_attention_heads=fields["num_attention_heads"],
        num_key_value_heads=fields["num_key_value_heads"],
        rms_norm_eps=fields["layer_norm_epsilon"],
        max_position_embeddings=fields["max_position_embeddings"],
        rope_theta=fields["rope_theta"],
    )
    return LlamaForCausalLM(config).eval()


def test_hub_config_is_read_as_it_is(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(HUB_CONFIG))
    config = AutoConfig.from_pretrained(tmp_path)
    assert type(config) is ExaoneConfig
    assert (config.num_hidden_layers, config.rms_norm_eps) == (32, 1e-5)
    assert config.hidden_act == "silu"
    assert config.rope_parameters == {"rope_type": "default", "rope_theta": 500000}
    assert count_parameters(build_empty(config)) == 7_818_448_896
    assert len(find_projections(build_empty(config))) == 7 * 32

    config.save_pretrained(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "config.json").read_text())
    expected = {name: value for name, value in HUB_CONFIG.items() if name != "torch_dtype"}
    assert {name: saved.get(name) for name in expected} == expected


def test_scaled_rope_survives_saving(tmp_path):
    scaling = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    (tmp_path / "config.json").write_text(json.dumps(HUB_CONFIG | {"rope_scaling": scaling}))
    config = AutoConfig.from_pretrained(tmp_path)
    config.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert (saved["rope_scaling"], saved["rope_theta"]) == (scaling, 500000)
    assert AutoConfig.from_pretrained(tmp_path).rope_parameters == config.rope_parameters


def test_weights_load_under_llamas_names_with_llamas_logits(stand_in):
    weights = load_weights(stand_in)
    assert weights.keys() == LLAMA_NAMES.keys()

    model, info = AutoModelForCausalLM.from_pretrained(
        stand_in, output_loading_info=True, dtype=torch.float32
    )
    assert type(model) is ExaoneForCausalLM
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]

    llama = build_llama(json.loads((stand_in / "config.json").read_text()))
    llama.load_state_dict({LLAMA_NAMES[name]: tensor for name, tensor in weights.items()})
    with torch.inference_mode():
        logits = model(INPUT_IDS).logits
        assert torch.equal(logits, llama(INPUT_IDS).logits)
    assert logits.std() > 0.1


def test_saving_restores_exaones_names(stand_in, tmp_path):
    AutoModelForCausalLM.from_pretrained(stand_in).save_pretrained(tmp_path)
    before, after = load_weights(stand_in), load_weights(tmp_path)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_embeddings_are_tied_if_the_configuration_does_not_say(tmp_path):
    """LG's own class reads and writes it so. EXAONE 3.0 says that they are not."""
    fields = {name: value for name, value in HUB_CONFIG.items() if name != "tie_word_embeddings"}
    (tmp_path / "config.json").write_text(json.dumps(fields))
    assert AutoConfig.from_pretrained(tmp_path).tie_word_embeddings
    for tied in (True, False):
        ExaoneConfig(tie_word_embeddings=tied).save_pretrained(tmp_path)
        assert AutoConfig.from_pretrained(tmp_path).tie_word_embeddings == tied
