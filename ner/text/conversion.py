"""Turn a model's answer into tags, and record what happened to every mention."""

from collections.abc import Sequence

from ner.text.alignment import place_mentions
from ner.text.answers import read_answer
from ner.text.klue import LABELS
from ner.text.tags import write_tags


def tag_answer(answer: str, tokens: Sequence[str]) -> tuple[list[str], dict]:
    """Tag `tokens` with a model's answer and diagnose the answer.

    Returns one IOB2 tag per token, always well-formed, and a diagnosis that can be saved as JSON:

    - `read`, how the answer was read:
        - "json": it is plain JSON
        - "repaired": it is an answer in another form
        - "cut off": it breaks off, and its complete mentions are kept
        - "unreadable": it contains no answer
    - `mentions`, everything the answer lists, in its order, each with `label`, `text` and `status`:
        - "placed": tagged, with `start` and `end` in characters of the sentence
        - "not found": no free occurrence in the sentence
        - "unknown label": not one of KLUE's labels
    - `further`, occurrences that the answer did not list and that were tagged too, each with
      `label`, `text`, `start` and `end`

    If tokens are longer than one character, a token goes to the first entity that touches it. No
    string raises. Time grows at most with the length of the answer plus (different mentions) ×
    (length of the sentence).
    """
    read, pairs = read_answer(answer)
    mentions = [
        {
            "label": label,
            "text": text,
            "status": "not found" if label in LABELS else "unknown label",
        }
        for label, text in pairs
    ]
    known = [mention for mention in mentions if mention["label"] in LABELS]
    spans, further = place_mentions(
        [(mention["label"], mention["text"]) for mention in known], "".join(tokens)
    )
    for mention, span in zip(known, spans, strict=True):
        if span:
            mention.update(status="placed", start=span[0], end=span[1])
    placed = [mention for mention in known if mention["status"] == "placed"]
    entities = [(entity["start"], entity["end"], entity["label"]) for entity in placed + further]
    return write_tags(entities, tokens), {"read": read, "mentions": mentions, "further": further}
