"""Measure what the conversion loses and how long it takes; no model is needed.

Gold tags are written as the answer a perfect model would give, said in every way a model says it, and read back. What
is missing from an F1 of 1 is lost by the conversion. Reads the dataset, writes nothing, prints three tables:

    python -m tests.measure_conversion --dataset klue/klue
"""

import argparse
import json
import random
import re
import time
import unicodedata
from collections import Counter
from collections.abc import Callable

from seqeval.metrics import f1_score
from seqeval.scheme import IOB2

from data_processing import (KLUE, LABELS, bio_to_json, find_entities, get_id2label, json_to_bio, load_split, run_script,
                             tag_answer, write_tags)

Answer = dict[str, list[str]]
Sentence = tuple[list[str], list[str], Answer]  # tokens, gold tags, gold answer


def load_sentences(dataset: str) -> dict[str, list[Sentence]]:
    """Load the sentences of both splits of a data set, which is named as for data_processing.py."""
    splits = {}
    for split in ("train", "validation"):
        rows = load_split(dataset, split)
        id2label = get_id2label(rows)
        splits[split] = [
            (row["tokens"], [id2label[tag] for tag in row["ner_tags"]],
             json.loads(bio_to_json(row["tokens"], row["ner_tags"], id2label)[1]))
            for row in rows
        ]
    return splits


def score_klue(gold: list[list[str]], predicted: list[list[str]], tokens: list[list[str]]) -> float:
    """KLUE's entity F1: macro, strict IOB2, over one sequence of all sentences without spaces, each within two O."""

    def flatten(tagged: list[list[str]]) -> list[str]:
        flat = []
        for characters, tags in zip(tokens, tagged, strict=True):
            flat += ["O", *(tag for token, tag in zip(characters, tags, strict=True) if token != " "), "O"]
        return flat

    return f1_score([flatten(gold)], [flatten(predicted)], average="macro", mode="strict", scheme=IOB2)


def print_round_trip(splits: dict[str, list[Sentence]]) -> None:
    """Print what gold answers score, and without further occurrences ("listed"); "+" of these are right, "-" wrong."""
    print("Gold, there and back           n   micro  strict   macro  inexact  listed     +     -")
    for split, sentences in splits.items():
        for name, say in {"as trained": say_plainly, "each name once": say_each_once}.items():
            tokens, gold, answers = zip(*sentences, strict=True)
            results = [tag_answer(say(answer), words) for answer, words in zip(answers, tokens, strict=True)]
            predicted = [tags for tags, _ in results]
            listed, right, wrong = [], 0, 0
            for words, tags, (_, diagnosis) in zip(tokens, gold, results, strict=True):
                placed = [found for found in diagnosis["mentions"] if found["status"] == "placed"]
                listed.append(write_tags([(found["start"], found["end"], found["label"]) for found in placed], words))
                further = {(found["label"], found["start"], found["end"]) for found in diagnosis["further"]}
                right += len(further.intersection(find_entities(tags)))
                wrong += len(further.difference(find_entities(tags)))
            strict = f1_score(gold, predicted, mode="strict", scheme=IOB2)
            macro = score_klue(gold, predicted, tokens)
            inexact = sum(one != other for one, other in zip(gold, predicted, strict=True))
            print(
                f"{split + ', ' + name:<26}{len(sentences):>6,}{f1_score(gold, predicted):>8.4f}{strict:>8.4f}"
                f"{macro:>8.4f}{inexact:>9,}{f1_score(gold, listed):>8.4f}{right:>6,}{wrong:>6,}"
            )


# Ways to say an answer. Each takes the gold answer and returns what a model might write.


def say_plainly(answer: Answer) -> str:
    return json.dumps(answer, ensure_ascii=False)


def say_each_once(answer: Answer) -> str:
    return say_plainly({label: list(dict.fromkeys(mentions)) for label, mentions in answer.items()})


def say_with_trailing_commas(answer: Answer) -> str:
    return re.sub(r'(?<=["\]])([\]}])', r",\1", say_plainly(answer))


def say_with_full_width_structure(answer: Answer) -> str:
    lists = (f'"{label}"：［' + "，".join(map(quote, mentions)) + "］" for label, mentions in answer.items())
    return "｛" + "，".join(lists) + "｝"


def say_with_duplicate_keys(answer: Answer) -> str:
    pairs = [(label, mention) for label, mentions in answer.items() for mention in mentions]
    return "{" + ", ".join(f'"{label}": [{quote(mention)}]' for label, mention in pairs) + "}"


def say_bare(answer: Answer) -> str:
    """A list of one as the string alone, or as a number where it is one."""
    number = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?", re.ASCII)

    def say(mentions: list[str]) -> str:
        if len(mentions) > 1:
            return json.dumps(mentions, ensure_ascii=False)
        return mentions[0] if number.fullmatch(mentions[0]) else quote(mentions[0])

    return "{" + ", ".join(f'"{label}": {say(mentions)}' for label, mentions in answer.items()) + "}"


def say_as_records(answer: Answer) -> str:
    records = [{"text": mention, "label": label} for label, mentions in answer.items() for mention in mentions]
    return json.dumps(records, ensure_ascii=False)


def say_with_other_labels(answer: Answer) -> str:
    return say_plainly({"EVENT": ["대회"], **answer, "TITLE": ["대표", "씨"]})


def quote(mention: str) -> str:
    return json.dumps(mention, ensure_ascii=False)


def relabel(rename: Callable[[str], str]) -> Callable[[Answer], str]:
    return lambda answer: say_plainly({rename(label): mentions for label, mentions in answer.items()})


def respell(spell: Callable[[str], str]) -> Callable[[Answer], str]:
    return lambda answer: say_plainly({label: list(map(spell, mentions)) for label, mentions in answer.items()})


def wrap(text: str) -> Callable[[Answer], str]:
    return lambda answer: text.replace("ANSWER", say_plainly(answer))


FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}
JAMO = {ord(unicodedata.normalize("NFKC", jamo)): jamo for jamo in map(chr, range(0x3131, 0x3164))}
UNIT_SIGNS = {"km": "㎞", "cm": "㎝", "mm": "㎜", "kg": "㎏", "°C": "℃", "%": "％"}


def spell_with_unit_signs(mention: str) -> str:
    for unit, sign in UNIT_SIGNS.items():
        mention = mention.replace(unit, sign)
    return mention


WAYS: dict[str, Callable[[Answer], str]] = {
    "as trained": say_plainly,
    "each name once": say_each_once,
    "indented": lambda answer: json.dumps(answer, ensure_ascii=False, indent=4),
    "escaped (\\uXXXX)": lambda answer: json.dumps(answer),
    "```json fence": wrap("```json\nANSWER\n```"),
    "prose before and after": wrap("[답변] 문장의 개체명은 다음과 같습니다: ANSWER\n\n'QT'는 [수량]입니다."),
    "said twice": wrap("ANSWER\nANSWER"),
    "said twice, fenced": wrap("ANSWER\n```json\nANSWER\n```"),
    "single quotes": repr,
    "curly quotes": lambda answer: re.sub(r'"([A-Z]+|[^"\\]*)"', r"“\1”", say_plainly(answer)),
    "trailing commas": say_with_trailing_commas,
    "full-width structure": say_with_full_width_structure,
    "duplicate keys": say_with_duplicate_keys,
    "bare strings and numbers": say_bare,
    '[{"text", "label"}]': say_as_records,
    "lower-case labels": relabel(str.lower),
    "Korean labels": relabel(LABELS.__getitem__),
    "other labels among them": say_with_other_labels,
    "no white space": respell(lambda mention: "".join(mention.split())),
    "case swapped": respell(str.swapcase),
    "full-width mentions": respell(lambda mention: mention.translate(FULL_WIDTH)),
    "unit signs": respell(spell_with_unit_signs),
    "compatibility jamo": respell(lambda mention: mention.translate(JAMO)),
    "decomposed (NFD)": respell(lambda mention: unicodedata.normalize("NFD", mention)),
    "other dashes and dots": respell(lambda mention: mention.translate(str.maketrans("-·∼~", "–・~∼"))),
}


def cut_off(answer: Answer, generator: random.Random) -> tuple[str, Counter]:
    """Cut an answer anywhere; returns it and how many mentions of each label were said whole."""
    said = say_plainly(answer)
    cut = generator.randrange(1, len(said))
    whole: Counter = Counter()
    end = 1
    for label, mentions in answer.items():
        end = said.index("[", end)
        for mention in mentions:
            end = said.index(quote(mention), end) + len(quote(mention))
            whole[label] += end <= cut
    return said[:cut], whole


def print_ways(sentences: list[Sentence]) -> None:
    print(f"\n{'Way to say it':<26}{'sentences':>10}{'micro F1':>10}   read as")
    for name, say in WAYS.items():
        print_way(name, [(words, gold, say(answer)) for words, gold, answer in sentences])

    generator = random.Random(0)
    rows = []
    for words, gold, answer in sentences:
        said, whole = cut_off(answer, generator)
        kept = []
        for label, start, end in find_entities(gold):
            if whole[label] > 0:
                kept.append((start, end, label))
                whole[label] -= 1
        rows.append((words, write_tags(kept, words), said))
    print_way("cut off anywhere", rows)


def print_way(name: str, rows: list[tuple[list[str], list[str], str]]) -> None:
    tokens, gold, answers = zip(*rows, strict=True)
    results = [tag_answer(answer, words) for words, answer in zip(tokens, answers, strict=True)]
    readings = Counter(diagnosis["read"] for _, diagnosis in results)
    how = ", ".join(f"{reading} {count:,}" for reading, count in readings.most_common())
    print(f"{name:<26}{len(rows):>10,}{f1_score(gold, [tags for tags, _ in results]):>10.4f}   {how}")


def print_benchmark(sentences: list[Sentence]) -> None:
    batch = [(say_plainly(answer), words) for words, _, answer in sentences]
    batch = [batch[index % len(batch)] for index in range(5_000)]
    seconds = min(time_batch(batch) for _ in range(3))
    print(f"\n5,000 answers converted in {seconds:.2f} s on one core (best of three)")

    print("\nSentence, characters            answer, characters  different mentions       ms  ns per product")
    for size in (1_250, 2_500, 5_000, 10_000):
        print_growth(*collect_text(sentences, size))
    letters = list("가" * 10_000)
    print_growth(letters, {"PS": ["가" * length for length in range(1, 141)]}, "one syllable, 10,000")

    print(f"\n{'Hard to read':<32}{'characters':>14}{'ms':>9}")
    words = sentences[0][0]
    hard = {
        "200,000 characters of mentions": say_plainly({"PS": ["손흥민"] * 40_000})[:200_000],
        "an unclosed string": '{"PS": ["' + '말론 "대부" 브랜도 ' * 16_000,
        "50,000 open braces": "{" * 50_000,
        "50,000 open keys": '{"PS":' * 50_000,
        "50,000 brackets in prose": "[1]" * 50_000,
        "20,000 mentions": say_plainly({"QT": [f"{number}명" for number in range(20_000)]}),
    }
    for name, answer in hard.items():
        print(f"{name:<32}{len(answer):>14,}{1000 * time_batch([(answer, words)]):>9.1f}")


def print_growth(words: list[str], answer: Answer, name: str = "") -> None:
    said = say_plainly(answer)
    different = len({mention for mentions in answer.values() for mention in mentions})
    seconds = time_batch([(said, words)])
    print(
        f"{name or f'real text, {len(words):,}':<32}{len(said):>18,}{different:>20,}{1000 * seconds:>9.1f}"
        f"{1e9 * seconds / (different * len(words)):>16.1f}"
    )


def collect_text(sentences: list[Sentence], size: int) -> tuple[list[str], Answer]:
    """Join sentences until ``size`` characters, and go on joining answers until theirs are as many."""
    words: list[str] = []
    answer: Answer = {}
    for tokens, _, mentions_of in sentences:
        words += [*tokens, " "]
        for label, mentions in mentions_of.items():
            answer.setdefault(label, []).extend(mentions)
        if len(say_plainly(answer)) >= size:
            break
    return words[:size], answer


def time_batch(batch: list[tuple[str, list[str]]]) -> float:
    start = time.process_time()
    for answer, words in batch:
        json_to_bio(answer, words)
    return time.process_time() - start


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dataset", default=KLUE, metavar="ID_OR_FOLDER", help="as for data_processing.py (default: %(default)s)")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    splits = load_sentences(args.dataset)
    sentences = [sentence for split in splits.values() for sentence in split]
    print_round_trip({**splits, "both": sentences})
    print_ways(sentences)
    print_benchmark(sentences)


if __name__ == "__main__":
    run_script(main)
