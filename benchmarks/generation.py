"""Measure how much faster batches and a shared prefix make generation.

Answers the same sentences one at a time, as the post did, and in batches. Loads a model and its
adapter as evaluate_hub.py does and writes no file. Prints sentences per second, the ratio, and how
many answers differ:

    python -m benchmarks.generation --model MODEL --adapter ADAPTER --num_samples 64
"""

import argparse
import time
from typing import TYPE_CHECKING

from evaluate_hub import add_model_flags, add_sentence_flags, build_local_recognizer
from ner.cli import build_parser, run_script

if TYPE_CHECKING:
    from ner.evaluation.recognizer import LocalRecognizer
    from ner.model.generation import AnswerGenerator
    from ner.text.answers import Answer

Prompts = dict[int, list[int]]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = build_parser(__doc__)
    add_model_flags(parser)
    add_sentence_flags(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    # Imported after the flags are checked, because PyTorch takes a second.
    import torch

    from ner.evaluation.answering import draw_rows

    rows = draw_rows(args.dataset, args.split, args.num_samples, args.seed)
    recognizer = build_local_recognizer(args, args.dataset)
    generator = recognizer.load_generator()
    sentences = ["".join(tokens) for tokens in rows["tokens"]]
    prefix = compare_speeds(generator, recognizer, sentences)
    print(
        f"{args.precision}, {torch.get_num_threads()} threads, "
        f"{recognizer.tokenizer.decode(prefix)[:40]!r}… shared: {len(prefix)} tokens"
    )


def compare_speeds(
    generator: "AnswerGenerator", recognizer: "LocalRecognizer", sentences: list[str]
) -> list[int]:
    """Answer the sentences in both ways and print how long it takes. Returns the prefix."""
    prompts = dict(enumerate(map(recognizer.encode_prompt, sentences)))
    prefix = recognizer.find_prefix(list(prompts.values()))
    limit = recognizer.max_new_tokens
    single, single_seconds = time_answers(generator, prompts, [], 1, limit)
    print_speed("one at a time", 1, len(prompts) / single_seconds)
    batch_size = recognizer.batch_size
    batched, batched_seconds = time_answers(generator, prompts, prefix, batch_size, limit)
    print_speed("batched", batch_size, len(prompts) / batched_seconds)
    differing = sum(one != other for one, other in zip(single, batched, strict=True))
    print(
        f"{single_seconds / batched_seconds:.1f} times as fast; "
        f"{differing} of {len(prompts)} answers differ"
    )
    return prefix


def time_answers(
    generator: "AnswerGenerator", prompts: Prompts, prefix: list[int], batch_size: int, limit: int
) -> tuple[list["Answer"], float]:
    """All answers in the order of the prompts, and the seconds that they took."""
    start = time.perf_counter()
    answers = sorted(generator.generate(prompts, prefix, batch_size, limit))
    return answers, time.perf_counter() - start


def print_speed(name: str, batch_size: int, speed: float) -> None:
    print(f"{name} ({batch_size}): {speed:.2f} sentences per second")


if __name__ == "__main__":
    run_script(main)
