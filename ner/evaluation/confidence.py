"""How well the confidence of an entity tells whether it is right, and what a threshold gains."""

import numpy as np
from sklearn.metrics import roc_auc_score

from ner.evaluation.counts import list_entities
from ner.text.confidence import choose_threshold, list_confidences

MAX_THRESHOLDS = 101
BINS = 10

Entities = list[tuple[float, bool]]  # the confidence of each tagged entity, and whether it is right


def describe_confidence(rows: list[dict]) -> dict:
    """The figures on the confidence of all tagged entities, further occurrences included.

    The rows come from `retag` without a threshold, and all have `pieces`.

    - `auroc`: how often a right entity has a higher confidence than a wrong one, where a tie counts
      half; None unless there are both;
    - `curve`: at some thresholds, the lowest one first, how many `entities` are kept and their
      `precision`, `recall` and `f1`, micro averages. With tokens of several characters, an entity
      that is left out may free a token for another one, which the curve does not show;
    - `halves`: see `cross_check`;
    - `calibration`: see `calibrate`.
    """
    sentences = [count_sentence(row) for row in sorted(rows, key=lambda row: row["id"])]
    entities, gold = merge(sentences)
    confidences = [confidence for confidence, _ in entities]
    right = [is_right for _, is_right in entities]
    return {
        "auroc": float(roc_auc_score(right, confidences)) if len(set(right)) == 2 else None,
        "curve": [
            {"threshold": threshold, **score_kept(entities, gold, threshold)}
            for threshold in list_thresholds(confidences)
        ],
        "halves": cross_check(sentences),
        "calibration": calibrate(entities),
    }


def count_sentence(row: dict) -> tuple[Entities, int]:
    """The tagged entities of a row without a threshold, and the number of gold entities."""
    gold = list_entities(row["gold"])
    return list_confidences(row["tags"], row["diagnosis"], row["tokens"], gold), len(gold)


def merge(sentences: list[tuple[Entities, int]]) -> tuple[Entities, int]:
    """The entities of several sentences, and the number of their gold entities."""
    entities = [entity for found, _ in sentences for entity in found]
    return entities, sum(gold for _, gold in sentences)


def count_unsure(rows: list[dict], min_confidence: float) -> int:
    """How many tagged entities of rows without a threshold are below this one."""
    entities, _ = merge([count_sentence(row) for row in rows])
    return sum(confidence < min_confidence for confidence, _ in entities)


def list_thresholds(confidences: list[float]) -> list[float]:
    """0, which keeps everything, and confidences at evenly spaced ranks."""
    ranked = [0.0, *sorted(confidences)]
    count = min(len(ranked), MAX_THRESHOLDS)
    ranks = np.linspace(0, len(ranked) - 1, count).round().astype(int)
    return sorted({ranked[rank] for rank in ranks})


def score_kept(entities: Entities, gold: int, threshold: float) -> dict:
    """How many entities reach the threshold, and their precision, recall and F1."""
    kept = [is_right for confidence, is_right in entities if confidence >= threshold]
    right = sum(kept)
    return {
        "entities": len(kept),
        "precision": right / max(len(kept), 1),
        "recall": right / max(gold, 1),
        "f1": 2 * right / max(len(kept) + gold, 1),
    }


def cross_check(sentences: list[tuple[Entities, int]]) -> list[dict]:
    """Choose the threshold on one half of the sentences and apply it to the other, both ways.

    The halves are every other sentence. Each way has the `threshold`, and of the other half `f1`
    without a threshold and `f1_with_threshold`.
    """
    halves = [merge(sentences[start::2]) for start in (0, 1)]
    ways = []
    for chosen, (entities, gold) in zip(halves, reversed(halves), strict=True):
        threshold = choose_threshold(*chosen)
        ways.append(
            {
                "threshold": threshold,
                "f1": score_kept(entities, gold, 0.0)["f1"],
                "f1_with_threshold": score_kept(entities, gold, threshold)["f1"],
            }
        )
    return ways


def calibrate(entities: Entities) -> dict:
    """Compare the confidence of entities with the share that is right (Guo et al. 2017).

    `bins` are up to ten of equal width, without empty ones. Each holds the confidences from `low`
    up to `high` and has the number of `entities`, their mean `confidence` and the share that is
    `right`. `error` is the expected calibration error: the mean difference of these two, weighted
    by the entities; None without entities.
    """
    bins, error = [], 0.0
    for position in range(BINS):
        members = [
            entity for entity in entities if min(int(entity[0] * BINS), BINS - 1) == position
        ]
        if not members:
            continue
        confidence, right = np.mean(members, axis=0).tolist()
        error += abs(confidence - right) * len(members) / len(entities)
        bins.append(
            {
                "low": position / BINS,
                "high": (position + 1) / BINS,
                "entities": len(members),
                "confidence": confidence,
                "right": right,
            }
        )
    return {"error": error if entities else None, "bins": bins}
