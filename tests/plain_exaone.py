"""EXAONE 3 written out in PyTorch alone, under its own module names, to load adapters onto that know nothing of us.

From the model's configuration and the published descriptions: RMSNorm (Zhang and Sennrich 2019), rotary embeddings
(Su et al. 2021), grouped-query attention (Ainslie et al. 2023), SwiGLU (Shazeer 2020). No scaled rotary embeddings.

    python tests/plain_exaone.py BASE_FOLDER ADAPTER_FOLDER TOKENS.json LOGITS.safetensors

writes what `peft` makes of base and adapter, in float32; neither transformers' EXAONE nor this project's is imported.
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
    """Queries or keys, shape (batch, heads, length, width), turned by their positions."""
    length, width = heads.shape[-2:]
    frequencies = 1.0 / theta ** (torch.arange(0, width, 2).float() / width)
    angles = torch.outer(torch.arange(length).float(), frequencies).repeat(1, 2)
    first, second = heads.chunk(2, dim=-1)
    return heads * angles.cos() + torch.cat([-second, first], dim=-1) * angles.sin()


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config, width = config, config.hidden_size // config.num_attention_heads
        self.q_proj = nn.Linear(config.hidden_size, config.num_attention_heads * width, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, config.num_key_value_heads * width, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, config.num_key_value_heads * width, bias=False)
        self.out_proj = nn.Linear(config.num_attention_heads * width, config.hidden_size, bias=False)

    def forward(self, states):
        batch, length, _ = states.shape
        width = self.config.hidden_size // self.config.num_attention_heads
        split = lambda projected: projected.view(batch, length, -1, width).transpose(1, 2)
        queries, keys = (rotate(split(projection(states)), self.config.rope_theta) for projection in (self.q_proj, self.k_proj))
        mixed = functional.scaled_dot_product_attention(queries, keys, split(self.v_proj(states)), is_causal=True, enable_gqa=True)
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
        self.weight, self.epsilon = nn.Parameter(torch.ones(config.hidden_size)), config.layer_norm_epsilon

    def forward(self, states):
        return self.weight * (states * torch.rsqrt(states.pow(2).mean(dim=-1, keepdim=True) + self.epsilon))


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
        self.transformer = nn.ModuleDict({"wte": nn.Embedding(config.vocab_size, config.hidden_size),
                                          "h": nn.ModuleList([Layer(config) for _ in range(config.num_layers)]),
                                          "ln_f": Norm(config)})
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    def forward(self, input_ids):
        states = self.transformer["wte"](input_ids)
        for layer in self.transformer["h"]:
            states = layer(states)
        return self.lm_head(self.transformer["ln_f"](states))

    def prepare_inputs_for_generation(self):
        """PEFT asks a causal language model to have one."""


def main(base: Path, adapter: Path, tokens: Path, logits: Path) -> None:
    from peft import PeftModel
    model = PlainExaone(SimpleNamespace(**json.loads((base / "config.json").read_text())))
    model.load_state_dict({name: tensor.float() for path in base.glob("*.safetensors") for name, tensor in load_file(path).items()})
    model = PeftModel.from_pretrained(model, adapter).eval()
    assert not {"exaone", "data_processing"} & sys.modules.keys()
    with torch.inference_mode():
        save_file({"logits": model.base_model.model(torch.tensor(json.loads(tokens.read_text())))}, logits)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
