import json
import os
import subprocess
import sys

import bitsandbytes
import pytest
import torch

from benchmarks import random_exaone
from ner.cli import InputError
from ner.model.device import find_projections
from ner.model.exaone import ExaoneConfig
from ner.model.hub import Base
from ner.model.loading import load_config, load_model, unpack_model
from ner.model.tokenizer import load_tokenizer
from tests.helpers import LARGER, ROOT
from tests.stand_in import write_stand_in

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


def test_unpacked_model_computes_the_same(tmp_path):
    write_stand_in(tmp_path / "model", attention_bias=True)
    packed, plain = (load_model(Base(str(tmp_path / "model"))) for _ in range(2))
    unpack_model(plain)
    assert {type(layer) for layer in find_projections(plain)} == {torch.nn.Linear}
    with torch.inference_mode():
        for model in (packed, plain):
            for layer in find_projections(model):
                if layer.bias is not None:
                    layer.bias.fill_(0.5)
        logits, expected = (model(INPUT_IDS).logits.float() for model in (plain, packed))
    assert (logits - expected).norm() < 0.02 * expected.norm()


@pytest.mark.parametrize("load", [load_config, load_tokenizer])
def test_model_that_needs_remote_code_is_refused(load, tmp_path, monkeypatch):
    """Not even someone at a terminal is asked. Its code would raise another error."""
    monkeypatch.setattr("builtins.input", lambda _: "y")
    (tmp_path / "code.py").write_text("raise SystemExit")
    auto_map = {"AutoConfig": "code.Config", "AutoTokenizer": ["code.Tokenizer", None]}
    config = json.dumps({"model_type": "unheard_of", "auto_map": auto_map})
    for name in ("config.json", "tokenizer_config.json"):
        (tmp_path / name).write_text(config)
    with pytest.raises(InputError, match=r"cannot .*read.* custom code"):
        load(Base(str(tmp_path)))


LOAD = """
import gc, json, sys, threading, time
from pathlib import Path
from ner.model.hub import Base
from ner.model.lora import load_recognizer

def measure_memory():
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("RssAnon:")[2].split()[0])

def watch():
    while True:
        name, now = stage, measure_memory()
        peaks[name] = max(peaks.get(name, 0), now)
        time.sleep(0.001)

stage, peaks, sizes = "", {}, {}
threading.Thread(target=watch, daemon=True).start()
first, base, *precisions = sys.argv[1:]
for precision in precisions:
    load_recognizer(Base(first), precision)  # imports, and a first use of everything
    gc.collect()
    before, stage = measure_memory(), precision
    model = load_recognizer(Base(base), precision)
    stage = ""
    sizes[precision] = (model.get_memory_footprint(), peaks[precision] - before)
    del model
print(json.dumps(sizes))
"""


def test_loading_makes_no_second_copy_of_the_weights(stand_in, tmp_path, monkeypatch):
    """Beside the page cache, it holds the loaded model and a few matrices of the checkpoint.

    Anonymous memory leaves out the cache. Freed memory goes back to the system at once here.
    """
    monkeypatch.setattr(random_exaone, "SHARD", "60MB")
    config = ExaoneConfig(**LARGER)
    random_exaone.write_random_exaone(tmp_path / "model", config)
    shards = list((tmp_path / "model").glob("*.safetensors"))
    size = sum(shard.stat().st_size for shard in shards)
    assert len(shards) > 3
    precisions = ["nf4", "bfloat16", "merged"]
    command = [sys.executable, "-c", LOAD, str(stand_in), str(tmp_path / "model"), *precisions]
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, cwd=ROOT, env=environment
    )
    sizes = json.loads(done.stdout.splitlines()[-1])
    assert list(sizes) == precisions
    for precision, (loaded, peak) in sizes.items():
        assert loaded / 2 < peak < loaded + size / 12, precision
