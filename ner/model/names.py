"""EXAONE's names for its repository, tensors and modules, and Llama's names for the same parts."""

import json
from pathlib import Path

EXAONE = "LGAI-EXAONE/EXAONE-3.0-7.8B-Instruct"
# The license requires the names of derived models to begin with EXAONE.
ADAPTER = "EXAONE-3.0-7.8B-KLUE-NER-LoRA"
MERGED = "EXAONE-3.0-7.8B-KLUE-NER"

# (EXAONE's, Llama's). Loading applies the renamings in this order, saving in reverse.
NAMES = [
    ("transformer.wte.", "model.embed_tokens."),
    ("transformer.ln_f.", "model.norm."),
    ("transformer.h.", "model.layers."),
    (".ln_1.", ".input_layernorm."),
    (".ln_2.", ".post_attention_layernorm."),
    (".attn.attention.", ".self_attn."),
    (".out_proj.", ".o_proj."),
    (".c_fc_0.", ".gate_proj."),
    (".c_fc_1.", ".up_proj."),
    (".c_proj.", ".down_proj."),
]


def to_llama(name: str) -> str:
    """Translate a tensor's or module's name, or its last part, to Llama's. Others stay.

    >>> to_llama("base_model.model.transformer.h.0.mlp.c_fc_0.lora_A.weight")
    'base_model.model.model.layers.0.mlp.gate_proj.lora_A.weight'
    >>> to_llama("out_proj")
    'o_proj'
    """
    name = f".{name}."
    for exaone, llama in NAMES:
        name = name.replace(exaone, llama)
    return name[1:-1]


def to_exaone(name: str) -> str:
    """Translate a name to EXAONE's. The inverse of `to_llama`."""
    name = f".{name}."
    for exaone, llama in reversed(NAMES):
        name = name.replace(llama, exaone)
    return name[1:-1]


def is_exaone(name: str) -> bool:
    """Whether a base model is an EXAONE, whose license governs the names of derived models.

    `name` is a hub id or a local folder. A folder's `config.json` decides.
    """
    config = Path(name) / "config.json"
    if config.is_file():
        model_type = json.loads(config.read_text(encoding="utf-8")).get("model_type", "")
        return model_type.startswith("exaone")
    return "exaone" in name.lower()
