"""Count right, predicted and gold items, sentence by sentence.

Every score is a function of such counts. They form arrays whose last axis is (right, predicted,
gold) and whose axis before it is the label. A bootstrap only has to add them up again.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from nervaluate.entities import Entity
from nervaluate.strategies import EntityTypeEvaluation, EvaluationStrategy, PartialEvaluation

from ner.text.alignment import normalize
from ner.text.klue import LABELS, TAGS
from ner.text.tags import find_entities, start_entities
from ner.text.task import is_klue

Counts = dict[str, np.ndarray]  # by score: an array of shape (…, labels, 3)


def list_entities(tags: list[str]) -> list[tuple[str, int, int]]:
    """List entities as seqeval's default mode does: (label, first token, token after the last).

    Unlike in `find_entities`, an I- tag can start an entity.
    """
    return find_entities(start_entities(tags))


def count_by_label(
    gold: Iterable[tuple], predicted: Iterable[tuple], labels: Sequence[str]
) -> np.ndarray:
    """Count items (label, …), as an array of shape (labels, 3). Each repetition counts."""
    gold, predicted = Counter(gold), Counter(predicted)
    counts = np.zeros((len(labels), 3))
    for column, items in enumerate((gold & predicted, predicted, gold)):
        for item, times in items.items():
            counts[labels.index(item[0]), column] += times
    return counts


def count_characters(gold: list[str], predicted: list[str]) -> np.ndarray:
    """Count characters by tag, as an array of shape (13, 3), with the two `O` that KLUE adds."""
    pairs = np.zeros((len(TAGS), len(TAGS)))
    for gold_tag, predicted_tag in zip([*gold, "O", "O"], [*predicted, "O", "O"], strict=True):
        pairs[TAGS.index(gold_tag), TAGS.index(predicted_tag)] += 1
    return np.stack([pairs.diagonal(), pairs.sum(axis=0), pairs.sum(axis=1)], axis=-1)


def count_overlaps(
    strategy: EvaluationStrategy,
    gold: list[tuple[str, int, int]],
    predicted: list[tuple[str, int, int]],
    labels: Sequence[str],
) -> np.ndarray:
    """Count entities by a strategy of nervaluate, as an array of shape (1, 3).

    A partial match counts half.
    """
    result, _ = strategy.evaluate(
        [Entity(label, start, end - 1) for label, start, end in gold],
        [Entity(label, start, end - 1) for label, start, end in predicted],
        labels,
    )
    return np.array([[result.correct + 0.5 * result.partial, result.actual, result.possible]])


def remove_spaces(tags: list[str], tokens: list[str]) -> list[str]:
    """The tags of all tokens except spaces, as KLUE scores them."""
    return [tag for tag, token in zip(tags, tokens, strict=True) if token != " "]


def count_surface_forms(
    row: dict, gold: list[tuple[str, int, int]], labels: Sequence[str]
) -> np.ndarray:
    """Count (label, normalized text) of the gold entities and the listed mentions."""
    gold_texts = [
        (label, normalize("".join(row["tokens"][start:end]))[0]) for label, start, end in gold
    ]
    listed_texts = [
        (mention["label"], normalize(mention["text"])[0])
        for mention in row["diagnosis"]["mentions"]
        if mention["label"] in labels and mention["status"] != "unsure"
    ]
    return count_by_label(gold_texts, listed_texts, labels)


def count_for_klue(row: dict) -> Counts:
    """The counts of one sentence for KLUE's two official scores."""
    gold = remove_spaces(row["gold"], row["tokens"])
    predicted = remove_spaces(row["tags"], row["tokens"])
    entities = count_by_label(find_entities(gold), find_entities(predicted), list(LABELS))
    return {"klue_entity": entities, "klue_character": count_characters(gold, predicted)}


def count_sentence(row: dict, labels: Sequence[str], klue: bool) -> Counts:
    """The counts of one sentence for every score, with `klue` for KLUE's two official ones."""
    gold_tags, predicted_tags = row["gold"], row["tags"]
    gold, predicted = list_entities(gold_tags), list_entities(predicted_tags)
    strict = count_by_label(find_entities(gold_tags), find_entities(predicted_tags), labels)
    return {
        "seqeval": count_by_label(gold, predicted, labels),
        "seqeval_strict": strict,
        **(count_for_klue(row) if klue else {}),
        "surface": count_surface_forms(row, gold, labels),
        "nervaluate_partial": count_overlaps(PartialEvaluation(), gold, predicted, labels),
        "nervaluate_type": count_overlaps(EntityTypeEvaluation(), gold, predicted, labels),
    }


def count_sentences(rows: list[dict], labels: Mapping[str, str] = LABELS) -> Counts:
    """The counts of all sentences, in the order of their ids: (sentences, labels, 3) each.

    `labels` are descriptions by name.
    """
    names, klue = list(labels), is_klue(labels)
    rows = sorted(rows, key=lambda row: row["id"])
    sentences = [count_sentence(row, names, klue) for row in rows]
    return {name: np.stack([counts[name] for counts in sentences]) for name in sentences[0]}


def sum_sentences(counts: Counts) -> Counts:
    """Add up the counts of all sentences: (labels, 3) each."""
    return {name: values.sum(axis=0) for name, values in counts.items()}
