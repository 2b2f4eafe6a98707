"""Places and settings that several tests share."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "data" / "sample"
KLUE_COPY = ROOT.parent / "shared" / "klue-ner"
# Settings under which a small model memorizes 24 sentences.
MEMORIZE = [
    *("--batch_size", "8", "--gradient_accumulation", "2", "--max_steps", "120"),
    *("--learning_rate", "5e-3", "--lr_scheduler", "constant", "--logging_steps", "40"),
]
