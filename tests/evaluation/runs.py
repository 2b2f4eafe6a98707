"""Flags for evaluations of the memorized adapter, and the predictions that they write."""

import json
from pathlib import Path

import pytest

from tests.helpers import SAMPLE

# The 24 sentences that the adapter has memorized.
MEMORIZED = ["--dataset", str(SAMPLE), "--split", "train", "--num_samples", "24"]
# All 48 sentences, unquantized: a 4-bit model on a CPU may answer a batch differently.
ALL = [
    *("--dataset", str(SAMPLE), "--split", "train", "--num_samples", "48"),
    *("--precision", "float32", "--max_new_tokens", "100"),
]


def evaluate(adapter: Path, folder: Path, *flags: str) -> None:
    import evaluate_hub

    evaluate_hub.main(["--adapter", str(adapter), *flags, "--output_dir", str(folder)])


def read_lines(folder: Path) -> list[dict]:
    """The lines of an evaluation's predictions file. The first one holds the settings."""
    text = (folder / "predictions.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def read_metrics(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


def check_same_results(folder: Path, other: Path) -> None:
    """Check that two evaluations gave the same answers and scores.

    The last digits of a confidence depend on how the sentences were batched. So confidences may
    differ a little, and the figures on them are not compared.
    """
    metrics, other_metrics = read_metrics(folder), read_metrics(other)
    for content in (metrics, other_metrics):
        assert content.pop("confidence")
        del content["settings"]
    assert metrics == other_metrics
    rows, other_rows = read_rows(folder), read_rows(other)
    for name in ("answer", "tags"):
        assert [row[name] for row in rows] == [row[name] for row in other_rows]
    assert list_confidences(rows) == pytest.approx(list_confidences(other_rows), abs=1e-3)


def read_rows(folder: Path) -> list[dict]:
    """The answered sentences of an evaluation, in the order of the split."""
    _, *rows = read_lines(folder)
    return sorted(rows, key=lambda row: row["id"])


def list_confidences(rows: list[dict]) -> list[float]:
    return [mention["confidence"] for row in rows for mention in row["diagnosis"]["mentions"]]
