"""Fill `page.html` with the figures of a report."""

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from ner.evaluation.budget import TITLES, display_name
from ner.evaluation.definitions import SCORES
from ner.evaluation.page.sentences import KINDS, pack_sentence
from ner.evaluation.predictions import find_task, name_model
from ner.evaluation.published import PUBLISHED
from ner.text.klue import LABELS
from ner.text.task import is_klue

FOLDER = Path(__file__).parent
# A cell of the confusion matrix gets one shade darker with each of these shares of its row.
SHADES = (0, 0.01, 0.03, 0.1)
HUES = (215, 145, 275, 40, 345, 180)  # of the first labels
GOLDEN_ANGLE = 137.5  # degrees; keeps any number of hues apart


def render_page(
    rows: list[dict], metrics: dict, settings: dict, comparison: dict | None = None
) -> str:
    """Render the report as one self-contained HTML file.

    `rows` come from `retag` and `metrics` from `compute_metrics`. If there is a `comparison`, from
    `compare_systems`, the page shows it.
    """
    sentences = [pack_sentence(row) for row in rows]
    labels = find_task(settings).labels
    style = read_source("colors.css", "page.css", "systems.css") + color_labels(labels)
    script = read_source("page.js")
    right = sum(sentence["right"] for sentence in sentences)
    has_answers = "answers" in metrics["budget"]
    return load_template("page.html", labels=labels).render(
        model=name_model(settings),
        metrics=metrics,
        comparison=comparison,
        right=right,
        wrong=len(sentences) - right,
        labels=labels,
        score_definitions=SCORES,
        confusion=shade_confusion(metrics["confusion"], labels),
        budget=[stack_bar(group, counts) for group, counts in metrics["budget"].items()],
        curve=draw_curve(metrics["confidence"]["curve"]) if "confidence" in metrics else {},
        published=group_published() if is_klue(labels) else {},
        settings={name: write_setting(value) for name, value in settings.items()},
        has_answers=has_answers,
        kinds=KINDS if has_answers else {"Entities": KINDS["Entities"]},
        label_filters={
            "": list(labels),
            "Gold → predicted": list_confused(metrics["confusion"], labels),
        },
        # These are not escaped: files of our own, and JSON that `embed_json` made safe.
        style=Markup(style),
        script=Markup(script),
        data=Markup(embed_json(sentences)),
        security_policy=(
            f"default-src 'none'; style-src '{hash_source(style)}'; "
            f"script-src '{hash_source(script)}'; base-uri 'none'; form-action 'none'"
        ),
    )


def draw_systems(comparison: dict) -> str:
    """The picture of a comparison from `compare_systems`, as a self-contained SVG file."""
    style = read_source("colors.css", "systems.css")
    return load_template("systems.svg").render(comparison=comparison, own_style=Markup(style))


def read_source(*names: str) -> str:
    """Files of the page, one after the other."""
    return "".join((FOLDER / name).read_text(encoding="utf-8") for name in names)


def color_labels(labels: Iterable[str]) -> str:
    """Style rules with the hue of each label."""
    rules = []
    for number, label in enumerate(labels):
        hue = HUES[number] if number < len(HUES) else number * GOLDEN_ANGLE % 360
        rules.append(f'[data-label="{label}"] {{ --hue: {hue:g}; }}\n')
    return "".join(rules)


def load_template(name: str, folder: Path = FOLDER, labels: Mapping[str, str] = LABELS) -> Template:
    """A template, which escapes all text and fails if a value is missing."""
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["display_name"] = partial(display_name, labels=labels)
    environment.filters["thousands"] = "{:,}".format
    environment.filters["decimals"] = write_decimals
    return environment.get_template(name)


def write_decimals(value: float, digits: int) -> str:
    return f"{value:.{digits}f}"


def hash_source(content: str) -> str:
    """The hash of an inline style or script for a Content-Security-Policy."""
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def embed_json(value: object) -> str:
    """Write JSON that is safe inside a script element.

    No text in it can end the element or fail to be encoded as UTF-8.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return re.sub("[<>&\u2028\u2029\ud800-\udfff]", lambda match: f"\\u{ord(match[0]):04x}", text)


def write_setting(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def list_confused(confusion: dict[str, dict[str, int]], labels: Iterable[str]) -> list[str]:
    """The pairs of labels that were confused, such as "PS>OG"."""
    return [
        f"{gold}>{predicted}"
        for gold in labels
        for predicted in labels
        if gold != predicted and confusion[gold][predicted]
    ]


def shade_confusion(
    confusion: dict[str, dict[str, int]], labels: Iterable[str]
) -> dict[str, list[dict]]:
    """The cells of the confusion matrix, by gold label.

    Each has a `count` and a `predicted` label. Confused labels also have a `shade` from 1 to 4.
    """
    matrix = {}
    for gold, counts in confusion.items():
        total = max(sum(counts.values()), 1)
        matrix[gold] = []
        for predicted, count in counts.items():
            is_confused = gold != predicted and gold in labels and predicted in labels
            shade = sum(count > total * share for share in SHADES) if is_confused else 0
            matrix[gold].append({"count": count, "predicted": predicted, "shade": shade})
    return matrix


def stack_bar(group: str, counts: dict[str, int]) -> dict:
    """A group of the error budget with the parts of its bar, each with its start and percentage."""
    total = counts["total"]
    parts, start = [], 0
    for verdict, count in counts.items():
        if verdict == "total":
            continue
        percent = 100 * count / max(total, 1)
        parts.append({"verdict": verdict, "count": count, "start": start, "percent": percent})
        start += count
    return {"name": group, "title": TITLES[group], "total": total, "parts": parts}


def draw_curve(curve: list[dict]) -> dict[str, str]:
    """The points of each score's line, in a square of 100 by 100 whose origin is at its top."""
    lines = {}
    for name in ("precision", "recall", "f1"):
        points = [(100 * step["threshold"], 100 - 100 * step[name]) for step in curve]
        lines[name] = " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
    return lines


def group_published() -> dict[str, list[dict]]:
    """The published results by the score that they use."""
    groups = {}
    for result in PUBLISHED:
        groups.setdefault(result["score"], []).append(result)
    return groups
