"""EXAONE 3 in plain PyTorch, with its own module names. PEFT can load adapters on it.

Written from the model's configuration and the published descriptions: RMSNorm (Zhang and Sennrich
2019), rotary embeddings (Su et al. 2021), grouped-query attention (Ainslie et al. 2023), SwiGLU
(Shazeer 2020). It has no scaled rotary embeddings.

    python tests/plain_exaone.py BASE_FOLDER TOKENS.json ADAPTER_FOLDER ...

writes the logits of the base with each adapter, in float32, to ADAPTER_FOLDER.logits. It imports
neither Transformers' EXAONE nor this project.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional


def rotate(heads: torch.Tensor, theta: float) -> torch.Tensor:
    """Rotate queries or keys, shape (batch, heads, length, width), by their positions."""
    length, width = heads.shape[-2:]
    frequencies = 1.0 / theta ** (torch.arange(0, width, 2).float() / width)
    angles = torch.outer(torch.arange(length).float(), frequencies).repeat(1, 2)
    first, second = heads.chunk(2, dim=-1)
    return heads * angles.cos() + torch.cat([-second, first], dim=-1) * angles.sin()


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.width = config.hidden_size // config.num_attention_heads
        self.theta = config.rope_theta
        queries = config.num_attention_heads * self.width
        keys = config.num_key_value_heads * self.width
        self.q_proj = nn.Linear(config.hidden_size, queries, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, keys, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, keys, bias=False)
        self.out_proj = nn.Linear(queries, config.hidden_size, bias=False)

    def split_heads(self, projected):
        """From (batch, length, heads * width) to (batch, heads, length, width)."""
        batch, length, _ = projected.shape
        return projected.view(batch, length, -1, self.width).transpose(1, 2)

    def forward(self, states):
        queries = rotate(self.split_heads(self.q_proj(states)), self.theta)
        keys = rotate(self.split_heads(self.k_proj(states)), self.theta)
        values = self.split_heads(self.v_proj(states))
        mixed = functional.scaled_dot_product_attention(
            queries, keys, values, is_causal=True, enable_gqa=True
        )
        batch, length, _ = states.shape
        return self.out_proj(mixed.transpose(1, 2).reshape(batch, length, -1))


class Feedforward(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.c_fc_0 = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.c_fc_1 = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.c_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, states):
        return self.c_proj(functional.silu(self.c_fc_0(states)) * self.c_fc_1(states))


class Norm(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.hidden_size))
        self.epsilon = config.layer_norm_epsilon

    def forward(self, states):
        scale = torch.rsqrt(states.pow(2).mean(dim=-1, keepdim=True) + self.epsilon)
        return self.weight * (states * scale)


class Layer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.ln_1, self.ln_2, self.mlp = Norm(config), Norm(config), Feedforward(config)
        self.attn = nn.ModuleDict({"attention": Attention(config)})

    def forward(self, states):
        states = states + self.attn["attention"](self.ln_1(states))
        return states + self.mlp(self.ln_2(states))


class PlainExaone(nn.Module):
    """Logits, shape (batch, length, vocabulary), from token ids, shape (batch, length)."""

    def __init__(self, config):
        super().__init__()
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(config.vocab_size, config.hidden_size),
                "h": nn.ModuleList([Layer(config) for _ in range(config.num_layers)]),
                "ln_f": Norm(config),
            }
        )
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    def forward(self, input_ids):
        states = self.transformer["wte"](input_ids)
        for layer in self.transformer["h"]:
            states = layer(states)
        return self.lm_head(self.transformer["ln_f"](states))

    def prepare_inputs_for_generation(self):
        """PEFT expects a causal language model to have this method."""


def load_base(folder: Path) -> PlainExaone:
    config = json.loads((folder / "config.json").read_text())
    model = PlainExaone(SimpleNamespace(**config))
    weights = {}
    for path in folder.glob("*.safetensors"):
        weights |= {name: tensor.float() for name, tensor in load_file(path).items()}
    model.load_state_dict(weights)
    return model


def main(base: Path, tokens: Path, *adapters: Path) -> None:
    from peft import PeftModel

    input_ids = torch.tensor(json.loads(tokens.read_text()))
    for adapter in adapters:
        model = PeftModel.from_pretrained(load_base(base), adapter).eval()
        with torch.inference_mode():
            logits = model.base_model.model(input_ids)
        save_file({"logits": logits}, adapter.with_suffix(".logits"))
    assert not {"ner", "data_processing"} & sys.modules.keys()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
