"""Compare several systems on the same sentences: their figures, and a table for a README."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ner.evaluation.comparison import estimate_difference
from ner.evaluation.counts import count_sentences
from ner.evaluation.predictions import name_model, retag
from ner.evaluation.scores import describe_bootstrap, estimate, score_draws
from ner.evaluation.tables import excludes_zero, format_figure
from ner.text.klue import LABELS


class System(NamedTuple):
    """A predictions file: its name in tables, its place and its retagged rows."""

    name: str
    path: Path
    rows: list[dict]


def build_systems(
    paths: Sequence[Path],
    files: Sequence[tuple[dict, list[dict]]],
    names: Sequence[str] | None = None,
) -> list[System]:
    """Retag the files, whose settings and rows are in `files`. Without `names`, their models'."""
    names = name_systems(names or [name_model(settings) for settings, _ in files], paths)
    return [
        System(name, path, retag(rows, settings))
        for name, path, (settings, rows) in zip(names, paths, files, strict=True)
    ]


def name_systems(models: Sequence[str], paths: Sequence[Path]) -> list[str]:
    """The name of each file's model, with its folder or else its path where two are the same."""
    models = [clean_name(model) for model in models]
    names = models
    for places in ([path.resolve().parent.name for path in paths], paths):
        repeated = Counter(names)
        names = [
            name if repeated[name] == 1 else clean_name(f"{model} ({place})")
            for name, model, place in zip(names, models, places, strict=True)
        ]
    return names


def clean_name(name: str) -> str:
    """A name on one line, without characters that an SVG file cannot hold."""
    shown = "".join(character if character.isprintable() else " " for character in name)
    return " ".join(shown.split())


def compare_systems(systems: Sequence[System], labels: Mapping[str, str] = LABELS) -> dict:
    """Score systems on the same sentences, as `systems.json` holds the figures.

    - `sentences`: their number;
    - `systems`: in the order of the files, each with its `name`, its `file`, and `scores` and
      `per_label` as in `compute_metrics`. All but the first also have `difference`, their figures
      minus the first one's, by the paired bootstrap of `compare`;
    - `bootstrap`: how the intervals were computed.

    `labels` are those of all systems: descriptions by name.
    """
    draws = [score_draws(count_sentences(system.rows, labels), labels) for system in systems]
    described = []
    for number, system in enumerate(systems):
        figures = {"name": system.name, "file": str(system.path), **estimate(*draws[number])}
        if number:
            figures["difference"] = estimate_difference(draws[number], draws[0])
        described.append(figures)
    return {
        "sentences": len(systems[0].rows),
        "systems": described,
        "bootstrap": describe_bootstrap("sentences, in pairs"),
    }


def format_systems(comparison: dict) -> str:
    """The F1 of each system and label, and the differences, as a table in Markdown."""
    systems = comparison["systems"]
    differences = [format_difference(system["difference"]) for system in systems[1:]]
    rows = [
        ["", *(escape_markdown(system["name"]) for system in systems)],
        ["F1", *(format_figure(system["scores"]["seqeval"]["f1"]) for system in systems)],
        ["difference from the first", "", *differences],
    ]
    for label in systems[0]["per_label"]:
        figures = [format_figure(system["per_label"][label]["f1"]) for system in systems]
        rows.append([escape_markdown(label), *figures])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * width for width in widths])
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    return "\n".join(lines) + (
        f"\n\nF1 is seqeval's micro average on the same {comparison['sentences']:,} sentences. In "
        "parentheses is its 95 % bootstrap interval,\nand that of the paired difference. A star "
        "means that the interval excludes 0. By chance, one in twenty does.\n"
    )


def format_difference(difference: dict) -> str:
    f1 = difference["scores"]["seqeval"]["f1"]
    return format_figure(f1, "+") + (" *" if excludes_zero(f1) else "")


def escape_markdown(text: str) -> str:
    """Text that Markdown shows as it is, in a cell of a table."""
    return re.sub(r"([\\`*\[\]<>&|~])", r"\\\1", text)
