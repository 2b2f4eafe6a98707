"""A model whose answers are right: it marks every name of the form 인물0000 or 장소0000."""

import re
import unicodedata
from collections.abc import Iterator

from ner.text.answers import Answer, Piece
from ner.text.conversion import write_gold_answer
from ner.text.tags import write_tags
from ner.text.task import build_task

LABELS = {"인물": "PS", "장소": "LC"}
WORDS = {unicodedata.normalize(form, word): word for word in LABELS for form in ("NFC", "NFD")}
NAME = re.compile(rf"({'|'.join(WORDS)})\d{{4}}")


def find_names(text: str) -> list[dict]:
    """The entities of a text, without confidence."""
    return [
        {
            "label": LABELS[WORDS[match[1]]],
            "text": match[0],
            "start": match.start(),
            "end": match.end(),
        }
        for match in NAME.finditer(text)
    ]


class GoldModel:
    """Answers a sentence rightly, with a probability of 0.5 for each of two tokens.

    `fail_at` is the sentence at whose answer it raises. `calls` are the sentences of each call.
    Answers to sentences with `끝없는` reach the token limit.
    """

    max_new_tokens = 512

    def __init__(self, prompt: str = "basic", fail_at: int | None = None, pieces: bool = True):
        self.task = build_task(prompt)
        self.fail_at, self.pieces = fail_at, pieces
        self.calls: list[list[str]] = []

    @property
    def settings(self) -> dict:
        return {"model": "gold", **self.task.record}

    def answer(self, sentences: dict[int, str]) -> Iterator[Answer]:
        self.calls.append(list(sentences.values()))
        # Longest first, as a real model answers.
        for index, sentence in sorted(sentences.items(), key=lambda item: -len(item[1])):
            if self.fail_at is not None:
                self.fail_at -= 1
                if self.fail_at < 0:
                    self.fail()
            tokens = list(sentence)
            names = [(name["start"], name["end"], name["label"]) for name in find_names(sentence)]
            text = write_gold_answer(tokens, write_tags(names, tokens), self.task.kind)
            if self.task.kind == "json":
                # The tokenizer of a real model composes its input.
                text = unicodedata.normalize("NFC", text)
            pieces = [Piece(1, 0.0), Piece(len(text), -0.6931)] if self.pieces else None
            yield Answer(index, text, "끝없는" not in sentence, pieces)

    def fail(self) -> None:
        raise RuntimeError("the power is out")
