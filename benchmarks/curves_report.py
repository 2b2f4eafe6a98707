"""The files of `benchmarks.curves`: the learning curves and final scores so far."""

import argparse
from statistics import fmean

import numpy as np

from benchmarks import runs
from benchmarks.curves_picture import draw_curves
from benchmarks.curves_run import Run
from ner.evaluation.comparison import compare
from ner.evaluation.report import write_json
from ner.evaluation.scores import describe_bootstrap, estimate, score_draws
from ner.evaluation.tables import format_figure
from ner.files import write_atomically
from ner.training.validation_scores import read_scores

CURVES_HEADER = (
    "| learning rate | seed | step | epoch | F1 on held-out chats (95 %) | training loss |\n"
    "|---|---|---|---|---|---|"
)
FINAL_HEADER = (
    "| recipe | seed | learning rate | best step | F1 on held-out chats | F1 (95 %) | difference "
    "from the first row of the seed (95 %, paired) |\n|---|---|---|---|---|---|---|"
)


def describe_checkpoint(scores: dict) -> dict:
    """Turn the scores that train.py keeps into figures, F1 with its interval."""
    counts = np.array(scores["counts"], dtype=float)[:, None, :]  # one label for all entities
    figures = estimate(*score_draws({"seqeval": counts}, ["any"]))["scores"]["seqeval"]
    # train.py compares this value, and another formula can differ in the last digit.
    f1 = figures["f1"] | {"value": scores["f1"]}
    return {name: scores[name] for name in ("step", "epoch", "loss")} | {"f1": f1}


def read_curve(run: Run) -> dict:
    """A curve with the checkpoints so far. It is complete once its adapter is saved."""
    return {
        "learning_rate": run.learning_rate,
        "seed": run.seed,
        "complete": run.is_trained,
        "checkpoints": [describe_checkpoint(scores) for scores in read_scores(run.results)],
    }


def find_best(curve: dict) -> dict:
    """The checkpoint that train.py keeps: the first one with the best F1."""
    return max(curve["checkpoints"], key=lambda checkpoint: checkpoint["f1"]["value"])


def choose_rate(curves: list[dict]) -> float | None:
    """The learning rate with the best held-out F1, the mean of its complete curves.

    None if no curve is complete.
    """
    scores: dict[float, list[float]] = {}
    for curve in curves:
        if curve["complete"]:
            best = find_best(curve)["f1"]["value"]
            scores.setdefault(curve["learning_rate"], []).append(best)
    return max(scores, key=lambda rate: fmean(scores[rate])) if scores else None


def write_curves(args: argparse.Namespace, planned: list[Run]) -> list[dict]:
    """Write `curves.json`, `curves.md` and `curves.svg`. Returns the curves."""
    curves = [read_curve(run) for run in planned]
    names = ("model", "dataset", "answer", "epochs", "validation", "precision", "lora_dropout")
    content = {
        "settings": {name: getattr(args, name) for name in names},
        "bootstrap": describe_bootstrap("held-out chats"),
        "curves": curves,
    }
    write_json(args.work_dir / "curves.json", content)
    write_atomically(args.work_dir / "curves.md", format_curves(curves))
    if any(curve["checkpoints"] for curve in curves):
        picture = draw_curves(curves, planned[0].name)
        write_atomically(args.work_dir / "curves.svg", picture)
    return curves


def format_curves(curves: list[dict]) -> str:
    """The table of all checkpoints, then the curves that lack some."""
    lines = [CURVES_HEADER]
    for curve in curves:
        for checkpoint in curve["checkpoints"]:
            loss = checkpoint["loss"]
            cells = [
                f"{curve['learning_rate']:g}",
                str(curve["seed"]),
                str(checkpoint["step"]),
                f"{checkpoint['epoch']:.2f}",
                format_figure(checkpoint["f1"]),
                "" if loss is None else f"{loss:.4f}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    missing = [
        f"- learning rate {curve['learning_rate']:g}, seed {curve['seed']}: "
        f"{len(curve['checkpoints'])} checkpoints so far"
        for curve in curves
        if not curve["complete"]
    ]
    if missing:
        lines += ["", "Not complete yet:", "", *missing]
    return "\n".join(lines) + "\n"


def describe_row(run: Run, first: list[dict] | None) -> tuple[dict, list[dict]]:
    """The figures of a final row, and its tagged sentences, to compare others with.

    `first` are the sentences of the seed's first row; None for this row itself.
    """
    rows, metrics = runs.score_predictions(run.predictions)
    labels = dict.fromkeys(metrics["per_label"], "")
    difference = compare(rows, first, labels)["scores"]["seqeval"]["f1"] if first else None
    best = find_best(read_curve(run))
    return {
        "recipe": run.name,
        "learning_rate": run.learning_rate,
        "seed": run.seed,
        "step": best["step"],
        "held_out_f1": best["f1"],
        "sentences": metrics["sentences"],
        "f1": metrics["scores"]["seqeval"]["f1"],
        "difference": difference,
    }, rows


def write_final(args: argparse.Namespace, planned: list[Run]) -> None:
    """Write `final.json` and `final.md` from the rows that are scored so far."""
    figures, first = [], {}
    for run in planned:
        if run.is_scored:
            row, tagged = describe_row(run, first.get(run.seed))
            first.setdefault(run.seed, tagged)
            figures.append(row)
    write_json(args.work_dir / "final.json", {"rows": figures})
    table = "\n".join([FINAL_HEADER, *map(format_row, figures)]) + "\n"
    write_atomically(args.work_dir / "final.md", table)


def format_row(row: dict) -> str:
    difference = row["difference"]
    cells = [
        row["recipe"],
        str(row["seed"]),
        f"{row['learning_rate']:g}",
        str(row["step"]),
        format_figure(row["held_out_f1"]),
        format_figure(row["f1"]),
        format_figure(difference, "+") if difference else "",
    ]
    return f"| {' | '.join(cells)} |"
