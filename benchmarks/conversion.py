"""Measure how much the conversion loses and how long it takes. Needs no model.

Writes gold tags as answers in every phrasing of `benchmarks/phrasings.py`, then reads them back. An
F1 below 1 shows the loss. Reads the data set, writes no file and prints tables:

    python -m benchmarks.conversion --dataset klue/klue
"""

import argparse
import json
import random
import time
from collections import Counter
from collections.abc import Iterable
from statistics import fmean
from typing import NamedTuple

from seqeval.metrics import f1_score
from seqeval.scheme import IOB2

from benchmarks.phrasings import PHRASINGS, Answer, Phrasing, cut_off, write_plainly
from data_processing import bio_to_json, json_to_bio
from ner.cli import build_parser, run_script
from ner.text.conversion import tag_answer, write_gold_answer
from ner.text.corpus import get_id2label, load_split
from ner.text.klue import KLUE
from ner.text.tags import find_entities, write_tags


class Sentence(NamedTuple):
    tokens: list[str]
    tags: list[str]
    answer: Answer


def load_sentences(dataset: str) -> dict[str, list[Sentence]]:
    """The gold sentences of both splits."""
    splits = {}
    for split in ("train", "validation"):
        rows = load_split(dataset, split)
        id2label = get_id2label(rows)
        splits[split] = [make_sentence(row["tokens"], row["ner_tags"], id2label) for row in rows]
    return splits


def make_sentence(tokens: list[str], tags: list[int], id2label: dict[int, str]) -> Sentence:
    _, answer = bio_to_json(tokens, tags, id2label)
    return Sentence(tokens, [id2label[tag] for tag in tags], json.loads(answer))


def print_round_trips(splits: dict[str, list[Sentence]]) -> None:
    """Print the scores of gold answers.

    The converter also tags further occurrences, which an answer does not list. The column "listed"
    is micro F1 without them; "right" and "wrong" count them.
    """
    print("Gold answers                   n   micro  strict   macro  inexact  listed right wrong")
    for split, sentences in splits.items():
        for name in ("as trained", "each name once"):
            print_round_trip(f"{split}, {name}", sentences, PHRASINGS[name])


def print_marked_round_trip(sentences: list[Sentence]) -> None:
    """Print how many marked gold answers come back exactly."""
    exact = 0
    for tokens, gold_tags, _ in sentences:
        answer = write_gold_answer(tokens, gold_tags, "marked")
        exact += tag_answer(answer, tokens, "marked")[0] == gold_tags
    print(f"Marked answers: {exact:,} of {len(sentences):,} come back exactly")


def print_lengths(sentences: list[Sentence]) -> None:
    """Print the mean number of characters of both kinds of gold answers."""
    json_mean, marked_mean = (
        fmean(len(write_gold_answer(tokens, tags, kind)) for tokens, tags, _ in sentences)
        for kind in ("json", "marked")
    )
    print(
        f"Characters of a gold answer: JSON {json_mean:.1f}, marked {marked_mean:.1f}, "
        f"{marked_mean / json_mean:.2f} times as many"
    )


def print_round_trip(name: str, sentences: list[Sentence], phrase: Phrasing) -> None:
    gold = [sentence.tags for sentence in sentences]
    predicted, listed = [], []
    right = wrong = 0
    for tokens, gold_tags, answer in sentences:
        tags, diagnosis = tag_answer(phrase(answer), tokens)
        placed = [mention for mention in diagnosis["mentions"] if mention["status"] == "placed"]
        predicted.append(tags)
        listed.append(write_tags(locate(placed), tokens))
        entities = {(start, end, label) for label, start, end in find_entities(gold_tags)}
        further = set(locate(diagnosis["further"]))
        right += len(further & entities)
        wrong += len(further - entities)
    strict = f1_score(gold, predicted, mode="strict", scheme=IOB2)
    macro = score_klue(gold, predicted, [sentence.tokens for sentence in sentences])
    inexact = sum(tags != other for tags, other in zip(gold, predicted, strict=True))
    print(
        f"{name:<26}{len(sentences):>6,}{f1_score(gold, predicted):>8.4f}{strict:>8.4f}"
        f"{macro:>8.4f}{inexact:>9,}{f1_score(gold, listed):>8.4f}{right:>6,}{wrong:>6,}"
    )


def locate(entities: Iterable[dict]) -> list[tuple[int, int, str]]:
    return [(entity["start"], entity["end"], entity["label"]) for entity in entities]


def score_klue(gold: list[list[str]], predicted: list[list[str]], tokens: list[list[str]]) -> float:
    """KLUE's entity F1: macro, in strict IOB2, over all sentences as one sequence."""
    return f1_score(
        [join_tags(gold, tokens)],
        [join_tags(predicted, tokens)],
        average="macro",
        mode="strict",
        scheme=IOB2,
    )


def join_tags(tags: list[list[str]], tokens: list[list[str]]) -> list[str]:
    """All tags except those of spaces in one sequence, with an O before and after each sentence."""
    joined = []
    for sentence_tags, sentence_tokens in zip(tags, tokens, strict=True):
        pairs = zip(sentence_tags, sentence_tokens, strict=True)
        joined += ["O", *(tag for tag, token in pairs if token != " "), "O"]
    return joined


def print_phrasings(sentences: list[Sentence]) -> None:
    """Print the scores of each phrasing, and how its answers were read."""
    print(f"\n{'Phrasing':<26}{'sentences':>10}{'micro F1':>10}   read as")
    gold = [sentence.tags for sentence in sentences]
    for name, phrase in PHRASINGS.items():
        answers = [phrase(sentence.answer) for sentence in sentences]
        print_phrasing(name, sentences, answers, gold)

    generator = random.Random(0)
    answers, gold = [], []
    for tokens, tags, answer in sentences:
        text, complete = cut_off(answer, generator)
        answers.append(text)
        gold.append(keep_first(complete, tags, tokens))
    print_phrasing("cut off anywhere", sentences, answers, gold)


def keep_first(counts: Counter, tags: list[str], tokens: list[str]) -> list[str]:
    """Keep only the tags of each label's first `counts[label]` entities."""
    first = []
    for label, start, end in find_entities(tags):
        if counts[label] > 0:
            first.append((start, end, label))
            counts[label] -= 1
    return write_tags(first, tokens)


def print_phrasing(
    name: str, sentences: list[Sentence], answers: list[str], gold: list[list[str]]
) -> None:
    predicted, readings = [], Counter()
    for sentence, answer in zip(sentences, answers, strict=True):
        tags, diagnosis = tag_answer(answer, sentence.tokens)
        predicted.append(tags)
        readings[diagnosis["read"]] += 1
    counts = ", ".join(f"{reading} {count:,}" for reading, count in readings.most_common())
    print(f"{name:<26}{len(sentences):>10,}{f1_score(gold, predicted):>10.4f}   {counts}")


def print_times(sentences: list[Sentence]) -> None:
    batch = [(write_plainly(sentence.answer), sentence.tokens) for sentence in sentences]
    batch = [batch[index % len(batch)] for index in range(5_000)]
    seconds = min(time_batch(batch) for _ in range(3))
    print(f"\n5,000 answers converted in {seconds:.2f} s on one core (best of three)")

    print(
        "\nSentence, characters            answer, characters  different mentions       ms"
        "  ns per product"
    )
    for size in (1_250, 2_500, 5_000, 10_000):
        tokens, answer = join_sentences(sentences, size)
        print_growth(f"real text, {len(tokens):,}", tokens, answer)
    syllables = {"PS": ["가" * length for length in range(1, 141)]}
    print_growth("one syllable, 10,000", list("가" * 10_000), syllables)

    print(f"\n{'Hard to read':<32}{'characters':>14}{'ms':>9}")
    tokens = sentences[0].tokens
    for name, answer in list_hard_answers().items():
        print(f"{name:<32}{len(answer):>14,}{1000 * time_batch([(answer, tokens)]):>9.1f}")


def print_growth(name: str, tokens: list[str], answer: Answer) -> None:
    """Print a time, also divided by (different mentions) × (length of the sentence)."""
    text = write_plainly(answer)
    different = len({mention for mentions in answer.values() for mention in mentions})
    seconds = time_batch([(text, tokens)])
    print(
        f"{name:<32}{len(text):>18,}{different:>20,}{1000 * seconds:>9.1f}"
        f"{1e9 * seconds / (different * len(tokens)):>16.1f}"
    )


def list_hard_answers() -> dict[str, str]:
    return {
        "200,000 characters of mentions": write_plainly({"PS": ["손흥민"] * 40_000})[:200_000],
        "an unclosed string": '{"PS": ["' + '말론 "대부" 브랜도 ' * 16_000,
        "50,000 open braces": "{" * 50_000,
        "50,000 open keys": '{"PS":' * 50_000,
        "50,000 brackets in prose": "[1]" * 50_000,
        "20,000 mentions": write_plainly({"QT": [f"{number}명" for number in range(20_000)]}),
    }


def join_sentences(sentences: list[Sentence], size: int) -> tuple[list[str], Answer]:
    """Join sentences to `size` tokens, with an answer of about as many characters."""
    tokens: list[str] = []
    answer: Answer = {}
    for sentence in sentences:
        tokens += [*sentence.tokens, " "]
        for label, mentions in sentence.answer.items():
            answer.setdefault(label, []).extend(mentions)
        if len(write_plainly(answer)) >= size:
            break
    return tokens[:size], answer


def time_batch(batch: list[tuple[str, list[str]]]) -> float:
    """Seconds of processor time that (answer, tokens) pairs take."""
    start = time.process_time()
    for answer, tokens in batch:
        json_to_bio(answer, tokens)
    return time.process_time() - start


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = build_parser(__doc__)
    parser.add_argument(
        "--dataset",
        default=KLUE,
        metavar="ID_OR_FOLDER",
        help="data set on the hub, or a local folder",
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    splits = load_sentences(parse_args(argv).dataset)
    sentences = splits["train"] + splits["validation"]
    print_round_trips({**splits, "both": sentences})
    print_marked_round_trip(sentences)
    print_lengths(sentences)
    print_phrasings(sentences)
    print_times(sentences)


if __name__ == "__main__":
    run_script(main)
