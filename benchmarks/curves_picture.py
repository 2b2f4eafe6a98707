"""Draw learning curves as a self-contained SVG, for light and dark pages."""

import math
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from ner.evaluation.page.render import load_template, read_source

# The plot's edges in the picture's own units.
LEFT, RIGHT, TOP, BOTTOM = 56, 700, 60, 340
DASHES = ("none", "7 4", "2 4")  # of the first seeds
HUES = 5  # in the template


class Axes(NamedTuple):
    """The epochs from 0 and the tenths of F1 that a picture shows."""

    epochs: int
    lowest: int
    highest: int

    def place(self, epoch: float, f1: float) -> tuple[float, float]:
        """The place of a score, in the picture's own units."""
        x = LEFT + (RIGHT - LEFT) * epoch / self.epochs
        y = BOTTOM - (BOTTOM - TOP) * (10 * f1 - self.lowest) / (self.highest - self.lowest)
        return round(x, 1), round(y, 1)


def fit_axes(checkpoints: list[dict]) -> Axes:
    """The axes that show all checkpoints and their intervals."""
    # A run may end a few steps after its last whole epoch.
    epochs = math.ceil(max(each["epoch"] for each in checkpoints) - 0.1)
    lowest = math.floor(10 * min(each["f1"]["low"] for each in checkpoints))
    highest = math.ceil(10 * max(each["f1"]["high"] for each in checkpoints))
    return Axes(max(epochs, 1), lowest, max(highest, lowest + 1))


def draw_curves(curves: list[dict], recipe: str) -> str:
    """F1 over epochs, a line for each curve, with its 95 % intervals as a band.

    `curves` are those of `curves.json`. At least one has a checkpoint.
    """
    axes = fit_axes([each for curve in curves for each in curve["checkpoints"]])
    rates = list(dict.fromkeys(curve["learning_rate"] for curve in curves))
    seeds = list(dict.fromkeys(curve["seed"] for curve in curves))
    lines = [
        {
            "name": name_curve(curve, len(seeds)),
            "hue": rates.index(curve["learning_rate"]) % HUES,
            "dash": DASHES[seeds.index(curve["seed"]) % len(DASHES)],
            **place_curve(curve["checkpoints"], axes),
        }
        for curve in curves
    ]
    tenths = range(axes.lowest, axes.highest + 1)
    return load_template("curves.svg", Path(__file__).parent).render(
        colors=Markup(read_source("colors.css")),
        recipe=recipe,
        lines=lines,
        edges={"left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM},
        columns=[(epoch, axes.place(epoch, 0)[0]) for epoch in range(axes.epochs + 1)],
        rows=[(f"{tenth / 10:.1f}", axes.place(0, tenth / 10)[1]) for tenth in tenths],
    )


def place_curve(checkpoints: list[dict], axes: Axes) -> dict[str, list[tuple[float, float]]]:
    """The points of a curve, and the outline of the band around it."""
    low, points, high = (
        [axes.place(each["epoch"], each["f1"][bound]) for each in checkpoints]
        for bound in ("low", "value", "high")
    )
    return {"points": points, "band": low + high[::-1]}


def name_curve(curve: dict, seeds: int) -> str:
    """The curve's name in the legend."""
    name = f"learning rate {curve['learning_rate']:g}"
    if seeds > 1:
        name += f", seed {curve['seed']}"
    return name if curve["complete"] else f"{name} (not complete)"
