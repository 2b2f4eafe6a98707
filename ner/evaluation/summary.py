"""All figures of a report, as `metrics.json` holds them."""

from collections.abc import Mapping

from ner.evaluation.budget import count_budget, count_confusion
from ner.evaluation.confidence import count_unsure, describe_confidence
from ner.evaluation.counts import count_sentences, sum_sentences
from ner.evaluation.predictions import find_task, retag
from ner.evaluation.scores import describe_bootstrap, estimate, score_draws
from ner.text.klue import LABELS


def score_rows(
    complete: list[dict], settings: dict, min_confidence: float = 0.0
) -> tuple[list[dict], dict]:
    """Apply a threshold to rows that come from `retag` without one.

    Returns the rows with the threshold, and their metrics. Raises InputError if there is a
    threshold but no confidence.
    """
    rows = retag(complete, settings, min_confidence) if min_confidence else complete
    return rows, compute_metrics(rows, min_confidence, complete, find_task(settings).labels)


def compute_metrics(
    rows: list[dict],
    min_confidence: float = 0.0,
    complete: list[dict] | None = None,
    labels: Mapping[str, str] = LABELS,
) -> dict:
    """Compute all figures from rows with `tags` and `diagnosis`, in any order.

    `labels` are descriptions by name.

    If the rows were tagged with a threshold `min_confidence`, `complete` are the same rows without
    one.

    - `min_confidence`: the threshold, if there is one. It applies to all figures but `confidence`;
    - `unsure_entities`: how many tagged entities it left out, if there is one;
    - `sentences`, `gold_entities`, `predicted_entities` (as tagged) and `hit_token_limit` (answers
      without an end marker);
    - `scores`: by the names in SCORES, each with `f1` and, except for KLUE's two, `precision` and
      `recall`. KLUE's two are only there for KLUE's labels. Each figure has a `value` and the
      bounds of its 95 % interval, `low` and `high`;
    - `per_label`: the same three figures by label in seqeval's default mode, and the counts
      `right`, `predicted` and `support`;
    - `confusion`: see `count_confusion`;
    - `budget`: see `count_budget`;
    - `confidence`: see `describe_confidence`; absent if a row has no `pieces`;
    - `bootstrap`: how the intervals were computed.
    """
    counts = count_sentences(rows, labels)
    totals = sum_sentences(counts)
    figures = estimate(*score_draws(counts, labels))
    for label_figures, label_counts in zip(
        figures["per_label"].values(), totals["seqeval"].astype(int).tolist(), strict=True
    ):
        right, predicted, gold = label_counts
        label_figures.update(right=right, predicted=predicted, support=gold)
    metrics = {}
    if min_confidence:
        unsure = count_unsure(complete, min_confidence)
        metrics = {"min_confidence": min_confidence, "unsure_entities": unsure}
    metrics |= {
        "sentences": len(rows),
        "gold_entities": int(totals["seqeval"][:, 2].sum()),
        "predicted_entities": int(totals["seqeval"][:, 1].sum()),
        "hit_token_limit": sum(not row.get("stopped", True) for row in rows),
        **figures,
        "confusion": count_confusion(rows, labels),
        "budget": count_budget(rows),
        "bootstrap": describe_bootstrap("sentences"),
    }
    if all("pieces" in row for row in rows):
        metrics["confidence"] = describe_confidence(complete or rows)
    return metrics
