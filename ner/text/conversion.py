"""Turn a model's answer into tags, and record what happened to every mention."""

from collections.abc import Mapping, Sequence
from itertools import accumulate

from ner.text.alignment import place_mentions
from ner.text.answers import Piece, locate_mentions, read_answer, write_answer
from ner.text.confidence import measure_confidence
from ner.text.klue import LABELS
from ner.text.marked import locate_marks, read_marked
from ner.text.notation import mark_entities
from ner.text.tags import find_entities, write_tags


def write_gold_answer(tokens: Sequence[str], tags: Sequence[str], kind: str = "json") -> str:
    """The answer that a model should give for a tagged sentence. `kind` is "json" or "marked"."""
    if kind == "marked":
        return mark_entities(tokens, tags)
    return write_answer(tokens, find_entities(tags))


def tag_answer(
    answer: str,
    tokens: Sequence[str],
    kind: str = "json",
    pieces: Sequence[Piece] | None = None,
    min_confidence: float = 0.0,
    labels: Mapping[str, str] = LABELS,
) -> tuple[list[str], dict]:
    """Tag `tokens` with a model's answer and diagnose the answer.

    `kind` is "json" or "marked", and `labels` are descriptions by name. Returns one IOB2 tag per
    token, always well-formed, and a diagnosis that can be saved as JSON:

    - `read`, how a JSON answer was read:
        - "json": it is plain JSON
        - "repaired": it is an answer in another form
        - "cut off": it breaks off, and its complete mentions are kept
        - "unreadable": it contains no answer
    - `read` and `edits` of a marked answer: see `marked.read_marked`
    - `mentions`, everything the answer lists, in its order, each with `label`, `text` and `status`:
        - "placed": tagged, with `start` and `end` in characters of the sentence
        - "not found": no free occurrence in the sentence
        - "unknown label": not one of `labels`
        - "unsure": it has a place, but its confidence is below `min_confidence`
    - `further`, occurrences that the answer did not list and that were tagged too, each with
      `label`, `text`, `start` and `end`. A marked answer has none

    `pieces` are the tokens of the answer. If they are given, each mention also has `answer_span`,
    the [start, end] of the characters that wrote it, and `confidence`, the probability of the
    tokens there. Further occurrences have the confidence of the mention that they repeat, and are
    not tagged either if it is below `min_confidence`.

    If tokens are longer than one character, a token goes to the first entity that touches it. No
    string raises. For a JSON answer, time grows at most with its length plus (different mentions) ×
    (length of the sentence). For a marked one that is no exact copy, with its length × (length of
    the sentence), up to a bound.
    """
    if kind == "marked":
        reading, mentions = read_marked(answer, "".join(tokens), labels)
        further = []
    else:
        reading, mentions, further = place_answer(answer, "".join(tokens), labels)
    if pieces is not None:
        spans = locate_marks(answer) if kind == "marked" else locate_mentions(answer, labels)
        add_confidence(mentions, further, answer, spans, pieces)
        further = drop_unsure(mentions, further, min_confidence)
    placed = [mention for mention in mentions if mention["status"] == "placed"]
    entities = [(entity["start"], entity["end"], entity["label"]) for entity in placed + further]
    return write_tags(entities, tokens), {**reading, "mentions": mentions, "further": further}


def diagnose_tags(tags: Sequence[str], tokens: Sequence[str]) -> dict:
    """The diagnosis of a tagger's own IOB2 tags: `read` is "tags", and each entity is "placed".

    It has the form that `tag_answer` gives. No token is empty.
    """
    offsets = [0, *accumulate(len(token) for token in tokens)]
    mentions = [
        {
            "label": label,
            "text": "".join(tokens[start:end]),
            "status": "placed",
            "start": offsets[start],
            "end": offsets[end],
        }
        for label, start, end in find_entities(tags)
    ]
    return {"read": "tags", "mentions": mentions, "further": []}


def place_answer(
    answer: str, sentence: str, labels: Mapping[str, str]
) -> tuple[dict, list[dict], list[dict]]:
    """Read a JSON answer and place its mentions. Returns `read`, `mentions` and `further`."""
    read, pairs = read_answer(answer, labels)
    mentions = [
        {
            "label": label,
            "text": text,
            "status": "not found" if label in labels else "unknown label",
        }
        for label, text in pairs
    ]
    known = [mention for mention in mentions if mention["label"] in labels]
    spans, further = place_mentions(
        [(mention["label"], mention["text"]) for mention in known], sentence
    )
    for mention, span in zip(known, spans, strict=True):
        if span:
            mention.update(status="placed", start=span[0], end=span[1])
    return {"read": read}, mentions, further


def add_confidence(
    mentions: list[dict],
    further: list[dict],
    answer: str,
    spans: list[tuple[int, int]],
    pieces: Sequence[Piece],
) -> None:
    """Add `answer_span` and `confidence` to the mentions, and `confidence` to `further`.

    `spans` are where the mentions stand in the answer. If there is not one for each, they get the
    whole answer's confidence.
    """
    if len(spans) != len(mentions):
        spans = [(0, len(answer))] * len(mentions)
    confidences: dict[tuple[str, str], float] = {}
    for mention, span in zip(mentions, spans, strict=True):
        confidence = round(measure_confidence(pieces, *span), 4)
        mention.update(answer_span=list(span), confidence=confidence)
        # If a name is listed more than once, its first mention counts.
        confidences.setdefault((mention["label"], mention["text"]), confidence)
    for entity in further:
        entity["confidence"] = confidences[entity["label"], entity["text"]]


def drop_unsure(mentions: list[dict], further: list[dict], min_confidence: float) -> list[dict]:
    """Take the place from mentions below `min_confidence`. Returns what is left of `further`."""
    for mention in mentions:
        if mention["status"] == "placed" and mention["confidence"] < min_confidence:
            mention["status"] = "unsure"
            del mention["start"], mention["end"]
    return [entity for entity in further if entity["confidence"] >= min_confidence]
