"""Compare two runs on the same sentences."""

from collections.abc import Mapping

import numpy as np

from ner.evaluation.counts import count_sentences
from ner.evaluation.predictions import check_same_sentences
from ner.evaluation.scores import describe_bootstrap, estimate, score_draws
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
    scores, other_scores = score_draws(counts, labels), score_draws(other_counts, labels)
    return {
        "sentences": len(rows),
        **estimate_difference(scores, other_scores),
        "changed": list_changed(rows, others, counts["seqeval"], other_counts["seqeval"]),
        "bootstrap": describe_bootstrap("sentences, in pairs"),
    }


def estimate_difference(scores: tuple[dict, dict], others: tuple[dict, dict]) -> dict:
    """The first run's scores minus the other's, with intervals. Both come from `score_draws`."""
    return estimate(*map(subtract, scores, others))


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
