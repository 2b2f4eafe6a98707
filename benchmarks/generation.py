"""Measure how fast answers are generated: in batches, one at a time, with drafts, by precision.

Answers the same sentences in batches that share a prefix, and the first few of them one at a time,
as the post did. Marked answers are generated with several numbers of drafted tokens. Several
precisions are compared with the first one. Loads each adapter and its model as evaluate_hub.py
does, writes no file, and prints a table:

    python -m benchmarks.generation --model MODEL --adapter ADAPTER --num_samples 64
    python -m benchmarks.generation --model MODEL --adapter ADAPTER --marked_adapter MARKED_ADAPTER
    python -m benchmarks.generation --model MODEL --adapter ADAPTER --precision nf4 merged

A call of the model counts once for each sentence in its batch. The call that computes the prefix
does not count, and loading takes no part in the speed. In float32, an adapter gives the same
answers in all rows and batches. In other precisions, rounding may change some.
"""

import argparse
from statistics import fmean
from typing import TYPE_CHECKING

from ner.cli import InputError, build_parser, non_negative_int, positive_int, run_script
from ner.inference.building import build_local_recognizer
from ner.inference.flags import PRECISIONS, add_model_flags, add_sentence_flags

if TYPE_CHECKING:
    from benchmarks.generation_run import Timing
    from ner.inference.recognizer import LocalRecognizer
    from ner.text.answers import Answer

NAMES = {  # by whether answers copy the sentence, and whether exact copies are enforced
    (False, False): "JSON",
    (True, False): "marked",
    (True, True): "marked, constrained",
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = build_parser(__doc__)
    add_model_flags(parser)
    # Replaces evaluate_hub.py's --precision and --draft, which take one value.
    speed = parser.add_argument_group("speed", conflict_handler="resolve")
    speed.add_argument(
        "--marked_adapter",
        metavar="ID_OR_FOLDER",
        help="an adapter with marked answers, to compare with --adapter. It keeps its own prompt",
    )
    speed.add_argument(
        "--precision",
        choices=PRECISIONS,
        nargs="+",
        default=["nf4"],
        metavar="NAME",
        help="precisions of the base model, one row of the table for each: "
        f"{', '.join(PRECISIONS)} (default: nf4)",
    )
    speed.add_argument(
        "--draft",
        type=non_negative_int,
        nargs="+",
        default=[0, 4, 8, 16, 32],
        metavar="N",
        help="tokens of the sentence to draft for each call in marked answers, one row of the "
        "table for each (default: 0 4 8 16 32)",
    )
    speed.add_argument(
        "--single",
        type=positive_int,
        default=16,
        metavar="N",
        help="sentences to answer one at a time, which is slow",
    )
    add_sentence_flags(parser)
    args = parser.parse_args(argv)
    args.draft = sorted(set(args.draft))
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    # Imported after the flags are checked, because PyTorch takes a second.
    import torch

    from ner.evaluation.answering import draw_rows

    rows = draw_rows(args.dataset, args.split, args.num_samples, args.seed, args.labels, args.join)
    sentences = dict(enumerate("".join(tokens) for tokens in rows["tokens"]))
    recognizers = [each for name in args.precision for each in build_recognizers(args, name)]
    print_header(recognizers[0].batch_size)
    first, notes = {}, []
    for recognizer in recognizers:
        others = first.get(recognizer.adapter_name, {})
        answers, note = measure_answers(recognizer, sentences, args.draft, args.single, others)
        first.setdefault(recognizer.adapter_name, answers)
        notes.append(note)
    print(
        f"\n{len(sentences)} sentences, {min(args.single, len(sentences))} of them one at a time. "
        f"Threads: {torch.get_num_threads()}."
    )
    print(*notes, sep="\n")


def build_recognizers(args: argparse.Namespace, precision: str) -> list["LocalRecognizer"]:
    """The adapters to measure, without their weights. Raises InputError."""
    flags = {**vars(args), "precision": precision, "draft": None}
    recognizers = [build_local_recognizer(argparse.Namespace(**flags), args.dataset)]
    if args.marked_adapter:
        flags |= {"adapter": args.marked_adapter, "prompt": None}
        marked = build_local_recognizer(argparse.Namespace(**flags), args.dataset)
        if not marked.copies:
            raise InputError(
                f"{args.marked_adapter}: its prompt is {marked.task.prompt}, which asks for JSON. "
                "Pass an adapter that was trained on chats of data_processing.py --answer marked"
            )
        recognizers.append(marked)
    return recognizers


def print_header(batch_size: int) -> None:
    cells = [
        "answers",
        "precision",
        "drafted tokens",
        f"calls per sentence, {batch_size} at a time",
        "sentences per second",
        "calls per sentence, 1 at a time",
        "sentences per second",
        "answers that differ from 0 drafted",
        "from 1 at a time",
        "from the first precision",
    ]
    print(f"| {' | '.join(cells)} |", "|---" * len(cells) + "|", sep="\n")


def measure_answers(
    recognizer: "LocalRecognizer",
    sentences: dict[int, str],
    drafts: list[int],
    single: int,
    first: dict[int, list["Answer"]],
) -> tuple[dict[int, list["Answer"]], str]:
    """Print an adapter's rows of the table.

    `first` are its answers in the first precision, by the number of drafted tokens. Returns those
    in this precision, and a note about the adapter's prefix and its masks.
    """
    from benchmarks.generation_run import load_generator, time_answers

    generator = load_generator(recognizer)
    name = NAMES[recognizer.copies, recognizer.constrain]
    few = dict(list(sentences.items())[:single])
    answers, masks = {}, []
    for draft in drafts if recognizer.copies else [0]:
        generator.rules.draft = draft
        batched = time_answers(generator, recognizer, sentences, recognizer.batch_size)
        alone = time_answers(generator, recognizer, few, 1)
        cells = [name, recognizer.precision, str(draft), *format_speeds(batched, alone)]
        for others in (answers.get(0), alone.answers, first.get(draft)):
            cells.append(count_differences(batched.answers, others) if others else "")
        print(f"| {' | '.join(cells)} |", flush=True)
        answers[draft] = batched.answers
        masks.append(batched.masks)
    prefix = len(recognizer.find_prefix([]))
    note = f"{name}, {recognizer.precision}: the prompts share {prefix} tokens."
    if recognizer.constrain:
        note += (
            f" {fmean(masks):.2f} masks per sentence, one wherever the first choice is not allowed."
        )
    return answers, note


def format_speeds(*timings: "Timing") -> list[str]:
    """Two cells for each timing: calls per sentence, and sentences per second."""
    return [cell for each in timings for cell in (f"{each.calls:.1f}", f"{each.speed:.2f}")]


def count_differences(answers: list["Answer"], others: list["Answer"]) -> str:
    """How many of `others` have another text or end than the answer to the same sentence.

    There may be fewer of them. The last digits of probabilities may differ.
    """
    pairs = zip(answers[: len(others)], others, strict=True)
    return f"{sum(one[:3] != other[:3] for one, other in pairs)} of {len(others)}"


if __name__ == "__main__":
    run_script(main)
