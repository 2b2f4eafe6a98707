"""The sentences of the page, as its script reads them."""

from itertools import accumulate

from ner.evaluation.budget import READINGS, classify_sentence, display_name

# The page's filter by kind of error: headings and their options.
KINDS = {
    "Entities": ["missed", "wrong_label", "wrong_boundary", "wrong_label_and_boundary", "made_up"],
    "Mentions": ["not_in_sentence", "repeated", "unknown_label", "unsure"],
    "Answers": ["repaired", "mended", "cut_off", "unreadable", "token_limit"],
}


def pack_sentence(row: dict) -> dict:
    """Everything that the page shows about a sentence or uses to filter it.

    - `gold` and `predicted`: (label, start, end, error or "", confidence or None) with places in
      characters;
    - `errors`: (kind, gold label, predicted label), where a label may be None;
    - `notes`: (description, [(label, text, confidence or None), …]) about mentions;
    - `answer`, `read` and `stopped`, unless the row has tags alone.
    """
    classified = classify_sentence(row)
    gold, listed, further = classified["gold"], classified["mentions"], classified["further"]
    placed = [mention for mention in listed if "start" in mention]
    tagged = sorted(placed + further, key=lambda entity: entity["start"])
    # The position of each token in the sentence, and the end of the last.
    offsets = [0, *accumulate(len(token) for token in row["tokens"])]
    return {
        "id": row["id"],
        "sentence": "".join(row["tokens"]),
        "gold": [pack_entity(entity, offsets) for entity in gold],
        "predicted": [pack_entity(entity, offsets) for entity in tagged],
        "right": all(entity["verdict"] == "right" for entity in gold + tagged),
        "errors": list_errors(gold, tagged, listed + further) + list_answer_errors(row),
        "labels": sorted({entity["label"] for entity in gold + listed + further}),
        "placed": len(placed),
        "notes": list_notes(listed, further),
        **pack_answer(row),
    }


def pack_answer(row: dict) -> dict:
    """The model's answer and how it was read; empty if the row has tags alone."""
    if row["diagnosis"]["read"] == "tags":
        return {}
    read = display_name(READINGS[row["diagnosis"]["read"]])
    return {"answer": row["answer"], "read": read, "stopped": row["stopped"]}


def pack_entity(entity: dict, offsets: list[int]) -> tuple[str, int, int, str, float | None]:
    """(label, start, end, error or "", confidence or None) with places in characters."""
    error = "" if entity["verdict"] == "right" else display_name(entity["verdict"])
    start, end = offsets[entity["start"]], offsets[entity["end"]]
    return entity["label"], start, end, error, entity.get("confidence")


def list_errors(gold: list[dict], tagged: list[dict], mentions: list[dict]) -> list[tuple]:
    """The errors in entities and mentions, as (kind, gold label, predicted label).

    The predicted label of a gold entity is that of the tagged entity with the same span.
    """
    label_of_span = {(entity["start"], entity["end"]): entity["label"] for entity in tagged}
    errors = []
    for entity in gold:
        predicted = label_of_span.get((entity["start"], entity["end"]))
        errors.append((entity["verdict"], entity["label"], predicted))
    errors += [(mention["verdict"], None, mention["label"]) for mention in mentions]
    return [error for error in errors if error[0] != "right"]


def list_answer_errors(row: dict) -> list[tuple]:
    """The errors in an answer as a whole, in the form of `list_errors`."""
    reading = READINGS.get(row["diagnosis"]["read"])
    if reading is None:
        return []
    kinds = []
    if reading not in ("plain_json", "copied"):
        kinds.append(reading)
    if not row["stopped"]:
        kinds.append("token_limit")
    return [(kind, None, None) for kind in kinds]


def list_notes(listed: list[dict], further: list[dict]) -> list[tuple[str, list]]:
    """Notes about mentions that were not tagged, and about entities that were not listed."""
    notes = []
    for kind in KINDS["Mentions"]:
        mentions = [mention for mention in listed if mention["verdict"] == kind]
        notes.append((display_name(kind), mentions))
    notes.append(("tagged but not listed", further))
    return [
        (description, [pack_mention(mention) for mention in mentions])
        for description, mentions in notes
        if mentions
    ]


def pack_mention(mention: dict) -> tuple[str, str, float | None]:
    return mention["label"], mention["text"], mention.get("confidence")
