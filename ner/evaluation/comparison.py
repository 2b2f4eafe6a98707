"""Compare two runs on the same sentences."""

from collections.abc import Mapping

import numpy as np

from ner.cli import InputError
from ner.evaluation.counts import count_sentences, sum_sentences
from ner.evaluation.scores import describe_bootstrap, estimate, resample, score_counts
from ner.text.klue import LABELS
from ner.text.notation import mark_entities


def compare(rows: list[dict], others: list[dict], labels: Mapping[str, str] = LABELS) -> dict:
    """Compare two runs by a paired bootstrap, as `comparison.json` holds it.

    `labels` are descriptions by name.

    - `scores` and `per_label`: as in `compute_metrics`, but each figure is the first run's minus
      the other's, with the 95 % interval of that difference. If the whole interval is above 0, the
      first run is better and chance is an unlikely explanation;
    - `changed`: the sentences that the two runs tag differently; see `describe_change`.

    Raises InputError if the sentences or their gold tags differ.
    """
    rows = sorted(rows, key=lambda row: row["id"])
    others = sorted(others, key=lambda row: row["id"])
    check_same_sentences(rows, others)
    counts, other_counts = count_sentences(rows, labels), count_sentences(others, labels)
    sums, other_sums = sum_sentences(counts), sum_sentences(other_counts)
    draws, other_draws = resample(counts), resample(other_counts)
    return {
        "sentences": len(rows),
        **estimate(
            subtract(score_counts(sums, labels), score_counts(other_sums, labels)),
            subtract(score_counts(draws, labels), score_counts(other_draws, labels)),
        ),
        "changed": list_changed(rows, others, counts["seqeval"], other_counts["seqeval"]),
        "bootstrap": describe_bootstrap("sentences, in pairs"),
    }


def check_same_sentences(rows: list[dict], others: list[dict]) -> None:
    """Check that two sorted lists of rows have the same sentences and gold tags.

    Raises InputError.
    """
    if unshared := {row["id"] for row in rows} ^ {row["id"] for row in others}:
        raise InputError(
            f"the two files hold different sentences: {len(unshared):,} are in only one of them, "
            f"such as {min(unshared)}. Compare runs with the same --dataset, --split, "
            "--num_samples and --seed"
        )
    for row, other in zip(rows, others, strict=True):
        if (row["tokens"], row["gold"]) != (other["tokens"], other["gold"]):
            raise InputError(
                f"the two files hold different sentences: {row['id']} has other tokens or gold "
                "tags. Compare runs with the same --dataset and --split"
            )


def subtract(first: dict | np.ndarray, other: dict | np.ndarray) -> dict | np.ndarray:
    """Subtract nested figures, one by one."""
    if isinstance(first, dict):
        return {name: subtract(first[name], other[name]) for name in first}
    return first - other


def count_errors(counts: np.ndarray) -> list[int]:
    """Errors of each sentence: gold entities not predicted plus predicted ones that are not gold.

    Takes counts of shape (sentences, labels, 3).
    """
    right, predicted, gold = np.moveaxis(counts.sum(axis=1), -1, 0)
    return (predicted + gold - 2 * right).astype(int).tolist()


def list_changed(
    rows: list[dict], others: list[dict], counts: np.ndarray, other_counts: np.ndarray
) -> list[dict]:
    """Describe the sentences that two runs tag differently."""
    errors, other_errors = count_errors(counts), count_errors(other_counts)
    return [
        describe_change(row, other["tags"], row_errors, other_row_errors)
        for row, other, row_errors, other_row_errors in zip(
            rows, others, errors, other_errors, strict=True
        )
        if row["tags"] != other["tags"]
    ]


def describe_change(row: dict, other_tags: list[str], errors: int, other_errors: int) -> dict:
    """Describe one sentence that two runs tag differently.

    It has an `id`, a `verdict` on the first run ("better", "worse" or "as wrong"), the `errors` of
    both runs, and the tags `gold`, `first` and `other` in KLUE's notation.
    """
    if errors < other_errors:
        verdict = "better"
    elif errors > other_errors:
        verdict = "worse"
    else:
        verdict = "as wrong"
    tokens = row["tokens"]
    return {
        "id": row["id"],
        "verdict": verdict,
        "errors": {"first": errors, "other": other_errors},
        "gold": mark_entities(tokens, row["gold"]),
        "first": mark_entities(tokens, row["tags"]),
        "other": mark_entities(tokens, other_tags),
    }
