"""Ways a model may phrase an answer: in other JSON, with slips, or cut off."""

import json
import random
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from functools import partial

from ner.text.klue import LABELS

Answer = dict[str, list[str]]  # label → mentions
Phrasing = Callable[[Answer], str]

BARE_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?", re.ASCII)
UNIT_SIGNS = {"km": "㎞", "cm": "㎝", "mm": "㎜", "kg": "㎏", "°C": "℃", "%": "％"}
FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}
# From the jamo that NFKC writes to the compatibility jamo that a keyboard writes.
JAMO = {ord(unicodedata.normalize("NFKC", jamo)): jamo for jamo in map(chr, range(0x3131, 0x3164))}
DASHES_AND_DOTS = str.maketrans("-·∼~", "–・~∼")


def write_plainly(answer: Answer) -> str:
    """The answer as a model is trained to write it."""
    return json.dumps(answer, ensure_ascii=False)


def quote(mention: str) -> str:
    return json.dumps(mention, ensure_ascii=False)


def list_each_once(answer: Answer) -> str:
    distinct = {label: list(dict.fromkeys(mentions)) for label, mentions in answer.items()}
    return write_plainly(distinct)


def write_records(answer: Answer) -> str:
    return json.dumps(
        [
            {"text": mention, "label": label}
            for label, mentions in answer.items()
            for mention in mentions
        ],
        ensure_ascii=False,
    )


def repeat_keys(answer: Answer) -> str:
    fields = [
        f'"{label}": [{quote(mention)}]'
        for label, mentions in answer.items()
        for mention in mentions
    ]
    return "{" + ", ".join(fields) + "}"


def unwrap_lists(answer: Answer) -> str:
    """A list of one mention becomes a string, or a number if the mention is one."""
    fields = [f'"{label}": {unwrap_list(mentions)}' for label, mentions in answer.items()]
    return "{" + ", ".join(fields) + "}"


def unwrap_list(mentions: list[str]) -> str:
    if len(mentions) > 1:
        return json.dumps(mentions, ensure_ascii=False)
    return mentions[0] if BARE_NUMBER.fullmatch(mentions[0]) else quote(mentions[0])


def add_unknown_labels(answer: Answer) -> str:
    return write_plainly({"EVENT": ["대회"], **answer, "TITLE": ["대표", "씨"]})


def use_curly_quotes(answer: Answer) -> str:
    return re.sub(r'"([A-Z]+|[^"\\]*)"', r"“\1”", write_plainly(answer))


def add_trailing_commas(answer: Answer) -> str:
    return re.sub(r'(?<=["\]])([\]}])', r",\1", write_plainly(answer))


def use_full_width_marks(answer: Answer) -> str:
    fields = []
    for label, mentions in answer.items():
        fields.append(f'"{label}"：［' + "，".join(map(quote, mentions)) + "］")
    return "｛" + "，".join(fields) + "｝"


def insert(template: str, answer: Answer) -> str:
    return template.replace("ANSWER", write_plainly(answer))


def relabel(rename: Callable[[str], str], answer: Answer) -> str:
    return write_plainly({rename(label): mentions for label, mentions in answer.items()})


def respell(spell: Callable[[str], str], answer: Answer) -> str:
    return write_plainly(
        {label: [spell(mention) for mention in mentions] for label, mentions in answer.items()}
    )


def translate(table: dict[int, int | str], answer: Answer) -> str:
    return respell(lambda mention: mention.translate(table), answer)


def remove_spaces(mention: str) -> str:
    return "".join(mention.split())


def use_unit_signs(mention: str) -> str:
    for unit, sign in UNIT_SIGNS.items():
        mention = mention.replace(unit, sign)
    return mention


PHRASINGS: dict[str, Phrasing] = {
    "as trained": write_plainly,
    "each name once": list_each_once,
    "indented": partial(json.dumps, ensure_ascii=False, indent=4),
    "escaped (\\uXXXX)": json.dumps,
    "```json fence": partial(insert, "```json\nANSWER\n```"),
    "prose before and after": partial(
        insert, "[답변] 문장의 개체명은 다음과 같습니다: ANSWER\n\n'QT'는 [수량]입니다."
    ),
    "repeated": partial(insert, "ANSWER\nANSWER"),
    "repeated in a fence": partial(insert, "ANSWER\n```json\nANSWER\n```"),
    "single quotes": repr,
    "curly quotes": use_curly_quotes,
    "trailing commas": add_trailing_commas,
    "full-width marks": use_full_width_marks,
    "repeated keys": repeat_keys,
    "bare strings and numbers": unwrap_lists,
    '[{"text", "label"}]': write_records,
    "lower-case labels": partial(relabel, str.lower),
    "Korean labels": partial(relabel, LABELS.__getitem__),
    "unknown labels too": add_unknown_labels,
    "no white space": partial(respell, remove_spaces),
    "white space around": partial(respell, " {} ".format),
    "swapped case": partial(respell, str.swapcase),
    "full-width mentions": partial(translate, FULL_WIDTH),
    "unit signs": partial(respell, use_unit_signs),
    "compatibility jamo": partial(translate, JAMO),
    "decomposed (NFD)": partial(respell, partial(unicodedata.normalize, "NFD")),
    "other dashes and dots": partial(translate, DASHES_AND_DOTS),
}


def cut_off(answer: Answer, generator: random.Random) -> tuple[str, Counter]:
    """Cut an answer at a random place. Also counts each label's complete mentions."""
    text = write_plainly(answer)
    cut = generator.randrange(1, len(text))
    complete: Counter = Counter()
    end = 1
    for label, mentions in answer.items():
        end = text.index("[", end)
        for mention in mentions:
            end = text.index(quote(mention), end) + len(quote(mention))
            complete[label] += end <= cut
    return text[:cut], complete
