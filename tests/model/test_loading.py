import json

import bitsandbytes
import pytest
import torch

from ner.cli import InputError
from ner.model.device import find_projections
from ner.model.hub import Base
from ner.model.loading import load_config, load_model

INPUT_IDS = torch.arange(40).reshape(2, 20) * 37 % 1500


def test_checkpoint_loads_in_4_bit(stand_in):
    quantized = load_model(Base(str(stand_in)))
    exact = load_model(Base(str(stand_in)), precision="float32")
    layers = find_projections(quantized)
    assert len(layers) == 14
    for layer in layers:
        assert isinstance(layer, bitsandbytes.nn.Linear4bit)
        assert layer.weight.quant_state.nested
        assert layer.compute_dtype is torch.bfloat16
    with torch.inference_mode():
        logits = quantized(INPUT_IDS).logits.float().flatten()
        agreement = torch.cosine_similarity(logits, exact(INPUT_IDS).logits.flatten(), dim=0)
    assert 0.85 < agreement < 1


@pytest.mark.parametrize(
    ("precision", "dtype"), [("bfloat16", torch.bfloat16), ("float32", torch.float32)]
)
def test_unquantized_checkpoint_has_its_precision(stand_in, precision, dtype):
    model = load_model(Base(str(stand_in)), precision)
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}


def test_model_that_needs_remote_code_is_refused(tmp_path):
    config = {
        "model_type": "unheard_of",
        "auto_map": {"AutoConfig": "configuration_exaone.ExaoneConfig"},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="which this project never does"):
        load_config(Base(str(tmp_path)))
