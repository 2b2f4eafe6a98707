"""The model and the threshold that the flags of a script choose."""

import argparse
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

from ner.cli import InputError
from ner.model.adapter import (
    find_adapter,
    find_record_folder,
    read_adapter_task,
    read_min_confidence,
)
from ner.text.answers import Answer
from ner.text.klue import LABELS
from ner.text.labels import read_label_file
from ner.text.task import Task, check_marked, choose_task

if TYPE_CHECKING:
    from ner.inference.recognizer import LocalRecognizer


class SentenceRecognizer(Protocol):
    """A model that finds the named entities of sentences.

    `ner.tagging` has the `Recognizer` of longer texts, which asks such a model.
    """

    task: Task
    max_new_tokens: int  # the limit of an answer

    @property
    def settings(self) -> dict:
        """Everything the answers depend on."""

    def answer(self, sentences: dict[int, str]) -> Iterator[Answer]:
        """Yield answers by the sentences' indices, in any order."""


def choose_min_confidence(args: argparse.Namespace) -> float:
    """The confidence below which names are left out. Raises InputError if none is saved."""
    if args.min_confidence != "saved":
        return args.min_confidence
    source = None
    if not args.endpoint:
        source = find_record_folder(find_adapter(args.adapter), args.model)
    threshold = read_min_confidence(source) if source else None
    if threshold is None:
        raise InputError(
            f"--min_confidence saved: no threshold is saved with {args.endpoint or args.adapter}. "
            "Pass a number from 0 to 1, or an adapter that train.py trained with --validation"
        )
    from ner.model.process import get_process

    get_process().print(f"threshold {threshold}, saved with the adapter")
    return threshold


def choose_flagged_task(
    args: argparse.Namespace, recorded: Task | None, labels: Mapping[str, str]
) -> Task:
    """The task by the flags. See `choose_task`."""
    if args.label_file:
        labels = read_label_file(args.label_file)
    return choose_task(recorded, labels, args.prompt, args.prompt_file, args.answer)


def build_recognizer(
    args: argparse.Namespace, dataset: str | None = None, labels: Mapping[str, str] = LABELS
) -> SentenceRecognizer:
    """The model to ask: one on a server, or one on this machine.

    The training answers of `dataset`, if given, decide the token limit of a model on this machine.
    `labels` are those to ask for if neither the adapter nor --label_file has any.
    """
    if not args.endpoint:
        return build_local_recognizer(args, dataset, labels)
    from ner.inference.endpoint import EndpointRecognizer

    return EndpointRecognizer(
        args.endpoint,
        args.model,
        choose_flagged_task(args, None, labels),
        args.max_new_tokens,
        args.concurrency,
        constrain=bool(args.constrain),
        require_logprobs=bool(args.min_confidence),
    )


def build_local_recognizer(
    args: argparse.Namespace, dataset: str | None, labels: Mapping[str, str] = LABELS
) -> "LocalRecognizer":
    adapter = find_adapter(args.adapter)
    source = find_record_folder(adapter, args.model)
    recorded = read_adapter_task(source) if source else None
    task = choose_flagged_task(args, recorded, labels)
    if args.draft:
        check_marked(task, "--draft")
    # Imported after the adapter is found: PyTorch and PEFT take seconds.
    from ner.inference.recognizer import LocalRecognizer, find_recognizer_base

    return LocalRecognizer(
        base=find_recognizer_base(adapter, args.adapter, args.model, args.revision),
        precision=args.precision,
        adapter=adapter,
        adapter_name=args.adapter,
        task=task,
        batch_size=args.batch_size,
        max_new_tokens=args.max_new_tokens,
        dataset=dataset,
        tag_names=args.labels if dataset else None,
        join=args.join if dataset else "auto",
        constrain=args.constrain,
        draft=args.draft,
    )
