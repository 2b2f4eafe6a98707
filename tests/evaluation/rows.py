"""Rows of predictions for the tests: made by hand, at random, or from KLUE."""

import json
import math
import random
from pathlib import Path

from ner.evaluation.predictions import retag
from ner.text.answers import write_answer
from ner.text.conversion import tag_answer
from ner.text.corpus import get_id2label, load_split
from ner.text.klue import LABELS
from ner.text.notation import parse_marked_sentence
from ner.text.tags import find_entities

SETTINGS = {
    "model": "EXAONE-stand-in",
    "dataset": "klue/klue",
    "split": "validation",
    "num_samples": 100,
    "seed": 42,
}


def make_row(
    number: int, marked: str, answer: str | dict, stopped: bool = True, kind: str = "json"
) -> dict:
    """A row from a sentence in KLUE's notation and the answer to it."""
    tokens, gold = parse_marked_sentence(marked)
    if not isinstance(answer, str):
        answer = json.dumps(answer, ensure_ascii=False)
    tags, diagnosis = tag_answer(answer, tokens, kind)
    return {
        "id": number,
        "tokens": tokens,
        "gold": gold,
        "answer": answer,
        "tags": tags,
        "diagnosis": diagnosis,
        "stopped": stopped,
    }


HAND_MADE = [
    make_row(0, "<손흥민:PS>은 <춘천:LC>에서 태어났다.", {"PS": ["손흥민"], "LC": ["춘천"]}),
    make_row(1, "<서울 시청:OG>에서 <3시:TI>에 보자", {"LC": ["서울 시청"], "TI": ["3"]}),
    make_row(2, "<김 씨:PS>는 <봄:DT>에 왔다", '```json\n{"PS": ["김 씨", "이 씨"]}\n```'),
    make_row(3, "아무도 없다", {"QT": ["아무"], "XX": ["없다"]}),
    make_row(4, "<다섯 명:QT>이 <부산:LC> 갔다", '{"QT": ["다섯 명", "다섯 명"], "LC": ["부'),
    make_row(5, "<부산항:LC> 앞", "모르겠습니다", stopped=False),
]

# The same sentences from a tagger: tags alone.
TAGS_ALONE = [{name: row[name] for name in ("id", "tokens", "gold", "tags")} for row in HAND_MADE]

MARKED_ANSWERS = [
    make_row(0, "<봄:DT>이 왔다", "<봄:DT>이 왔다", kind="marked"),
    make_row(1, "<김 씨:PS>는 왔다", "<김 시:PS>는 왔다", kind="marked"),
    make_row(2, "<부산:LC> 앞에서 만났다", "<부산:OG> 앞", kind="marked"),
    make_row(3, "아무도 없다", '{"PS": []}', kind="marked"),
    make_row(4, "<서울:LC>은 넓다", "<서울:WHERE>은 <좁:QT>다", stopped=False, kind="marked"),
]


def make_confident_row(number: int, marked: str, answer: dict, probability: float) -> dict:
    """A row whose answer is one token, so all its mentions have the same confidence."""
    row = make_row(number, marked, answer)
    row["pieces"] = [[len(row["answer"]), round(math.log(probability), 4)]]
    return retag([row], {})[0]


# In row 1, the second 부산 is a further occurrence.
CONFIDENT = [
    make_confident_row(0, "<손흥민:PS>은 뛴다", {"PS": ["손흥민"]}, 0.9),
    make_confident_row(1, "<부산:LC>에서 <부산:LC>으로", {"LC": ["부산"]}, 0.6),
    make_confident_row(2, "<춘천:LC>은 넓다", {"OG": ["춘천"]}, 0.2),
    make_confident_row(3, "아무도 없다", {"QT": ["아무"]}, 0.5),
    make_confident_row(4, "<4명:QT>이 왔다", {"QT": ["4명"]}, 0.1),
]


def perturb(answer: str, sentence: str, generator: random.Random) -> str:
    """A gold answer with mistakes of every kind."""
    mentions: dict[str, list[str]] = {}
    for label, texts in json.loads(answer).items():
        for text in texts:
            kind = generator.randrange(12)
            if kind == 0:
                continue
            new_label = generator.choice([*LABELS, "XX"]) if kind in (1, 2) else label
            changed = {3: text[1:] or text, 4: text[:-1] or text, 5: "없는 " + text}
            new_text = changed.get(kind, text)
            mentions.setdefault(new_label, []).extend([new_text] * (2 if kind == 6 else 1))
    if sentence and generator.random() < 0.4:
        start = generator.randrange(len(sentence))
        label = generator.choice(list(LABELS))
        mentions.setdefault(label, []).append(sentence[start : start + 4])
    written = json.dumps(mentions, ensure_ascii=False)
    kind = generator.randrange(20)
    broken = {0: f"```json\n{written}\n```", 1: written[: len(written) // 2], 2: "없습니다."}
    return broken.get(kind, written)


def make_random_tags(length: int, generator: random.Random) -> list[str]:
    """IOB2 tags with random entities of up to four tokens."""
    tags = ["O"] * length
    position = generator.randrange(6)
    while position + 4 < length:
        label, end = generator.choice(list(LABELS)), position + generator.randint(1, 4)
        tags[position:end] = [f"B-{label}"] + [f"I-{label}"] * (end - position - 1)
        position = end + generator.choice([0, 1, 2, 5])
    return tags


def make_random_rows(count: int, seed: int, longest: int = 30) -> list[dict]:
    """Random sentences and entities, with spaces inside and before them, and perturbed answers."""
    generator = random.Random(seed)
    rows = []
    for number in range(count):
        tokens = [
            generator.choice("가나다라 마바 사3ab㎞") for _ in range(generator.randrange(longest))
        ]
        gold = make_random_tags(len(tokens), generator)
        answer = perturb(write_answer(tokens, find_entities(gold)), "".join(tokens), generator)
        tags, diagnosis = tag_answer(answer, tokens)
        rows.append(
            {
                "id": number,
                "tokens": tokens,
                "gold": gold,
                "answer": answer,
                "tags": tags,
                "diagnosis": diagnosis,
                "stopped": generator.random() < 0.9,
            }
        )
    return rows


def make_klue_rows(folder: Path, seed: int | None = None) -> list[dict]:
    """KLUE's validation split with its gold answers, perturbed if there is a seed."""
    generator = random.Random(seed)
    sentences = load_split(str(folder), "validation")
    id2label = get_id2label(sentences)
    rows = []
    for number, item in enumerate(sentences):
        tokens = item["tokens"]
        gold = [id2label[tag] for tag in item["ner_tags"]]
        answer = write_answer(tokens, find_entities(gold))
        if seed is not None:
            answer = perturb(answer, "".join(tokens), generator)
        row = {"id": number, "tokens": tokens, "gold": gold, "answer": answer, "stopped": True}
        rows.append(row)
    return retag(rows, {})


def write_predictions(path: Path, rows: list[dict], settings: dict = SETTINGS) -> Path:
    """Write rows as evaluate_hub.py does."""
    lines = [
        json.dumps(item, ensure_ascii=False) + "\n" for item in [{"settings": settings}, *rows]
    ]
    path.write_text("".join(lines), encoding="utf-8")
    return path
