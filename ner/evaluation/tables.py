"""The report as text for the terminal."""

from collections import Counter

from seqeval.metrics import classification_report

from ner.evaluation.budget import TITLES, display_name
from ner.evaluation.counts import list_entities
from ner.evaluation.definitions import SCORES
from ner.evaluation.scores import compute_f1


def format_table(rows: list[dict]) -> str:
    """seqeval's table and micro F1, as the post prints them."""
    gold, predicted = [row["gold"] for row in rows], [row["tags"] for row in rows]
    if not any(list_entities(tags) for tags in gold + predicted):
        return "no entities, neither gold nor predicted\n\nF1-Score: 0.0000"
    table = classification_report(gold, predicted, zero_division=0)
    return f"{table}\nF1-Score: {compute_f1(gold, predicted):.4f}"


def format_scores(metrics: dict) -> str:
    """Each F1 with its 95 % interval."""
    lines = [f"{'':<30}     F1   95 % interval, {metrics['sentences']:,} sentences"]
    for name, figures in metrics["scores"].items():
        f1 = figures["f1"]
        interval = f"{f1['low']:.4f} to {f1['high']:.4f}"
        lines.append(f"{SCORES[name]['title']:<30} {f1['value']:.4f}   {interval}")
    return "\n".join(lines)


def format_budget(metrics: dict) -> str:
    """The error budget, one line per group, without zero counts."""
    lines = []
    for group, counts in metrics["budget"].items():
        parts = [
            f"{display_name(verdict)} {count:,}"
            for verdict, count in counts.items()
            if verdict != "total" and count
        ]
        lines.append(f"{TITLES[group]:<20} {counts['total']:>6,}: {', '.join(parts) or 'none'}")
    if metrics["hit_token_limit"]:
        lines.append(f"{metrics['hit_token_limit']:,} answers reached the token limit")
    return "\n".join(lines)


def format_confidence(metrics: dict) -> str:
    """How good the confidence is, and what a threshold does; empty if there is no confidence."""
    if "confidence" not in metrics:
        return ""
    auroc = metrics["confidence"]["auroc"]
    ways = " and ".join(
        f"from {way['f1']:.4f} to {way['f1_with_threshold']:.4f} ({way['threshold']:.4f})"
        for way in metrics["confidence"]["halves"]
    )
    lines = [
        f"confidence: AUROC {'–' if auroc is None else f'{auroc:.4f}'}. "
        f"A threshold chosen on one half of the sentences changes the other's F1 {ways}"
    ]
    if threshold := metrics.get("min_confidence"):
        total = metrics["confidence"]["curve"][0]["entities"]
        unsure = metrics["unsure_entities"]
        lines.append(f"{unsure:,} of {total:,} entities are below {threshold} and left out")
    return "\n".join(lines)


def format_comparison(comparison: dict, limit: int = 10) -> str:
    """The differences with their intervals, and the `limit` sentences that changed most."""
    lines = [f"{'first minus other':<30}      F1   95 % interval"]
    for name, score in comparison["scores"].items():
        lines.append(format_difference(SCORES[name]["title"], score["f1"]))
    for label, score in comparison["per_label"].items():
        lines.append(format_difference(label, score["f1"]))
    lines.append("* The interval excludes 0. By chance, one in twenty does.\n")

    changed = comparison["changed"]
    verdicts = Counter(sentence["verdict"] for sentence in changed)
    lines.append(
        f"{len(changed):,} of {comparison['sentences']:,} sentences are tagged differently: "
        f"{verdicts['better']:,} better, {verdicts['worse']:,} worse, "
        f"{verdicts['as wrong']:,} as wrong"
    )
    for sentence in sorted(changed, key=measure_change, reverse=True)[:limit]:
        lines.append(
            f"\n{sentence['id']}: {sentence['verdict']}\n"
            f"    gold  {sentence['gold']}\n"
            f"    first {sentence['first']}\n"
            f"    other {sentence['other']}"
        )
    return "\n".join(lines)


def format_difference(title: str, f1: dict[str, float]) -> str:
    """One line of a comparison, with a star if the interval excludes 0."""
    star = "   *" if excludes_zero(f1) else ""
    return f"{title:<30} {f1['value']:+.4f}   {f1['low']:+.4f} to {f1['high']:+.4f}{star}"


def format_figure(figure: dict[str, float], sign: str = "") -> str:
    """A figure and its interval, for a cell of a table. `sign` is "+" for differences.

    >>> format_figure({"value": 0.5, "low": 0.25, "high": 0.75})
    '0.5000 (0.2500 to 0.7500)'
    """
    value, low, high = (f"{figure[name]:{sign}.4f}" for name in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def excludes_zero(difference: dict[str, float]) -> bool:
    """Whether the interval of a difference excludes 0."""
    return not difference["low"] <= 0 <= difference["high"]


def measure_change(sentence: dict) -> int:
    """By how many errors the two runs differ on a sentence."""
    return abs(sentence["errors"]["first"] - sentence["errors"]["other"])
