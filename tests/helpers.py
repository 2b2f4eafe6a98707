"""Places and settings that several tests share."""

import importlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "data" / "sample"
KLUE_COPY = ROOT.parent / "shared" / "klue-ner"
# A random EXAONE of 108 MB in bfloat16, to measure memory with.
LARGER = {
    "vocab_size": 8192,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_layers": 12,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
}


def run_here(script: str, *arguments: object) -> None:
    """Run a script in this process, which has imported PyTorch."""
    module = importlib.import_module(script.removesuffix(".py"))
    module.main([str(argument) for argument in arguments])
