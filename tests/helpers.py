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
# Settings under which the stand-in memorizes 24 sentences.
MEMORIZE = [
    *("--batch_size", "8", "--gradient_accumulation", "2", "--max_steps", "120"),
    *("--learning_rate", "5e-3", "--lr_scheduler", "constant", "--logging_steps", "40"),
]


def train_until_memorized(model: Path, chats: Path, folder: Path, *flags: str) -> Path:
    """Train the stand-in in 4-bit on the chats of 24 sentences. Returns the adapter, `folder`.

    For fewer sentences, `flags` can ask for fewer steps.
    """
    import train

    results = folder.parent / "results"
    train.main(
        [
            *("--model", str(model), "--data", str(chats)),
            *("--output_dir", str(folder), "--checkpoint_dir", str(results), *MEMORIZE, *flags),
        ]
    )
    return folder


def run_here(script: str, *arguments: object) -> None:
    """Run a step of a benchmark in this process, which has imported PyTorch."""
    module = importlib.import_module(script.removesuffix(".py"))
    module.main([str(argument) for argument in arguments])
