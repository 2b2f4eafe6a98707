"""Measure how fast answers are generated: in batches and one at a time, and with drafts.

Answers the same sentences in batches that share a prefix, and the first few of them one at a time,
as the post did. Marked answers are generated with several numbers of drafted tokens. Loads each
adapter and its model as evaluate_hub.py does, writes no file, and prints a table:

    python -m benchmarks.generation --model MODEL --adapter ADAPTER --num_samples 64
    python -m benchmarks.generation --model MODEL --adapter ADAPTER --marked_adapter MARKED_ADAPTER

A call of the model counts once for each sentence in its batch. The call that computes the prefix
does not count, and loading takes no part in the speed. In float32, an adapter gives the same
answers in all rows and batches. In other precisions, rounding may change some.
"""

import argparse
from statistics import fmean
from typing import TYPE_CHECKING

from ner.cli import InputError, build_parser, non_negative_int, positive_int, run_script
from ner.evaluation.building import build_local_recognizer
from ner.evaluation.flags import add_model_flags, add_sentence_flags

if TYPE_CHECKING:
    from benchmarks.generation_run import Timing
    from ner.evaluation.recognizer import LocalRecognizer
    from ner.text.answers import Answer

NAMES = {  # by whether answers copy the sentence, and whether exact copies are enforced
    (False, False): "JSON",
    (True, False): "marked",
    (True, True): "marked, constrained",
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = build_parser(__doc__)
    add_model_flags(parser)
    # Replaces the --draft of evaluate_hub.py, which takes one number.
    speed = parser.add_argument_group("speed", conflict_handler="resolve")
    speed.add_argument(
        "--marked_adapter",
        metavar="ID_OR_FOLDER",
        help="an adapter with marked answers, to compare with --adapter. It keeps its own prompt",
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

    rows = draw_rows(args.dataset, args.split, args.num_samples, args.seed)
    sentences = dict(enumerate("".join(tokens) for tokens in rows["tokens"]))
    recognizers = build_recognizers(args)
    print_header(recognizers[0].batch_size)
    notes = [measure_answers(each, sentences, args.draft, args.single) for each in recognizers]
    print(
        f"\n{len(sentences)} sentences, {min(args.single, len(sentences))} of them one at a time. "
        f"Precision {args.precision}, threads {torch.get_num_threads()}."
    )
    print(*notes, sep="\n")


def build_recognizers(args: argparse.Namespace) -> list["LocalRecognizer"]:
    """The adapters to measure, without their weights. Raises InputError."""
    flags = {**vars(args), "draft": None}
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
        "drafted tokens",
        f"calls per sentence, {batch_size} at a time",
        "sentences per second",
        "calls per sentence, 1 at a time",
        "sentences per second",
        "answers that differ from 0 drafted",
        "from 1 at a time",
    ]
    print(f"| {' | '.join(cells)} |", "|---" * len(cells) + "|", sep="\n")


def measure_answers(
    recognizer: "LocalRecognizer", sentences: dict[int, str], drafts: list[int], single: int
) -> str:
    """Print an adapter's rows of the table. Returns a note about its prefix and its masks."""
    from benchmarks.generation_run import load_generator, time_answers

    generator = load_generator(recognizer)
    name = NAMES[recognizer.copies, recognizer.constrain]
    few = dict(list(sentences.items())[:single])
    undrafted, masks = None, []
    for draft in drafts if recognizer.copies else [0]:
        generator.rules.draft = draft
        batched = time_answers(generator, recognizer, sentences, recognizer.batch_size)
        alone = time_answers(generator, recognizer, few, 1)
        print(format_row(name, draft, batched, alone, undrafted), flush=True)
        undrafted = batched if draft == 0 else undrafted
        masks.append(batched.masks)
    note = f"{name}: the prompts share {len(recognizer.find_prefix([]))} tokens."
    if recognizer.constrain:
        note += (
            f" {fmean(masks):.2f} masks per sentence, one wherever the first choice is not allowed."
        )
    return note


def format_row(
    name: str, draft: int, batched: "Timing", alone: "Timing", undrafted: "Timing | None"
) -> str:
    cells = [
        name,
        str(draft),
        f"{batched.calls:.1f}",
        f"{batched.speed:.2f}",
        f"{alone.calls:.1f}",
        f"{alone.speed:.2f}",
        count_differences(batched.answers, undrafted.answers) if undrafted else "",
        count_differences(batched.answers[: len(alone.answers)], alone.answers),
    ]
    return f"| {' | '.join(cells)} |"


def count_differences(answers: list["Answer"], others: list["Answer"]) -> str:
    """How many answers have another text or end. The last digits of probabilities may differ."""
    pairs = zip(answers, others, strict=True)
    return f"{sum(one[:3] != other[:3] for one, other in pairs)} of {len(answers)}"


if __name__ == "__main__":
    run_script(main)
