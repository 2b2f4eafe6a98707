"""The runs of `benchmarks.curves`: those of the curves, and those of the final table."""

import argparse
import math
from itertools import product
from pathlib import Path
from typing import NamedTuple

from benchmarks import runs
from benchmarks.recipe import CHAT
from ner.text.chats import load_chats
from ner.training.run import CHATS_PER_STEP


class Condition(NamedTuple):
    """A recipe: its name, its kind of answer, further flags of train.py, and a rate of its own."""

    name: str
    answer: str
    flags: tuple[str, ...] = ()
    learning_rate: float | None = None


CONDITIONS = {
    "marked": Condition("ours, marked answers", "marked"),
    "json": Condition("ours, JSON answers", "json"),
    "post": Condition(
        "the post's: JSON, loss on the whole chat, LoRA on q, k, v",
        "json",
        (*CHAT, "--lora_targets", "qkv"),
        2e-4,
    ),
}


class Run(NamedTuple):
    """An adapter to train, and its folder."""

    condition: str
    learning_rate: float
    seed: int
    folder: Path

    @property
    def name(self) -> str:
        return CONDITIONS[self.condition].name

    @property
    def results(self) -> Path:
        return self.folder / "results"

    @property
    def is_trained(self) -> bool:
        return (self.folder / "adapter").is_dir()

    @property
    def predictions(self) -> Path:
        return self.folder / "evaluation" / "predictions.jsonl"

    @property
    def is_scored(self) -> bool:
        return self.predictions.with_name("metrics.json").is_file()


def plan_run(args: argparse.Namespace, condition: str, learning_rate: float, seed: int) -> Run:
    rate = CONDITIONS[condition].learning_rate or learning_rate
    return Run(condition, rate, seed, args.work_dir / f"{condition}-{rate:g}-{seed}")


def list_curves(args: argparse.Namespace) -> list[Run]:
    pairs = product(args.learning_rates, args.seeds)
    return [plan_run(args, args.answer, rate, seed) for rate, seed in pairs]


def list_rows(args: argparse.Namespace, learning_rate: float) -> list[Run]:
    """The runs of the final table, seed by seed."""
    return [
        plan_run(args, condition, learning_rate, seed)
        for seed in args.final_seeds
        for condition in args.rows
    ]


def train_run(args: argparse.Namespace, run: Run) -> Path:
    """Train the adapter of a run, if there is none yet. Returns it.

    All runs have the same number of steps, although train.py leaves out chats that are too long.
    """
    condition = CONDITIONS[run.condition]
    chats = runs.write_chats(
        args.work_dir / f"{condition.answer}.jsonl",
        args.dataset,
        *("--answer", condition.answer, *runs.list_corpus_flags(args)),
    )
    epoch = math.ceil(max(len(load_chats(chats)) - args.validation, 1) / CHATS_PER_STEP)
    return runs.train_kind(
        args,
        run.folder,
        chats,
        *("--max_steps", epoch * args.epochs, "--save_steps", math.ceil(epoch / args.checkpoints)),
        *("--logging_steps", 10, "--seed", run.seed, "--learning_rate", run.learning_rate),
        *condition.flags,
    )


def evaluate_run(args: argparse.Namespace, run: Run) -> Path:
    """Train and evaluate an adapter. Returns its predictions. Skips steps that are complete."""
    return runs.evaluate_adapter(
        train_run(args, run),
        run.predictions.parent,
        *("--dataset", args.dataset, *runs.list_corpus_flags(args)),
        *("--num_samples", args.num_samples, "--precision", args.precision),
    )
