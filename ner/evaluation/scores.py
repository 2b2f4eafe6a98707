"""Precision, recall and F1 from counts, and their 95 % intervals by bootstrap."""

from collections.abc import Iterable

import numpy as np
from seqeval.metrics import f1_score

from ner.evaluation.counts import Counts, sum_sentences
from ner.text.klue import LABELS

RESAMPLES = 1000
SEED = 42
BATCH = 100  # resamples at a time, to bound memory


def compute_f1(gold: list[list[str]], predicted: list[list[str]]) -> float:
    """Micro F1 in seqeval's default mode, as in the post.

    Tags are lists of IOB2 strings, one list per sentence.
    """
    return f1_score(gold, predicted, zero_division=0)


def divide(numerator: np.ndarray, denominator: np.ndarray, empty: float = 0.0) -> np.ndarray:
    """Divide element by element. The result is `empty` where the denominator is 0."""
    quotient = np.full(np.shape(denominator), empty)
    return np.divide(numerator, denominator, out=quotient, where=denominator > 0)


def compute_scores(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Precision, recall and F1 from counts of shape (…, 3).

    A score is 0 if there is nothing to count, as in seqeval.
    """
    right, predicted, gold = np.moveaxis(counts, -1, 0)
    return {
        "precision": divide(right, predicted),
        "recall": divide(right, gold),
        "f1": divide(2 * right, predicted + gold),
    }


def average_scores(name: str, counts: np.ndarray) -> dict[str, np.ndarray]:
    """The score `name` from its counts of shape (…, labels, 3).

    Micro averages have precision, recall and F1. KLUE's two macro averages have F1 only.
    """
    right, predicted, gold = np.moveaxis(counts, -1, 0)
    if name == "klue_entity":
        # As in seqeval, only labels that occur are averaged.
        f1 = divide(2 * right, predicted + gold)
        occurs = predicted + gold > 0
        return {"f1": divide(f1.sum(axis=-1), occurs.sum(axis=-1))}
    if name == "klue_character":
        # KLUE calls scikit-learn with zero_division=True.
        return {"f1": divide(2 * right, predicted + gold, empty=1.0).mean(axis=-1)}
    return compute_scores(counts.sum(axis=-2))


def score_counts(
    counts: Counts, labels: Iterable[str] = LABELS
) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """All scores from counts of shape (…, labels, 3).

    `scores` holds each score by its name, `per_label` seqeval's default mode by label.
    """
    by_label = compute_scores(counts["seqeval"])
    per_label = {}
    for position, label in enumerate(labels):
        per_label[label] = {figure: values[..., position] for figure, values in by_label.items()}
    scores = {name: average_scores(name, values) for name, values in counts.items()}
    return {"scores": scores, "per_label": per_label}


def resample(counts: Counts) -> Counts:
    """Draw the same number of sentences with replacement and add up their counts, RESAMPLES times.

    Takes counts of shape (sentences, labels, 3) and returns (resamples, labels, 3). The draws
    depend only on the number of sentences, so two runs on the same sentences are drawn in pairs.
    """
    sentences = len(counts["seqeval"])
    generator = np.random.default_rng(SEED)
    sums = {name: [] for name in counts}
    for _ in range(RESAMPLES // BATCH):
        times = generator.multinomial(sentences, np.full(sentences, 1 / sentences), size=BATCH)
        for name, values in counts.items():
            sums[name].append(np.tensordot(times.astype(float), values, axes=1))
    return {name: np.concatenate(parts) for name, parts in sums.items()}


def score_draws(counts: Counts, labels: Iterable[str] = LABELS) -> tuple[dict, dict]:
    """All scores of the sentences, and those of each resample. `counts` are by sentence."""
    values = score_counts(sum_sentences(counts), labels)
    return values, score_counts(resample(counts), labels)


def estimate(values: dict | np.ndarray, resampled: dict | np.ndarray) -> dict:
    """Turn every figure of a nested dictionary into `value`, `low` and `high`.

    `low` and `high` bound the middle 95 % of the resampled values.
    """
    if isinstance(values, dict):
        return {name: estimate(values[name], resampled[name]) for name in values}
    low, high = np.quantile(resampled, [0.025, 0.975])
    return {"value": float(values), "low": float(low), "high": float(high)}


def describe_bootstrap(over: str) -> dict:
    """How the intervals were computed, for the output files."""
    return {"over": over, "resamples": RESAMPLES, "seed": SEED, "level": 0.95}
