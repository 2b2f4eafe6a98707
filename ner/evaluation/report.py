"""Score or compare predictions files: print the figures and write the files beside the first."""

from collections.abc import Mapping
from pathlib import Path

from ner.evaluation.comparison import compare
from ner.evaluation.page.render import draw_systems, render_page
from ner.evaluation.predictions import read_answered, retag
from ner.evaluation.scores import compute_f1
from ner.evaluation.summary import score_rows
from ner.evaluation.systems import format_systems
from ner.evaluation.tables import (
    format_budget,
    format_comparison,
    format_confidence,
    format_scores,
    format_table,
)
from ner.files import check_writable, write_atomically, write_json
from ner.text.klue import LABELS


def report_predictions(path: Path, min_confidence: float = 0.0) -> dict:
    """Read a predictions file and report on it; see `write_report`. Returns the metrics."""
    settings, rows = read_answered(path)
    page = path.with_name("report.html")
    for output in (page, path.with_name("metrics.json")):
        check_writable(output)
    return write_report(path, settings, rows, page, min_confidence)


def write_report(
    path: Path,
    settings: dict,
    rows: list[dict],
    page: Path,
    min_confidence: float = 0.0,
    comparison: dict | None = None,
) -> dict:
    """Score the rows of the predictions file `path`, print the figures and write the page.

    Entities below the threshold `min_confidence` are left out. Also writes `metrics.json` beside
    `path`, with the settings under which the predictions were made. The page shows a `comparison`
    from `compare_systems`. Returns the metrics. Raises InputError if there is a threshold but no
    confidence.
    """
    complete = retag(rows, settings)
    retagged, metrics = score_rows(complete, settings, min_confidence)
    print(f"{format_table(retagged)}\n\n{format_scores(metrics)}\n\n{format_budget(metrics)}\n")
    if confidence := format_confidence(metrics):
        print(f"{confidence}\n")
    if change := describe_retagging(rows, complete):
        print(f"{change}\n")
    metrics_file = path.with_name("metrics.json")
    write_json(metrics_file, {"settings": settings} | metrics)
    write_atomically(page, render_page(retagged, metrics, settings, comparison))
    print(f"{metrics_file}\n{page}")
    return metrics


def describe_retagging(rows: list[dict], retagged: list[dict]) -> str:
    """How many sentences have other tags now than in the file; empty if none has."""
    tags = [row["tags"] for row in retagged]
    tags_in_file = [row.get("tags", new) for row, new in zip(rows, tags, strict=True)]
    changed = sum(old != new for old, new in zip(tags_in_file, tags, strict=True))
    if not changed:
        return ""
    f1 = compute_f1([row["gold"] for row in rows], tags_in_file)
    return (
        f"{changed:,} sentences are tagged differently than in the file. "
        f"With the tags in the file, F1 is {f1:.4f}"
    )


def write_comparison(
    path: Path,
    rows: list[dict],
    other: Path,
    others: list[dict],
    min_confidence: float = 0.0,
    labels: Mapping[str, str] = LABELS,
) -> None:
    """Compare the retagged rows of two predictions files and print the differences.

    The rows of the first file were tagged with the threshold `min_confidence`. `labels` are those
    of both. Also writes the differences to `comparison.json` beside `path`, the first file.
    """
    comparison = compare(rows, others, labels)
    threshold = ""
    if min_confidence:
        comparison = {"min_confidence": min_confidence} | comparison
        threshold = f", without entities below {min_confidence}"
    print(f"\nfirst: {path}{threshold}\nother: {other}\n\n{format_comparison(comparison)}\n")
    comparison_file = path.with_name("comparison.json")
    write_json(comparison_file, comparison)
    print(comparison_file)


def write_systems(path: Path, comparison: dict) -> None:
    """Print a comparison from `compare_systems`, and write it beside `path`, the first file.

    `systems.json` holds all figures, `systems.md` the table and `systems.svg` the picture.
    """
    table, picture = format_systems(comparison), draw_systems(comparison)
    print(f"\n{table}")
    write_json(path.with_name("systems.json"), comparison)
    write_atomically(path.with_name("systems.md"), table)
    write_atomically(path.with_name("systems.svg"), picture)
    for suffix in ("json", "md", "svg"):
        print(path.with_name(f"systems.{suffix}"))
