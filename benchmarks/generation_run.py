"""Count and time the answers of benchmarks/generation.py."""

import gc
import time
from typing import NamedTuple

import torch

from ner.inference.recognizer import LocalRecognizer
from ner.model.copying import Copy
from ner.model.generation import AnswerGenerator, PartialAnswer
from ner.text.answers import Answer


class CountingCopy(Copy):
    """A copy that counts in its generator how often it needs the grammar's mask."""

    def __init__(self, generator: "CountingGenerator", sentence: str):
        super().__init__(generator.rules, sentence)
        self.generator = generator

    def choose(self, logits: torch.Tensor) -> int:
        self.generator.masks += 1
        return super().choose(logits)


class CountingGenerator(AnswerGenerator):
    """Counts calls of the model, each once for every sentence in its batch, and masks.

    The call for the prefix is not counted.
    """

    calls = masks = 0

    def extend_answers(
        self, answers: list[PartialAnswer], drafts: list[list[int]], logits: torch.Tensor
    ) -> list[int]:
        self.calls += len(answers)
        return super().extend_answers(answers, drafts, logits)

    def build_copy(self, sentence: str) -> Copy:
        return CountingCopy(self, sentence)


class Timing(NamedTuple):
    """Answers in the order of their sentences, and the time that they took."""

    answers: list[Answer]
    calls: float  # of the model, per sentence
    masks: float  # of the grammar, per sentence
    speed: float  # sentences per second


def load_generator(recognizer: LocalRecognizer) -> CountingGenerator:
    """Load the weights, and answer a sentence so that nothing else is left to load."""
    gc.collect()  # 4-bit layers of the model before are in reference cycles
    generator = recognizer.load_generator(CountingGenerator)
    prompts = {0: recognizer.encode_prompt("가")}
    list(generator.generate(prompts, [], 1, 2, {0: "가"} if recognizer.copies else {}))
    return generator


def time_answers(
    generator: CountingGenerator,
    recognizer: LocalRecognizer,
    sentences: dict[int, str],
    batch_size: int,
) -> Timing:
    """Answer sentences in batches that share a prefix, or one at a time and without a prefix."""
    prompts = {index: recognizer.encode_prompt(text) for index, text in sentences.items()}
    prefix = recognizer.find_prefix(list(prompts.values())) if batch_size > 1 else []
    limit = recognizer.max_new_tokens
    generator.calls = generator.masks = 0
    copied = sentences if recognizer.copies else {}
    start = time.perf_counter()
    answers = sorted(generator.generate(prompts, prefix, batch_size, limit, copied))
    seconds = time.perf_counter() - start
    count = len(sentences)
    return Timing(answers, generator.calls / count, generator.masks / count, count / seconds)
