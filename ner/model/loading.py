"""Load a base model: its configuration and its weights."""

import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    PreTrainedConfig,
    PreTrainedModel,
)

import ner.model.exaone  # noqa: F401 -- registers the model type
from ner.cli import InputError
from ner.model.hub import Base
from ner.model.process import get_process
from ner.model.remote_code import describe


def load_config(base: Base, local_files_only: bool = False) -> PreTrainedConfig:
    """A base model's configuration. Raises InputError if only remote code could read it."""
    try:
        return AutoConfig.from_pretrained(
            base.name, revision=base.revision, local_files_only=local_files_only
        )
    except (ValueError, KeyError) as error:
        raise InputError(
            f"{base.name}: Transformers cannot read its configuration without running code from "
            f"its repository, which this project never does ({describe(error)})"
        ) from error


def build_empty(config: PreTrainedConfig) -> PreTrainedModel:
    """A model without weights, for counting."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def load_model(base: Base, precision: str = "nf4") -> PreTrainedModel:
    """Load a base model on this process's device.

    `precision` is "nf4" (4-bit, double quantization, bfloat16 compute), "bfloat16" or "float32".
    """
    quantization = None
    if precision == "nf4":
        quantization = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
    device = get_process().local_process_index if torch.cuda.is_available() else "cpu"
    return AutoModelForCausalLM.from_pretrained(
        base.name,
        revision=base.revision,
        dtype=torch.float32 if precision == "float32" else torch.bfloat16,
        quantization_config=quantization,
        device_map={"": device},
    )


def unpack_model(model: PreTrainedModel) -> None:
    """Turn a 4-bit model, in place, into a plain bfloat16 one with the same weights.

    Call it before the model's first use, because bitsandbytes then packs the weights anew on some
    CPUs. One layer at a time has both its packed and its plain weights. Transformers' own
    `dequantize` keeps all packed ones until it ends.
    """
    names = [name for name, layer in model.named_modules() if isinstance(layer, Linear4bit)]
    for name in names:
        packed = model.get_submodule(name)
        weight = dequantize_4bit(packed.weight.data, packed.weight.quant_state)
        layer = torch.nn.Linear(packed.in_features, packed.out_features, device="meta")
        layer.weight = torch.nn.Parameter(weight, requires_grad=False)
        layer.bias = packed.bias
        del packed.weight  # it and its layer refer to each other, so they would stay for a while
        model.set_submodule(name, layer.eval())
    model.hf_quantizer.remove_quantization_config(model)
    model.is_loaded_in_4bit = False  # PEFT reads this one
