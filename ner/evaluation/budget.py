"""The error budget: a verdict on every gold entity, predicted one and answer."""

from collections.abc import Iterable, Mapping

from ner.evaluation.counts import list_entities
from ner.text.alignment import list_occurrences
from ner.text.klue import LABELS
from ner.text.tags import map_characters

# Verdicts on a gold entity that overlaps a predicted one, or the reverse.
OVERLAPS = ["right", "wrong_label", "wrong_boundary", "wrong_label_and_boundary"]
# The verdicts on answers, by the diagnosis of `tag_answer`.
READINGS = {
    "json": "plain_json",
    "repaired": "repaired",
    "copied": "copied",
    "mended": "mended",
    "cut off": "cut_off",
    "unreadable": "unreadable",
}
JSON_READINGS = ["plain_json", "repaired", "cut_off", "unreadable"]
MARKED_READINGS = ["copied", "mended", "cut_off", "unreadable"]
VERDICTS = {
    "gold": [*OVERLAPS, "missed"],
    "predicted": [*OVERLAPS, "made_up", "not_in_sentence", "repeated", "unknown_label", "unsure"],
    "further": [*OVERLAPS, "made_up"],
}
# Of tags without answers: every mention is a tagged entity.
TAG_VERDICTS = {"gold": VERDICTS["gold"], "tagged": [*OVERLAPS, "made_up"]}
TITLES = {
    "gold": "gold entities",
    "predicted": "listed mentions",
    "further": "further occurrences",
    "tagged": "tagged entities",
    "answers": "answers",
}
DISPLAY_NAMES = {
    "plain_json": "plain JSON",
    "not_in_sentence": "not in the sentence",
    "repeated": "not placed",
    "unsure": "below the threshold",
}

Entity = tuple[str, int, int]  # label, first token, token after the last


def display_name(name: str, labels: Mapping[str, str] = LABELS) -> str:
    """A verdict, a label or a pair of labels as people read it.

    >>> display_name("wrong_label"), display_name("PS"), display_name("PS>OG")
    ('wrong label', 'PS 사람', 'PS → OG')
    """
    if name in labels:
        return f"{name} {labels[name]}".rstrip()
    return DISPLAY_NAMES.get(name, name.replace("_", " ").replace(">", " → "))


def classify_entity(entity: Entity, others: list[Entity], unmatched: str) -> str:
    """The verdict on an entity, given all entities of the other side.

    The verdict is `unmatched` if the entity overlaps none of them.
    """
    label, start, end = entity
    overlapping = [other for other in others if other[1] < end and start < other[2]]
    if entity in overlapping:
        return "right"
    if any(other[1:] == (start, end) for other in overlapping):
        return "wrong_label"
    if any(other[0] == label for other in overlapping):
        return "wrong_boundary"
    return "wrong_label_and_boundary" if overlapping else unmatched


def classify_mention(
    mention: dict, gold: list[Entity], sentence: str, token_of_character: list[int]
) -> dict:
    """Add the `verdict` to a mention of the diagnosis. Its place, if it has one, is in tokens."""
    if "start" in mention:
        start = token_of_character[mention["start"]]
        end = token_of_character[mention["end"] - 1] + 1
        verdict = classify_entity((mention["label"], start, end), gold, "made_up")
        return {**mention, "start": start, "end": end, "verdict": verdict}
    if mention["status"] in ("unknown label", "unsure"):
        return {**mention, "verdict": mention["status"].replace(" ", "_")}
    occurrences = list_occurrences([mention["text"]], sentence)[mention["text"]]
    return {**mention, "verdict": "repeated" if any(occurrences) else "not_in_sentence"}


def classify_sentence(row: dict) -> dict[str, list[dict]]:
    """Give a `verdict` to each `gold` entity, listed mention and `further` occurrence of a row.

    The mentions are under `mentions`, with the fields that `tag_answer` gives them. Entities in
    `gold` and `further` have `label`, `text`, `start` and `end`. All places are in tokens.
    `count_budget` explains the verdicts.
    """
    tokens, diagnosis = row["tokens"], row["diagnosis"]
    gold, predicted = list_entities(row["gold"]), list_entities(row["tags"])
    classified_gold = [
        {
            "label": label,
            "text": "".join(tokens[start:end]),
            "start": start,
            "end": end,
            "verdict": classify_entity((label, start, end), predicted, "missed"),
        }
        for label, start, end in gold
    ]
    context = (gold, "".join(tokens), map_characters(tokens))
    return {
        "gold": classified_gold,
        "mentions": [classify_mention(mention, *context) for mention in diagnosis["mentions"]],
        "further": [classify_mention(mention, *context) for mention in diagnosis["further"]],
    }


def count_budget(rows: list[dict]) -> dict[str, dict[str, int]]:
    """Count the verdicts in four groups. The counts of a group add up to its `total`.

    - `gold`, all gold entities:
        - `right`: tagged with the same label and span
        - `wrong_label`: the same span has another label
        - `wrong_boundary`: overlaps a tagged entity with its label
        - `wrong_label_and_boundary`: overlaps only tagged entities with other labels
        - `missed`: overlaps no tagged entity
    - `predicted`, all mentions that the answers list:
        - the first four verdicts of `gold`, compared with the gold entities
        - `made_up`: tagged, but overlaps no gold entity
        - `not_in_sentence`: does not occur in the sentence
        - `repeated`: occurs in the sentence but has no place, because a JSON answer lists it too
          often or a marked copy differs too much
        - `unknown_label`: its label is not one that the model was asked for
        - `unsure`: not tagged, because its confidence is below the threshold; absent if there is
          none
    - `further`, occurrences that were tagged although no answer lists them: the first five
      verdicts of `predicted`. Those below the threshold are not tagged, so no group counts them
    - `answers`, by how `tag_answer` read them: `plain_json`, `repaired`, `cut_off`, `unreadable`;
      marked ones `copied`, `mended`, `cut_off`, `unreadable`

    Rows with tags alone have two groups: `gold`, and `tagged` with the verdicts of `further`.
    """
    groups = choose_groups(rows)
    budget = {group: dict.fromkeys(["total", *verdicts], 0) for group, verdicts in groups.items()}
    for row in rows:
        classified = classify_sentence(row)
        verdicts = {
            "gold": [entity["verdict"] for entity in classified["gold"]],
            "predicted": [mention["verdict"] for mention in classified["mentions"]],
            "further": [mention["verdict"] for mention in classified["further"]],
            "answers": [READINGS.get(row["diagnosis"]["read"])],
        }
        verdicts["tagged"] = verdicts["predicted"]
        for group in budget:
            for verdict in verdicts[group]:
                budget[group]["total"] += 1
                budget[group][verdict] += 1
    if "predicted" in budget and not budget["predicted"]["unsure"]:
        del budget["predicted"]["unsure"]  # most reports have no threshold
    return budget


def choose_groups(rows: list[dict]) -> dict[str, list[str]]:
    """The verdicts by group, for the kind of answers in the rows."""
    if all(row["diagnosis"]["read"] == "tags" for row in rows):
        return TAG_VERDICTS
    is_marked = any("edits" in row["diagnosis"] for row in rows)
    return VERDICTS | {"answers": MARKED_READINGS if is_marked else JSON_READINGS}


def count_confusion(rows: list[dict], labels: Iterable[str] = LABELS) -> dict[str, dict[str, int]]:
    """Count entities with the same span on both sides by gold label, then predicted label.

    Entities without a counterpart are in the column `missed` (gold) or the row `made_up`
    (predicted).
    """
    confusion = {label: dict.fromkeys([*labels, "missed"], 0) for label in labels}
    confusion["made_up"] = dict.fromkeys(labels, 0)
    for row in rows:
        gold, predicted = map_spans(row["gold"]), map_spans(row["tags"])
        for span, label in gold.items():
            confusion[label][predicted.get(span, "missed")] += 1
        for span in predicted.keys() - gold.keys():
            confusion["made_up"][predicted[span]] += 1
    return confusion


def map_spans(tags: list[str]) -> dict[tuple[int, int], str]:
    """The label of each entity by its span."""
    return {(start, end): label for label, start, end in list_entities(tags)}
