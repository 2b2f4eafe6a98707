"""Find the names in texts of any length."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ner.cli import InputError
from ner.model.adapter import find_adapter, find_record_folder, read_adapter_task
from ner.model.names import ADAPTER
from ner.text.answers import Answer
from ner.text.confidence import find_mentions, round_pieces
from ner.text.conversion import tag_answer
from ner.text.documents import Sentence, split_sentences
from ner.text.task import KLUE_TASK

if TYPE_CHECKING:
    from ner.inference.building import SentenceRecognizer

SENTENCES = 1024  # that the model is given at a time
# A window of 4,096 tokens holds the prompt, a sentence of this many characters, and its copy.
LONGEST = 1000


class Names(NamedTuple):
    """The names of a text, and its sentences whose answers reached the token limit."""

    entities: list[dict]
    incomplete: list[list[int]]  # start and end in characters of the text

    def describe(self) -> dict:
        """The names as JSON. `incomplete` is left out if it is empty."""
        return {
            name: value for name, value in self._asdict().items() if value or name == "entities"
        }


class Recognizer:
    """Finds the names in texts of any length.

    `model` answers single sentences. Names whose confidence is below `min_confidence` are left out.

        recognizer = Recognizer.load("EXAONE-3.0-7.8B-KLUE-NER-LoRA")
        recognizer.tag(["손흥민은 춘천에서 태어났다."])
    """

    def __init__(self, model: "SentenceRecognizer", min_confidence: float = 0.0):
        self.model, self.min_confidence = model, min_confidence
        # A marked answer repeats its sentence, and a character takes two tokens at most in almost
        # any text. So the answer fits.
        self.limit = max(1, min(model.max_new_tokens // 2, LONGEST))

    @classmethod
    def load(
        cls,
        adapter: str = ADAPTER,
        *,
        model: str | None = None,
        revision: str | None = None,
        precision: str | None = None,
        batch_size: int | None = None,
        min_confidence: float = 0.0,
    ) -> "Recognizer":
        """An adapter from a local folder or the hub, on its base model on this machine.

        The parameters are those of the same flags of `tag.py`. The first call of `tag` loads the
        weights. Raises InputError if the adapter or its base cannot be found or used here.
        """
        folder = find_adapter(adapter)
        source = find_record_folder(folder, model)
        task = read_adapter_task(source) if source else None
        # Imported after the adapter is found: PyTorch and PEFT take seconds.
        from ner.inference.recognizer import LocalRecognizer, find_recognizer_base

        base = find_recognizer_base(folder, adapter, model, revision)
        local = LocalRecognizer(base, precision, folder, adapter, task or KLUE_TASK, batch_size)
        return cls(local, min_confidence)

    @property
    def settings(self) -> dict:
        """Everything the names depend on."""
        return self.model.settings | {"min_confidence": self.min_confidence}

    def tag(self, texts: Sequence[str]) -> list[dict]:
        """Find the names in each text. Returns one `{"text": …, "entities": […]}` per text.

        An entity has `label`, `text`, `start` and `end` in characters of the text, and
        `confidence`, from 0 to 1, unless a server gives no probabilities. If the answer to a
        sentence reached the token limit, its text has `incomplete`, a list of such sentences as
        [start, end]. Raises InputError.
        """
        if isinstance(texts, str):
            raise InputError("tag: expected a list of texts, found one text. Pass [text]")
        found = self.tag_sentences([self.split(text) for text in texts])
        return [
            {"text": text, **names.describe()} for text, names in zip(texts, found, strict=True)
        ]

    def split(self, text: str) -> list[Sentence]:
        return split_sentences(text, self.limit)

    def tag_sentences(
        self, texts: list[list[Sentence]], on_answer: Callable[[], None] = lambda: None
    ) -> list[Names]:
        """The names of texts that are given as their sentences. Calls `on_answer` per sentence."""
        found = [Names([], []) for _ in texts]
        sentences = [
            (names, sentence) for names, text in zip(found, texts, strict=True) for sentence in text
        ]
        for start in range(0, len(sentences), SENTENCES):
            group = sentences[start : start + SENTENCES]
            answers = {}
            for answer in self.model.answer(
                {index: sentence.text for index, (_, sentence) in enumerate(group)}
            ):
                answers[answer.index] = answer
                on_answer()
            for index, (names, sentence) in enumerate(group):
                names.entities.extend(self.list_entities(sentence, answers[index]))
                if not answers[index].stopped:
                    names.incomplete.append([sentence.start, sentence.end])
        return found

    def list_entities(self, sentence: Sentence, answer: Answer) -> list[dict]:
        """The entities that an answer finds in its sentence, with their places in the text."""
        task, characters = self.model.task, list(sentence.text)
        pieces = answer.pieces
        if pieces is not None:
            pieces = round_pieces(pieces, f"the sentence '{sentence.text[:40]}'")
        tags, diagnosis = tag_answer(
            answer.text, characters, task.kind, pieces, self.min_confidence, task.labels
        )
        entities = []
        for (label, start, end), mention in find_mentions(tags, diagnosis, characters):
            entity = {
                "label": label,
                "text": sentence.text[start:end],
                "start": sentence.start + start,
                "end": sentence.start + end,
            }
            if pieces is not None:
                entity["confidence"] = mention["confidence"]
            entities.append(entity)
        return entities
