"""Flags for evaluations of the memorized adapter, and the predictions that they write."""

import json
from pathlib import Path

from tests.helpers import SAMPLE

# The 24 sentences that the adapter has memorized.
MEMORIZED = ["--dataset", str(SAMPLE), "--split", "train", "--num_samples", "24"]
# All 48 sentences, unquantized: a 4-bit model on a CPU may answer a batch differently.
ALL = [
    *("--dataset", str(SAMPLE), "--split", "train", "--num_samples", "48"),
    *("--precision", "float32", "--max_new_tokens", "100"),
]


def read_lines(folder: Path) -> list[dict]:
    """The lines of an evaluation's predictions file. The first one holds the settings."""
    text = (folder / "predictions.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def read_metrics(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
