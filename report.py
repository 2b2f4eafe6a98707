"""The scores of step 4, from the predictions that `evaluate_hub.py` wrote, without a model.

Reads `predictions.jsonl`: a line of settings, then one a sentence with its gold tags and the model's raw answer. The
answers are read and aligned anew by `data_processing.tag_answer`, so another converter is tried by changing that.
Prints seqeval's table, the scores with their errors and where the points went; writes `metrics.json` and `report.html`
beside the predictions, and `comparison.json` where two files are compared.

    python report.py predictions.jsonl
    python report.py predictions.jsonl --compare others.jsonl    is the first better than the other, and where?
"""
import argparse
import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable
from html import escape
from itertools import accumulate
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
from huggingface_hub import EvalResult
from nervaluate.entities import Entity
from nervaluate.strategies import EntityTypeEvaluation, PartialEvaluation
from seqeval.metrics import classification_report, f1_score
from seqeval.metrics.sequence_labeling import get_entities

from data_processing import (KLUE, LABELS, TAGS, InputError, check_writable, find_entities, fold, list_occurrences,
                             mark_entities, run_script, tag_answer, write_whole)

RESAMPLES = 1000
SEED = 42

# Every score: its name for people, what it is, and whose definition that is.
SCORES = {
    "seqeval": {
        "title": "seqeval, micro",
        "definition": "Entities with their label and exact span, all labels together; an I- without a B- "
                      "before it starts an entity too. What the post reports.",
        "source": "seqeval 1.2.2, f1_score(gold, predicted)"},
    "seqeval_strict": {
        "title": "seqeval, micro, strict IOB2",
        "definition": "The same, but an entity starts with a B-.",
        "source": "seqeval 1.2.2, f1_score(gold, predicted, mode='strict', scheme=IOB2)"},
    "klue_entity": {
        "title": "KLUE, entities, macro",
        "definition": "Mean of the labels' F1 in strict IOB2, after the spaces have been taken out of the sentences. "
                      "Labels that neither side has don't count.",
        "source": "klue_baseline/metrics/functional.py, klue_ner_entity_macro_f1"},
    "klue_character": {
        "title": "KLUE, characters, macro",
        "definition": "Mean F1 of the 13 tags, O included, over the characters that are no spaces, with two O more a "
                      "sentence for [CLS] and [SEP]. A tag that neither side has counts as 1.",
        "source": "klue_baseline/metrics/functional.py, klue_ner_char_macro_f1"},
    "surface": {
        "title": "surface form, micro",
        "definition": "Label and text of what the answer lists, whether or not it was found in the sentence, without "
                      "positions; the texts folded as for alignment. What is made up counts as wrong here, too. Set "
                      "against seqeval's: what alignment costs.",
        "source": "data_processing.fold; after UIE's string F1 (Lu et al. 2022)"},
    "nervaluate_partial": {
        "title": "nervaluate, partial",
        "definition": "Spans without labels; one that only overlaps counts half.",
        "source": "nervaluate 1.2.1, PartialEvaluation; SemEval-2013 task 9.1"},
    "nervaluate_type": {
        "title": "nervaluate, type",
        "definition": "Labels of spans that overlap, however much.",
        "source": "nervaluate 1.2.1, EntityTypeEvaluation; SemEval-2013 task 9.1"},
}

# What others report, each on its own set: to stand beside ours, not to be ranked with it.
PUBLISHED = [
    {"model": "EXAONE-3.0-7.8B-Instruct, 4-bit QLoRA, second converter", "score": "seqeval", "value": 0.6820,
     "measured_on": "100 sentences of KLUE-NER's validation split, seed 42", "source": "the post"},
    {"model": "EXAONE-3.0-7.8B-Instruct, 4-bit QLoRA, third converter and stricter prompt", "score": "seqeval",
     "value": 0.7129, "measured_on": "100 sentences of KLUE-NER's validation split, seed 42", "source": "the post"},
    {"model": "BERT-base", "score": "seqeval", "value": 0.88,
     "measured_on": "KLUE-NER; the post doesn't say on which sentences", "source": "the post"},
    {"model": "Bi-LSTM-CRF", "score": "seqeval", "value": 0.85,
     "measured_on": "KLUE-NER; the post doesn't say on which sentences", "source": "the post"},
    *({"model": model, "score": score, "value": value, "measured_on": "KLUE-NER's hidden test set",
       "source": "https://github.com/KLUE-benchmark/KLUE, README"}
      for model, entity, character in [("KoELECTRA-base", 0.8611, 0.9256), ("KLUE-RoBERTa-large", 0.8500, 0.9186)]
      for score, value in [("klue_entity", entity), ("klue_character", character)]),
]

READ = {"json": "plain_json", "repaired": "repaired", "cut off": "cut_off", "unreadable": "unreadable"}
FOUND = ["right", "wrong_label", "wrong_boundary", "wrong_label_and_boundary"]  # what `judge` says of overlaps
IN_WORDS = {"plain_json": "plain JSON", "not_in_sentence": "not in the sentence",
            "repeated": "listed too often"}


# Reading predictions.


def read_predictions(path: Path) -> tuple[dict, list[dict]]:
    """Settings and rows of a predictions file, by id. A last line that a killed process left half-written is ignored.

    A row has `id` (the sentence's row in the split), `tokens`, `gold` (IOB2 tags), `answer` (raw) and `stopped`
    (whether it reached its end marker); `tags` and `diagnosis`, if there, are what they were when it was written.
    Raises InputError, with the line, if the file is anything else.
    """
    try:
        *lines, last = path.read_bytes().split(b"\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); evaluate_hub.py writes such a file") from None
    try:
        json.loads(last)
        lines.append(last)
    except (ValueError, RecursionError):
        pass  # empty, or half-written
    settings, rows = {}, []
    for number, line in enumerate(lines, start=1):
        try:
            item = json.loads(line)
            if number > 1:
                check_row(item)
                rows.append(item)
            elif isinstance(item, dict) and isinstance(item.get("settings"), dict):
                settings = item["settings"]
            else:
                raise ValueError('the first line should be {"settings": {…}}')
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}:{number}: {error}; this is not what evaluate_hub.py writes") from None
    rows.sort(key=lambda row: row["id"])
    if twice := [row["id"] for row, following in zip(rows, rows[1:]) if row["id"] == following["id"]]:
        raise InputError(f"{path}: holds sentence {twice[0]} more than once; one answer a sentence is expected")
    return settings, rows


def check_row(row: object) -> None:
    """Check that a row has what is scored. Raises ValueError."""
    kinds = {"id": int, "tokens": list, "gold": list, "answer": str, "stopped": bool}
    if not isinstance(row, dict) or any(not isinstance(row.get(name), kind) for name, kind in kinds.items()):
        raise ValueError(f"a sentence needs {', '.join(f'{name} ({kind.__name__})' for name, kind in kinds.items())}")
    if not all(isinstance(token, str) for token in row["tokens"]):
        raise ValueError("tokens should be strings")
    if len(row["gold"]) != len(row["tokens"]) or any(tag not in TAGS for tag in row["gold"]):
        raise ValueError(f"gold should hold one tag a token, of {', '.join(TAGS)}")


def retag(rows: list[dict]) -> list[dict]:
    """The rows with `tags` and `diagnosis` as today's `tag_answer` gives them."""
    return [{**row, **dict(zip(("tags", "diagnosis"), tag_answer(row["answer"], row["tokens"])))} for row in rows]


# Counting. A score is a function of how many were right, predicted and gold, by sentence and label: the last axis of
# every array here. So a bootstrap only adds up such counts again.


def list_entities(tags: list[str]) -> list[tuple[str, int, int]]:
    """Entities as (label, first token, token after the last), in seqeval's default reading."""
    return [(label, start, end + 1) for label, start, end in get_entities(tags)]


def count_by_label(gold: Iterable[tuple], predicted: Iterable[tuple]) -> np.ndarray:
    """Right, predicted and gold items (label, …) by label, shape (6, 3); what occurs twice counts twice."""
    gold, predicted, labels = Counter(gold), Counter(predicted), list(LABELS)
    counts = np.zeros((len(labels), 3))
    for column, items in enumerate((gold & predicted, predicted, gold)):
        for item, times in items.items():
            counts[labels.index(item[0]), column] += times
    return counts


def count_characters(gold: list[str], predicted: list[str]) -> np.ndarray:
    """Right, predicted and gold characters by tag, shape (13, 3), with KLUE's two `O` more."""
    pairs = np.zeros((len(TAGS), len(TAGS)))
    for pair in zip([*gold, "O", "O"], [*predicted, "O", "O"], strict=True):
        pairs[TAGS.index(pair[0]), TAGS.index(pair[1])] += 1
    return np.stack([pairs.diagonal(), pairs.sum(axis=0), pairs.sum(axis=1)], axis=-1)


def count_overlaps(strategy, gold: list[tuple], predicted: list[tuple]) -> np.ndarray:
    """Right (half for a partial match), predicted and gold entities by a strategy of nervaluate's, shape (1, 3)."""
    as_theirs = lambda entities: [Entity(label, start, end - 1) for label, start, end in entities]
    result, _ = strategy.evaluate(as_theirs(gold), as_theirs(predicted), list(LABELS))
    return np.array([[result.correct + 0.5 * result.partial, result.actual, result.possible]])


def count_sentence(row: dict) -> dict[str, np.ndarray]:
    """What each score needs to know of one sentence."""
    tokens, gold_tags, tags = row["tokens"], row["gold"], row["tags"]
    gold, predicted = list_entities(gold_tags), list_entities(tags)
    kept = [position for position, token in enumerate(tokens) if token != " "]
    kept_gold, kept_tags = [gold_tags[position] for position in kept], [tags[position] for position in kept]
    gold_texts = [(label, fold("".join(tokens[start:end]))[0]) for label, start, end in gold]
    listed = [(mention["label"], fold(mention["text"])[0])
              for mention in row["diagnosis"]["mentions"] if mention["label"] in LABELS]
    return {
        "seqeval": count_by_label(gold, predicted),
        "seqeval_strict": count_by_label(find_entities(gold_tags), find_entities(tags)),
        "klue_entity": count_by_label(find_entities(kept_gold), find_entities(kept_tags)),
        "klue_character": count_characters(kept_gold, kept_tags),
        "surface": count_by_label(gold_texts, listed),
        "nervaluate_partial": count_overlaps(PartialEvaluation(), gold, predicted),
        "nervaluate_type": count_overlaps(EntityTypeEvaluation(), gold, predicted),
    }


def count_sentences(rows: list[dict]) -> dict[str, np.ndarray]:
    """The counts of all sentences, each of shape (sentences, labels, 3), in the order of their ids."""
    counts = [count_sentence(row) for row in sorted(rows, key=lambda row: row["id"])]
    return {name: np.stack([sentence[name] for sentence in counts]) for name in SCORES}


# Scoring.


def divide(numerator: np.ndarray, denominator: np.ndarray, empty: float = 0.0) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.full(np.shape(denominator), empty), where=denominator > 0)


def compute_scores(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Precision, recall and F1 from counts of shape (…, 3); 0 where there is nothing to count, as in seqeval."""
    right, predicted, gold = np.moveaxis(counts, -1, 0)
    return {"precision": divide(right, predicted), "recall": divide(right, gold),
            "f1": divide(2 * right, predicted + gold)}


def average_scores(name: str, counts: np.ndarray) -> dict[str, np.ndarray]:
    """The score `name` from its counts of shape (…, labels, 3): micro, or macro as KLUE has it (F1 alone)."""
    right, predicted, gold = np.moveaxis(counts, -1, 0)
    if name == "klue_entity":  # seqeval lists the labels that occur
        f1, occurs = divide(2 * right, predicted + gold), predicted + gold > 0
        return {"f1": divide(f1.sum(axis=-1), occurs.sum(axis=-1))}
    if name == "klue_character":  # sklearn's zero_division=True
        return {"f1": divide(2 * right, predicted + gold, empty=1.0).mean(axis=-1)}
    return compute_scores(counts.sum(axis=-2))


def resample(counts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The counts summed over as many sentences, drawn with replacement, again and again: (resamples, labels, 3).

    The draws depend on the number of sentences alone, so two runs on the same sentences are drawn in pairs.
    """
    sentences = len(counts["seqeval"])
    generator = np.random.default_rng(SEED)
    sums = {name: [] for name in counts}
    for _ in range(RESAMPLES // 100):  # in parts, for memory
        times = generator.multinomial(sentences, np.full(sentences, 1 / sentences), size=100).astype(float)
        for name, values in counts.items():
            sums[name].append(np.tensordot(times, values, axes=1))
    return {name: np.concatenate(parts) for name, parts in sums.items()}


def score_counts(counts: dict[str, np.ndarray]) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """All scores and, in seqeval's default mode, those of each label, from counts of shape (…, labels, 3)."""
    by_label = compute_scores(counts["seqeval"])
    return {"scores": {name: average_scores(name, counts[name]) for name in SCORES},
            "per_label": {label: {figure: values[..., position] for figure, values in by_label.items()}
                          for position, label in enumerate(LABELS)}}


def estimate(values: dict | np.ndarray, resampled: dict | np.ndarray) -> dict:
    """Every figure of nested ones as `value`, `low` and `high`: with the middle 95 % of what resampling gave."""
    if isinstance(values, dict):
        return {name: estimate(values[name], resampled[name]) for name in values}
    low, high = np.quantile(resampled, [0.025, 0.975])
    return {"value": float(values), "low": float(low), "high": float(high)}


def compute_metrics(rows: list[dict]) -> dict:
    """All figures of the report, as `metrics.json` holds them; the same whatever the order of the rows.

    - `sentences`, `gold_entities`, `predicted_entities` (as tagged), `hit_token_limit` (answers without an end marker);
    - `scores`: by name in SCORES, then `f1` and, but for KLUE's two, `precision` and `recall`, each with `value` and
      its 95 % interval, `low` and `high`;
    - `per_label`: the same three by label in seqeval's default mode, with `right`, `predicted` and `support`;
    - `confusion`: entities by gold label and predicted label, where both sides have the same span. Its column `missed`
      holds the gold entities without such a counterpart, its row `made_up` the predicted ones;
    - `budget`: where the points went, four groups that each add up to their `total`; see `count_budget`;
    - `bootstrap`: how the intervals were made.
    """
    counts = count_sentences(rows)
    totals = {name: values.sum(axis=0) for name, values in counts.items()}
    figures = estimate(score_counts(totals), score_counts(resample(counts)))
    for by_label, (right, predicted, gold) in zip(figures["per_label"].values(), totals["seqeval"], strict=True):
        by_label.update(right=int(right), predicted=int(predicted), support=int(gold))
    return {
        "sentences": len(rows),
        "gold_entities": int(totals["seqeval"][:, 2].sum()),
        "predicted_entities": int(totals["seqeval"][:, 1].sum()),
        "hit_token_limit": sum(not row["stopped"] for row in rows),
        **figures,
        "confusion": count_confusion(rows),
        "budget": count_budget(rows),
        "bootstrap": {"over": "sentences", "resamples": RESAMPLES, "seed": SEED, "level": 0.95},
    }


# Where the points went.


def judge(entity: tuple[str, int, int], others: list[tuple[str, int, int]], alone: str) -> str:
    """What became of an entity (label, start, end) on the other side; `alone` if nothing there overlaps it."""
    label, start, end = entity
    touching = [other for other in others if other[1] < end and start < other[2]]
    if entity in touching:
        return "right"
    if any(other[1:] == (start, end) for other in touching):
        return "wrong_label"
    if any(other[0] == label for other in touching):
        return "wrong_boundary"
    return "wrong_label_and_boundary" if touching else alone


def judge_sentence(row: dict) -> dict[str, list[dict]]:
    """The gold entities, the mentions that the answer lists and the further ones tagged, each with its `verdict`.

    `gold` and `further` have `label`, `text`, `start` and `end`, `mentions` what `tag_answer` says of them; all that
    have a place give it in tokens. The verdicts are the fields of the groups in `count_budget`.
    """
    tokens = row["tokens"]
    gold, predicted = list_entities(row["gold"]), list_entities(row["tags"])
    token_of_character = [position for position, token in enumerate(tokens) for _ in token]

    def judge_mention(mention: dict) -> dict:
        if "start" in mention:
            start, end = token_of_character[mention["start"]], token_of_character[mention["end"] - 1] + 1
            return {**mention, "start": start, "end": end,
                    "verdict": judge((mention["label"], start, end), gold, "made_up")}
        if mention["status"] == "unknown label":
            return {**mention, "verdict": "unknown_label"}
        stands_there = any(list_occurrences([mention["text"]], "".join(tokens))[mention["text"]])
        return {**mention, "verdict": "repeated" if stands_there else "not_in_sentence"}

    return {
        "gold": [{"label": label, "text": "".join(tokens[start:end]), "start": start, "end": end,
                  "verdict": judge((label, start, end), predicted, "missed")} for label, start, end in gold],
        "mentions": [judge_mention(mention) for mention in row["diagnosis"]["mentions"]],
        "further": [judge_mention(mention) for mention in row["diagnosis"]["further"]],
    }


def count_budget(rows: list[dict]) -> dict[str, dict[str, int]]:
    """Where the points went, in groups that each add up to their `total`:

    - `gold`, all gold entities: `right`; `wrong_label` (the span has another); `wrong_boundary` (it overlaps one of its
      label); `wrong_label_and_boundary` (it overlaps others only); `missed`;
    - `predicted`, all mentions that the answers list: the same, but `made_up` where no gold entity overlaps, and those
      that were not tagged: `not_in_sentence`, `repeated` (the sentence has it less often) and `unknown_label`;
    - `further`, occurrences tagged though no answer lists them: as `predicted`, as far as `made_up`;
    - `answers`: `plain_json`, `repaired`, `cut_off`, `unreadable`, as `tag_answer` read them.
    """
    budget = {"gold": dict.fromkeys([*FOUND, "missed"], 0),
              "predicted": dict.fromkeys([*FOUND, "made_up", "not_in_sentence", "repeated", "unknown_label"], 0),
              "further": dict.fromkeys([*FOUND, "made_up"], 0),
              "answers": dict.fromkeys(READ.values(), 0)}
    totals = dict.fromkeys(budget, 0)
    for row in rows:
        judged = judge_sentence(row)
        for group, name in (("gold", "gold"), ("predicted", "mentions"), ("further", "further")):
            totals[group] += len(judged[name])
            for entity in judged[name]:
                budget[group][entity["verdict"]] += 1
        totals["answers"] += 1
        budget["answers"][READ[row["diagnosis"]["read"]]] += 1
    return {group: {"total": totals[group], **fields} for group, fields in budget.items()}


def count_confusion(rows: list[dict]) -> dict[str, dict[str, int]]:
    """Gold label → predicted label → entities with the same span on both sides, and those without one."""
    confusion = {label: dict.fromkeys([*LABELS, "missed"], 0) for label in LABELS}
    confusion["made_up"] = dict.fromkeys(LABELS, 0)
    for row in rows:
        gold, predicted = ({entity[1:]: entity[0] for entity in list_entities(row[side])} for side in ("gold", "tags"))
        for span, label in gold.items():
            confusion[label][predicted.get(span, "missed")] += 1
        for span in predicted.keys() - gold.keys():
            confusion["made_up"][predicted[span]] += 1
    return confusion


# Comparing.


def compare(rows: list[dict], others: list[dict]) -> dict:
    """What two runs on the same sentences differ in: the first's scores less the other's, by paired bootstrap.

    Returns `scores` and `per_label`, laid out as in `compute_metrics`, each figure a difference with its 95 % interval
    (above 0: the first is better; hardly by chance if the whole interval is), and `changed`, the sentences that the two
    tag differently: `id`; `gold`, `first` and `other` in KLUE's notation; the `errors` of both (gold entities not
    predicted plus predicted ones that are not gold); and the `verdict`: "better", "worse" or "as wrong".
    Raises InputError if the sentences or their gold tags differ.
    """
    rows, others = (sorted(side, key=lambda row: row["id"]) for side in (rows, others))
    if differ := {row["id"] for row in rows} ^ {row["id"] for row in others}:
        raise InputError(f"the two files are not about the same sentences: {len(differ):,} are in one alone, such as "
                         f"{min(differ)}; compare runs with the same --dataset, --split, --num_samples and --seed")
    for row, other in zip(rows, others, strict=True):
        if (row["tokens"], row["gold"]) != (other["tokens"], other["gold"]):
            raise InputError(f"the two files are not about the same sentences: {row['id']} has other tokens or gold "
                             "tags; compare runs with the same --dataset and --split")

    first, other = count_sentences(rows), count_sentences(others)
    differences = [subtract(score_counts(ours), score_counts(theirs)) for ours, theirs in (
        ({name: values.sum(axis=0) for name, values in side.items()} for side in (first, other)),
        (resample(first), resample(other)))]
    errors, other_errors = ((side["seqeval"] @ [-2, 1, 1]).sum(axis=-1).astype(int).tolist() for side in (first, other))
    changed = [
        {"id": row["id"], "verdict": "better" if ours < theirs else "worse" if ours > theirs else "as wrong",
         "errors": {"first": ours, "other": theirs}, "gold": mark_entities(row["tokens"], row["gold"]),
         "first": mark_entities(row["tokens"], row["tags"]), "other": mark_entities(row["tokens"], other["tags"])}
        for row, other, ours, theirs in zip(rows, others, errors, other_errors, strict=True)
        if row["tags"] != other["tags"]]
    return {"sentences": len(rows), **estimate(*differences), "changed": changed,
            "bootstrap": {"over": "sentences, in pairs", "resamples": RESAMPLES, "seed": SEED, "level": 0.95}}


def subtract(first: dict | np.ndarray, other: dict | np.ndarray) -> dict | np.ndarray:
    """The difference of nested figures, figure by figure."""
    if isinstance(first, dict):
        return {name: subtract(first[name], other[name]) for name in first}
    return first - other


# For people.


def compute_f1(gold: list[list[str]], predicted: list[list[str]]) -> float:
    """Micro F1 in seqeval's default mode, as the post scored. Tags are lists of IOB2 strings, one a sentence."""
    return f1_score(gold, predicted, zero_division=0)


def format_table(rows: list[dict]) -> str:
    """seqeval's table and micro F1, as the post printed them."""
    gold, predicted = [row["gold"] for row in rows], [row["tags"] for row in rows]
    if not any(map(list_entities, gold + predicted)):
        return "no entities, neither gold nor predicted\n\nF1-Score: 0.0000"
    return (f"{classification_report(gold, predicted, zero_division=0)}\n"
            f"F1-Score: {compute_f1(gold, predicted):.4f}")


def format_scores(metrics: dict) -> str:
    """The headline: each F1 with its interval."""
    lines = [f"{'':<30}     F1   95 % over {metrics['sentences']:,} sentences"]
    for name, score in SCORES.items():
        f1 = metrics["scores"][name]["f1"]
        lines.append(f"{score['title']:<30} {f1['value']:.4f}   {f1['low']:.4f} to {f1['high']:.4f}")
    return "\n".join(lines)


def format_budget(metrics: dict) -> str:
    """Where the points went, a line a group, without what didn't happen."""
    titles = {"gold": "gold entities", "predicted": "listed mentions", "further": "further ones tagged",
              "answers": "answers"}
    lines = []
    for group, fields in metrics["budget"].items():
        counts = [f"{IN_WORDS.get(name, name.replace('_', ' '))} {count:,}"
                  for name, count in fields.items() if name != "total" and count]
        lines.append(f"{titles[group]:<20} {fields['total']:>6,}: {', '.join(counts) or 'none'}")
    if metrics["hit_token_limit"]:
        lines.append(f"{metrics['hit_token_limit']:,} answers reached the token limit before they ended")
    return "\n".join(lines)


def format_comparison(comparison: dict, most: int = 10) -> str:
    """The differences with their intervals, and the sentences that changed the most."""
    changed = comparison["changed"]
    lines = [f"{'first less other':<30}      F1   95 %"]
    figures = {SCORES[name]["title"]: score["f1"] for name, score in comparison["scores"].items()}
    for title, f1 in {**figures, **{label: score["f1"] for label, score in comparison["per_label"].items()}}.items():
        surely = "" if f1["low"] <= 0 <= f1["high"] else "   *"
        lines.append(f"{title:<30} {f1['value']:+.4f}   {f1['low']:+.4f} to {f1['high']:+.4f}{surely}")
    verdicts = Counter(sentence["verdict"] for sentence in changed)
    lines.append(f"* the interval leaves out 0, as one in twenty does by chance\n\n{len(changed):,} of "
                 f"{comparison['sentences']:,} sentences are tagged differently: {verdicts['better']:,} better, "
                 f"{verdicts['worse']:,} worse, {verdicts['as wrong']:,} as wrong")
    change = lambda sentence: abs(sentence["errors"]["first"] - sentence["errors"]["other"])
    for sentence in sorted(changed, key=change, reverse=True)[:most]:
        lines.append(f"\n{sentence['id']}: {sentence['verdict']}\n    gold  {sentence['gold']}\n"
                     f"    first {sentence['first']}\n    other {sentence['other']}")
    return "\n".join(lines)


def model_index(metrics: dict, settings: dict) -> list[EvalResult]:
    """The headline as metadata of a model's card: `ModelCardData(model_name=…, eval_results=model_index(…))`.

    A folder is named by its last part alone, as the rest of its path says nothing to others.
    """
    dataset = settings["dataset"]
    folder = Path(dataset).is_dir() or dataset.count("/") != 1
    about = {"task_type": "token-classification", "task_name": "Named entity recognition",
             "dataset_type": Path(dataset).name if folder else dataset,
             "dataset_name": "KLUE-NER" if dataset == KLUE else Path(dataset).name,
             "dataset_config": None if folder else "ner", "dataset_split": settings["split"],
             "dataset_revision": settings.get("dataset_revision"), "dataset_args": {"sentences": metrics["sentences"]}}
    return [
        EvalResult(metric_type=kind, metric_name=f"{SCORES[name]['title']}, {kind}",
                   metric_value=round(figure["value"], 4),
                   metric_args={"interval_95": [round(figure["low"], 4), round(figure["high"], 4)]}, **about)
        for name, figures in metrics["scores"].items() for kind, figure in figures.items()
        if kind == "f1" or name == "seqeval"
    ]


# What a reader can look for, under the headings of the page's filter.
KINDS = {
    "Entities": ["missed", "wrong_label", "wrong_boundary", "wrong_label_and_boundary", "made_up"],
    "Mentions": ["not_in_sentence", "repeated", "unknown_label"],
    "Answers": ["repaired", "cut_off", "unreadable", "token_limit"],
}

STYLE = """
:root { color-scheme: light dark; --paper: #fcfcfa; --raised: #fff; --ink: #1c1d1f; --quiet: #595d63; --line: #dedfd9;
  --accent: #1d5cb8; --heat: 29 92 184; --bad: #b3261e; --tint: 90%; --edge: 45%; --deep: 22%;
  --right: #7d95b3; --amber: #d98a00; --yellow: #e8c33d; --red: #c9372c; --violet: #8a5bc7; --brown: #8d6748; }
@media (prefers-color-scheme: dark) { :root { --paper: #141517; --raised: #1b1d20; --ink: #e7e7e3; --quiet: #a3a7ad;
  --line: #33363a; --accent: #86b4ff; --heat: 110 160 240; --bad: #f2938c; --tint: 20%; --edge: 55%; --deep: 80%;
  --right: #5f7795; --amber: #d9952b; --yellow: #cbb04a; --red: #e0685d; --violet: #a583dc; --brown: #a98463; } }
* { box-sizing: border-box; }
#heading { width: fit-content; } #sentences { scroll-margin-top: -5rem; }
html { scroll-padding-top: 5rem; -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI",
  "Apple SD Gothic Neo", "Malgun Gothic", "Noto Sans KR", "Noto Sans CJK KR", sans-serif; }
header, main { max-width: 70rem; margin: 0 auto; padding: 0 1.25rem; }
h1 { font-size: 1.35rem; margin: 1.75rem 0 .1rem; line-height: 1.25; overflow-wrap: anywhere; }
h2 { font-size: 1rem; margin: 0 0 .35rem; }
h3 { font-size: .9375rem; margin: 0 0 .4rem; font-weight: 600; }
p { margin: 0 0 .6rem; }
a { color: var(--accent); text-underline-offset: .18em; }
section { border-top: 1px solid var(--line); padding: 1rem 0 .4rem; margin-top: 1.4rem; }
.pair { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 0 3rem; }
.quiet, caption, th, dt { color: var(--quiet); font-size: .8125rem; font-weight: 400; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; border-radius: 2px; }
.skip { position: absolute; left: -99rem; }
.skip:focus { left: 1rem; top: .5rem; background: var(--raised); padding: .3rem .6rem; z-index: 3; }
data, td, .number { font-variant-numeric: tabular-nums; }

svg { display: block; width: 100%; } .rail { fill: var(--line); } .fill { fill: var(--accent); opacity: .55; }
.interval { fill: var(--ink); }

table { border-collapse: collapse; width: 100%; }
caption { text-align: left; padding-bottom: .4rem; }
th { text-align: right; padding: .25rem .5rem; }
td { text-align: right; padding: .28rem .5rem; border-top: 1px solid var(--line); }
tr > :first-child { text-align: left; padding-left: 0; } tr > :last-child { padding-right: 0; }
tbody th { border-top: 1px solid var(--line); color: var(--ink); font-size: inherit; }
td svg { margin-top: .1rem; }
.scores th[scope=row] { width: 58%; font-weight: 600; } .scores th .quiet { display: block; max-width: 46rem; }
.scores .f1 { width: 10rem; } .f1 data { font-size: 1.375rem; line-height: 1.3; font-weight: 600;
  letter-spacing: -.01em; }
.f1 .quiet { display: block; white-space: nowrap; } .scores td, .scores tbody th { vertical-align: top; }
.number { line-height: 1.95rem; }
.labels tbody th { white-space: nowrap; } .labels td:nth-child(-n+4) { width: 20%; }
.published th, .published td { text-align: left; } .published td:nth-child(2) { width: 8rem; }
.published .group th { padding-top: .8rem; font-weight: 600; }
.ours { font-weight: 600; }
.matrix td { text-align: center; padding: 0; } .matrix a { display: block; padding: .28rem 0; color: inherit; }
.matrix thead th { text-align: center; }
.matrix tbody tr > :last-child, .matrix tbody tr:last-child > td { color: var(--quiet); }
.h1 { background: rgb(var(--heat) / .08); } .h2 { background: rgb(var(--heat) / .16); }
.h3 { background: rgb(var(--heat) / .25); } .h4 { background: rgb(var(--heat) / .36); }

.budget { display: grid; grid-template-columns: repeat(auto-fit, minmax(15.4rem, 1fr)); gap: 1rem 1.75rem;
  font-size: .9375em; }
.budget svg { margin-bottom: .4rem; }
.budget rect, .budget i { fill: var(--c); background: var(--c); stroke: var(--paper);
  vector-effect: non-scaling-stroke; }
.budget i { display: inline-block; width: .7em; height: .7em; margin-right: .5em; }
.budget th, .budget td { padding: .14rem 0 .14rem .6rem; border: 0; vertical-align: top; white-space: nowrap; }
.budget tbody th { text-align: left; padding-left: 1.2em; text-indent: -1.2em; white-space: normal; line-height: 1.35; }
.right, .plain_json { --c: var(--right); } .missed, .made_up, .unreadable { --c: var(--red); }
.wrong_label, .cut_off { --c: var(--amber); }
.wrong_boundary, .repaired { --c: var(--yellow); } .wrong_label_and_boundary, .repeated { --c: var(--brown); }
.not_in_sentence { --c: var(--violet); } .unknown_label { --c: var(--ink); }

.settings { columns: 20rem; margin: .5rem 0 0; } .settings div { break-inside: avoid; padding: .1rem 0; }
.settings dt { display: inline; } .settings dd { display: inline; margin: 0 0 0 .4em; overflow-wrap: anywhere; }
summary { cursor: pointer; } summary h2 { display: inline; }

form { display: flex; flex-wrap: wrap; gap: .6rem .75rem; align-items: end; background: var(--paper); padding: .6rem 0;
  border-bottom: 1px solid var(--line); }
@media (min-width: 48rem) and (min-height: 30rem) { form { position: sticky; top: 0; z-index: 2; } }
form label { font-size: .8125rem; color: var(--quiet); } form label > * { display: block; width: 100%; }
select, input, button { font: inherit; font-size: .9375rem; color: var(--ink); background: var(--raised);
  border: 1px solid var(--quiet); border-radius: 4px; padding: .3rem .5rem; min-height: 2.25rem; }
button { cursor: pointer; } .search { flex: 1 1 12rem; } form select { max-width: 13rem; text-overflow: ellipsis; }
#count { margin-left: auto; padding-bottom: .4rem; white-space: nowrap; }
#list { list-style: none; margin: 0; padding: 0; }
#list > li { display: grid; grid-template-columns: 5.2rem minmax(0, 1fr); gap: .1rem .75rem; align-items: baseline;
  padding: .7rem 0 .8rem; border-bottom: 1px solid var(--line); }
#list > li > b { font-weight: 400; font-size: .8125rem; color: var(--quiet); }
#list .line, #list .top { margin: 0; line-height: 1.85rem; overflow-wrap: anywhere; word-break: keep-all; }
#list .top { grid-column: 1 / -1; line-height: 1.5; font-size: .8125rem; }
#list pre { margin: .15rem 0 0; font: .8125rem/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "D2Coding",
  "Noto Sans Mono CJK KR", monospace; white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: plaintext; }
#list .small { font-size: .8125rem; line-height: 1.6; } .small q { quotes: "“" "”"; unicode-bidi: isolate; }
.verdict { margin: 0 .75rem; font-weight: 600; } .verdict.wrong { color: var(--bad); }
mark { color: inherit; background: hsl(var(--hue) 60% var(--tint)); border-radius: 3px; padding: .12em .22em .14em;
  box-decoration-break: clone; -webkit-box-decoration-break: clone; }
mark small { font-size: .6875rem; font-weight: 600; margin-left: .35em; color: hsl(var(--hue) 60% var(--deep));
  white-space: nowrap; user-select: none; }
mark.off { background: none; outline: 1.5px dashed hsl(var(--hue) 55% var(--edge)); outline-offset: -1px; }
.PS { --hue: 215; } .LC { --hue: 145; } .OG { --hue: 275; } .DT { --hue: 40; } .TI { --hue: 345; } .QT { --hue: 180; }
#more { margin: 1rem 0; } #more[hidden] { display: none; }
@media (max-width: 48rem) {
  header, main { padding: 0 .9rem; } th, td { padding-left: .25rem; padding-right: .25rem; }
  .labels, .matrix { font-size: .875rem; } .labels tbody th .quiet { display: block; }
  .pair { display: block; } .pair > * + * { margin-top: 1.5rem; }
  .scores tr, .published tr { display: grid; grid-template-columns: 1fr 5rem 5rem; }
  .published tr { grid-template-columns: 6rem 1fr; }
  .scores tr > :first-child, .published tr > :first-child { grid-column: 1 / -1; width: auto; }
  .scores tr > :nth-child(2), .published tr > :nth-child(2) { text-align: left; padding-left: 0; width: auto; }
  .scores td, .published td + td { border: 0; }
  .scores thead th:first-child, .published thead th:first-child { display: none; }
  form label { flex: 1 1 6rem; min-width: 0; } form .search { flex-basis: 100%; } form select { max-width: none; }
  #list > li, #list > li > b { display: block; } #list > li > b { line-height: 1.3; margin-top: .35rem; } }
"""

# Nothing here parses HTML: strings reach the document through append(), which makes text of them.
SCRIPT = """
"use strict";
const STEP = 50;
const find = (id) => document.getElementById(id);
const rows = JSON.parse(find("data").textContent);
const form = find("filters"), list = find("list"), more = find("more");
const number = new Intl.NumberFormat("en");
const words = Object.fromEntries([...form.elements.kind.options].map((option) => [option.value, option.text]));
const fold = (text) => text.normalize("NFKC").toLowerCase();
let matching = [], only = null;

function element(name, attributes, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function markSentence(sentence, entities) {
  const characters = [...sentence], line = element("p", { class: "line", lang: "ko" });
  let end = 0;
  for (const [label, first, stop, note] of entities) {
    const start = Math.max(first, end);
    line.append(characters.slice(end, start).join(""), element("mark", { class: note ? label + " off" : label },
      characters.slice(start, stop).join(""), element("small", { lang: "en" }, note ? label + " " + note : label)));
    end = stop;
  }
  line.append(characters.slice(end).join(""));
  return line;
}

function describe(row) {
  const line = element("p", { class: "line small" }, row.read);
  line.append(row.stopped ? "" : ", ran into the token limit", ` · ${row.placed} placed`);
  for (const [what, mentions] of row.notes) {
    line.append(` · ${what}: `);
    mentions.forEach(([label, text], index) => {
      line.append(index ? ", " : "", element("q", { lang: "ko" }, text), ` ${label}`);
    });
  }
  return line;
}

function showRow(row) {
  const kinds = [...new Set(row.errors.map(([kind]) => kind))];
  return element("li", { tabindex: -1 },
    element("p", { class: "top" }, element("a", { href: "#" + new URLSearchParams({ id: row.id }) }, `#${row.id}`),
      element("span", { class: row.right ? "verdict" : "verdict wrong" }, row.right ? "✓ right" : "✗ wrong"),
      element("span", { class: "quiet" }, kinds.map((kind) => words[kind]).join(", "))),
    element("b", {}, "gold"), markSentence(row.sentence, row.gold),
    element("b", {}, "predicted"), markSentence(row.sentence, row.predicted),
    element("b", {}, "answer"), element("pre", { lang: "ko" }, row.answer || "(empty)"),
    element("b", {}, "diagnosis"), describe(row));
}

function showMore() {
  const next = matching.slice(list.childElementCount, list.childElementCount + STEP).map(showRow);
  list.append(...next);
  const left = matching.length - list.childElementCount;
  more.hidden = !left;
  more.textContent = `Show ${number.format(Math.min(STEP, left))} more of ${number.format(left)}`;
  return next[0];
}

function matches(row, { show, label, kind, q }) {
  if (only !== null) return String(row.id) === only;
  if (show && row.right !== (show === "right")) return false;
  const [gold, predicted] = label.split(">");
  const involves = (first, second) => (predicted ? first === gold && second === predicted
    : !label || first === label || second === label || !first && !second);
  const errors = row.errors.filter(([is, first, second]) => (!kind || is === kind) && involves(first, second));
  if ((kind || predicted) && !errors.length) return false;
  if (label && !predicted && !row.labels.includes(label)) return false;
  row.folded ??= fold(row.sentence + "\\n" + row.answer);
  return row.folded.includes(fold(q));
}

function apply() {
  const wanted = Object.fromEntries(new FormData(form));
  matching = rows.filter((row) => matches(row, wanted));
  find("count").textContent = `${number.format(matching.length)} of ${number.format(rows.length)} sentences`;
  list.replaceChildren();
  showMore();
}

function readHash() {
  if (!location.hash.includes("=")) return false;
  const wanted = new URLSearchParams(location.hash.slice(1));
  for (const field of form.querySelectorAll("select, input")) field.value = wanted.get(field.name) ?? "";
  for (const field of form.querySelectorAll("select")) if (field.selectedIndex < 0) field.value = "";
  only = wanted.get("id");
  return true;
}

function writeHash() {
  only = null;
  history.replaceState(null, "", "#" + new URLSearchParams([...new FormData(form)].filter(([, value]) => value)));
  apply();
}

function goToSentences() {
  if (!readHash()) return;
  apply();
  find("sentences").scrollIntoView();
  find("heading").focus({ preventScroll: true });
}

form.addEventListener("input", writeHash);
form.addEventListener("submit", (event) => event.preventDefault());
find("clear").addEventListener("click", () => { form.reset(); writeHash(); });
more.addEventListener("click", () => showMore()?.focus());
addEventListener("hashchange", goToSentences);
// The link that was followed last changes no hash.
addEventListener("click", (event) => {
  if (event.target.closest("a")?.getAttribute("href") === location.hash) goToSentences();
});
apply();
goToSentences();
"""


def render_page(rows: list[dict], metrics: dict, settings: dict) -> str:
    """The report as one self-contained HTML file.

    `rows` as `retag` returns them, `metrics` as `compute_metrics` does. What became of each entity: `judge_sentence`.
    """
    sentences = [pack_row(row) for row in rows]
    right = sum(sentence["right"] for sentence in sentences)
    model = escape(" + ".join(str(settings[name]) for name in ("model", "adapter") if settings.get(name)) or "a model")
    confused = [f"{gold}>{predicted}" for gold in LABELS for predicted in LABELS
                if gold != predicted and metrics["confusion"][gold][predicted]]
    labels = {"": list(LABELS), "Gold → predicted": confused}
    policy = (f"default-src 'none'; style-src '{hash_source(STYLE)}'; script-src '{hash_source(SCRIPT)}'; "
              "base-uri 'none'; form-action 'none'")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>Named entities: {model}</title>
<style>{STYLE}</style>
</head>
<body>
<a class="skip" href="#sentences">Skip to the sentences</a>
<header>
<h1>{model}</h1>
<p class="quiet">Korean named entities · {metrics["sentences"]:,} sentences,
of which {link(f"{right:,} all right", show="right")} and {link(f"{len(rows) - right:,} not", show="wrong")} ·
{metrics["gold_entities"]:,} gold entities, {metrics["predicted_entities"]:,} predicted</p>
</header>
<main>
<section aria-labelledby="scores">
<h2 id="scores">Scores</h2>
{render_scores(metrics)}
</section>
<section class="pair">
<div><h2>By label</h2>{render_labels(metrics["per_label"])}</div>
<div><h2>Labels confused</h2>{render_confusion(metrics["confusion"])}</div>
</section>
<section aria-labelledby="budget">
<h2 id="budget">Where the points went</h2>
<div class="budget">{render_budget(metrics)}</div>
</section>
<section aria-labelledby="published">
<h2 id="published">Beside published figures</h2>
{render_published(metrics)}
</section>
<section id="settings">
<details><summary><h2>Settings</h2></summary>{render_settings(settings)}</details>
</section>
<section id="sentences" aria-labelledby="heading">
<h2 id="heading" tabindex="-1">Sentences</h2>
<noscript>The sentences are filtered and shown by the page's script, which is switched off here.</noscript>
<form id="filters" role="search" aria-label="Sentences" autocomplete="off">
<label>Tagged<select name="show">{render_options("all", {"": ["right", "wrong"]})}</select></label>
<label>Kind of error<select name="kind">{render_options("any", KINDS)}</select></label>
<label>Label<select name="label">{render_options("any", labels)}</select></label>
<label class="search">Search in sentences and answers<input type="search" name="q"></label>
<button type="button" id="clear">Reset</button>
<output id="count" for="filters"></output>
</form>
<ol id="list"></ol>
<button type="button" id="more" hidden>Show more</button>
</section>
</main>
<script type="application/json" id="data">{embed_json(sentences)}</script>
<script>{SCRIPT}</script>
</body>
</html>
"""


def hash_source(content: str) -> str:
    """An inline style or script as a Content-Security-Policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def embed_json(value: object) -> str:
    """JSON that can stand in a script element: no text in it can end the element, or fail to be written as UTF-8."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return re.sub("[<>&\u2028\u2029\ud800-\udfff]", lambda character: f"\\u{ord(character[0]):04x}", text)


def pack_row(row: dict) -> dict:
    """What the page shows of a sentence and filters it by.

    Entities are (label, start, end, what is wrong) in characters; errors are (kind, gold label, predicted label).
    """
    judged, read = judge_sentence(row), READ[row["diagnosis"]["read"]]
    offsets = [0, *accumulate(map(len, row["tokens"]))]
    listed, further = judged["mentions"], judged["further"]
    tagged = sorted([mention for mention in listed if "start" in mention] + further, key=lambda entity: entity["start"])
    label_at = {(entity["start"], entity["end"]): entity["label"] for entity in tagged}

    def mark(entities: list[dict]) -> list[tuple]:
        return [(entity["label"], offsets[entity["start"]], offsets[entity["end"]],
                 "" if entity["verdict"] == "right" else say(entity["verdict"])) for entity in entities]

    def name(mentions: list[dict], verdict: str) -> list[tuple[str, str]]:
        return [(mention["label"], mention["text"]) for mention in mentions if verdict in ("any", mention["verdict"])]

    notes = {**{say(kind): name(listed, kind) for kind in KINDS["Mentions"]},
             "tagged though not listed": name(further, "any")}
    errors = [(entity["verdict"], entity["label"], label_at.get((entity["start"], entity["end"])))
              for entity in judged["gold"]]
    errors += [(mention["verdict"], None, mention["label"]) for mention in listed + further]
    errors += [(read, None, None)] + [("token_limit", None, None)] * (not row["stopped"])
    return {"id": row["id"], "sentence": "".join(row["tokens"]), "answer": row["answer"], "read": say(read),
            "gold": mark(judged["gold"]), "predicted": mark(tagged),
            "right": all(entity["verdict"] == "right" for entity in judged["gold"] + tagged),
            "errors": [error for error in errors if error[0] not in ("right", "plain_json")],
            "labels": sorted({entity["label"] for group in judged.values() for entity in group}),
            "placed": len(tagged) - len(further), "stopped": row["stopped"],
            "notes": [note for note in notes.items() if note[1]]}


def say(name: str) -> str:
    """A field of the budget, a label or a pair of labels, for people."""
    if name in LABELS:
        return f"{name} {LABELS[name]}"
    return IN_WORDS.get(name, name.replace("_", " ").replace(">", " → "))


def link(text: str, **filters: str) -> str:
    """A link to the sentences behind a figure: the page keeps its filters in its hash."""
    return f'<a href="#{escape(urlencode(filters))}">{escape(text)}</a>'


def render_options(all_of_them: str, groups: dict[str, list[str]]) -> str:
    """The options of a filter; a group without a title stands alone."""
    options = [f'<option value="">{all_of_them}</option>']
    for title, values in groups.items():
        inside = "".join(f'<option value="{escape(value)}">{escape(say(value))}</option>' for value in values)
        options.append(f'<optgroup label="{escape(title)}">{inside}</optgroup>' if title else inside)
    return "".join(options)


def render_table(name: str, caption: str, heads: list[str], lines: list[str]) -> str:
    heads = "".join(f'<th scope="col">{head}</th>' for head in heads)
    return (f'<table class="{name}"><caption>{caption}</caption><thead><tr>{heads}</tr></thead>'
            f'<tbody>{"".join(lines)}</tbody></table>')


def render_bar(height: int, total: float, parts: list[str]) -> str:
    """A drawing `total` wide that takes its width from what it stands in. Its numbers stand beside it as text."""
    return (f'<svg viewBox="0 0 {total} {height}" height="{height}" preserveAspectRatio="none" aria-hidden="true">'
            f'{"".join(parts)}</svg>')


def render_figure(figure: dict[str, float], digits: int, name: str | None = None) -> str:
    """A score as a number and a bar from 0 to 1, with its 95 % interval as a line where it has one."""
    value, parts, about = figure["value"], ['<rect class="rail" width="1" height="7"/>'], ""
    parts.append(f'<rect class="fill" width="{figure["value"]:.4f}" height="7"/>')
    if "low" in figure:
        low, high = figure["low"], figure["high"]
        parts.append(f'<rect class="interval" x="{low:.4f}" y="2.5" width="{high - low:.4f}" height="2"/>')
        about = f' title="95 %: {low:.4f} to {high:.4f}"'
    if name:
        about += f' id="{name}"'
    return f'<data value="{value}"{about}>{value:.{digits}f}</data>{render_bar(7, 1, parts)}'


def render_scores(metrics: dict) -> str:
    """Every score with its interval and whose definition it is."""
    lines, bootstrap = [], metrics["bootstrap"]
    for name, figures in metrics["scores"].items():
        f1, score = figures["f1"], {key: escape(text) for key, text in SCORES[name].items()}
        others = [f'{figures[part]["value"]:.4f}' if part in figures else "–" for part in ("precision", "recall")]
        lines.append(f'<tr><th scope="row">{score["title"]}'
                     f'<span class="quiet">{score["definition"]} <cite>{score["source"]}</cite></span></th>'
                     f'<td class="f1">{render_figure(f1, 4, name)}'
                     f'<span class="quiet">{f1["low"]:.4f} to {f1["high"]:.4f}</span></td>'
                     + "".join(f'<td class="number">{other}</td>' for other in others) + "</tr>")
    caption = (f'Under each F1 its {100 * bootstrap["level"]:.0f} % interval, from {bootstrap["resamples"]:,} '
               f'bootstrap resamples over {escape(bootstrap["over"])}.')
    return render_table("scores", caption, ["score", "F1", "precision", "recall"], lines)


def render_labels(labels: dict[str, dict]) -> str:
    """Precision, recall and F1 of each label, every figure with its bar."""
    lines = [f'<tr><th scope="row">{link(label, label=label)} <span class="quiet">{LABELS[label]}</span></th>'
             + "".join(f"<td>{render_figure(figures[part], 3)}</td>" for part in ("precision", "recall", "f1"))
             + f'<td>{figures["support"]:,}</td><td>{figures["predicted"]:,}</td></tr>'
             for label, figures in labels.items()]
    return render_table("labels", "By seqeval’s default. The line in a bar is the 95 % interval.",
                        ["label", "precision", "recall", "F1", "gold", "predicted"], lines)


def render_confusion(confusion: dict[str, dict[str, int]]) -> str:
    """Gold labels down, predicted labels across; a confusion is the darker, the larger its share of the row."""
    lines = []
    for gold, counts in confusion.items():
        total, cells = max(sum(counts.values()), 1), []
        for predicted, count in counts.items():
            shade, text = 0, f"{count:,}" if count else "·"
            if gold == predicted:
                text = f"<b>{text}</b>"
            elif count and gold in LABELS and predicted in LABELS:
                shade = sum(count > total * share for share in (0, .01, .03, .1))
                text = link(text, label=f"{gold}>{predicted}")
            cells.append(f'<td class="h{shade}">{text}</td>')
        lines.append(f'<tr><th scope="row">{"none" if gold == "made_up" else gold}</th>{"".join(cells)}</tr>')
    caption = "Gold down, predicted across, where both have the same span; “none”: no entity there with that span."
    return render_table("matrix", caption, ["", *LABELS, "none"], lines)


def render_budget(metrics: dict) -> str:
    """Each whole and what became of it: a stacked bar, and numbers that add up and lead to their sentences."""
    limit = link(f'{metrics["hit_token_limit"]:,} of them', kind="token_limit")
    titles = {"gold": ("gold entities", ""), "predicted": ("mentions listed", ""),
              "further": ("further occurrences", "Other places of a mention, tagged though not listed."),
              "answers": ("answers", f"{limit} ran into the token limit.")}
    groups = []
    for group, counts in metrics["budget"].items():
        (title, note), total, start, bars, lines = titles[group], max(counts["total"], 1), 0, [], []
        for kind, count in counts.items():
            if kind == "total":
                continue
            name = say(kind) if kind in ("right", "plain_json") or not count else link(say(kind), kind=kind)
            bars.append(f'<rect class="{kind}" x="{start}" width="{count}" height="18">'
                        f'<title>{say(kind)}: {count:,}</title></rect>')
            lines.append(f'<tr><th scope="row"><i class="{kind}"></i>{name}</th>'
                         f'<td>{count:,}</td><td class="quiet">{100 * count / total:.1f} %</td></tr>')
            start += count
        groups.append(f'<div><h3>{counts["total"]:,} {title}</h3>{render_bar(18, total, bars)}'
                      f'<table aria-label="{title}">{"".join(lines)}</table><p class="quiet">{note}</p></div>')
    return "".join(groups)


def render_published(metrics: dict) -> str:
    """This run first, then what others report by the same score, each with the set it was measured on."""
    lines = []
    for score in dict.fromkeys(figure["score"] for figure in PUBLISHED):
        lines.append(f'<tr class="group"><th scope="rowgroup" colspan="3">{escape(SCORES[score]["title"])}</th></tr>'
                     f'<tr class="ours"><td>this run</td><td>{render_figure(metrics["scores"][score]["f1"], 4)}</td>'
                     f'<td>{metrics["sentences"]:,} sentences, see <a href="#settings">settings</a></td></tr>')
        lines += [f'<tr><td>{escape(figure["model"])}</td><td>{render_figure(figure, 4)}</td><td>'
                  f'{escape(figure["measured_on"])} <cite class="quiet">{escape(figure["source"])}</cite></td></tr>'
                  for figure in PUBLISHED if figure["score"] == score]
    caption = "Each on the sentences it was measured on: to be set beside this run, not ranked with it."
    return render_table("published", caption, ["model", "F1", "measured on"], lines)


def render_settings(settings: dict) -> str:
    text = lambda value: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(text(value))}</dd></div>"
                    for name, value in settings.items())
    return f'<dl class="settings">{items}</dl>' if items else "<p>The predictions name none.</p>"


def report_predictions(predictions: Path, page: Path | None = None) -> dict:
    """Score a predictions file: print the figures, write `metrics.json` and the page beside it. Returns the metrics.

    In the file they stand with the `settings` that they were measured under.
    """
    page, figures = page or predictions.with_name("report.html"), predictions.with_name("metrics.json")
    settings, written = read_predictions(predictions)
    if not written:
        raise InputError(f"{predictions}: holds no predictions yet")
    for path in (page, figures):
        check_writable(path)
    rows = retag(written)
    metrics = compute_metrics(rows)
    print(f"{format_table(rows)}\n\n{format_scores(metrics)}\n\n{format_budget(metrics)}\n")
    as_written = [row.get("tags", again["tags"]) for row, again in zip(written, rows, strict=True)]
    if retagged := sum(tags != again["tags"] for tags, again in zip(as_written, rows, strict=True)):
        print(f"{retagged:,} sentences are tagged otherwise than when they were written; F1 was "
              f"{compute_f1([row['gold'] for row in rows], as_written):.4f} then\n")
    write_whole(figures, json.dumps({"settings": settings} | metrics, ensure_ascii=False, indent=2) + "\n")
    write_whole(page, render_page(rows, metrics, settings))
    print(f"{figures}\n{page}")
    return metrics


def report_comparison(predictions: Path, other: Path) -> dict:
    """Compare two predictions files: print what differs, write it to `comparison.json` beside the first."""
    (_, rows), (_, others) = read_predictions(predictions), read_predictions(other)
    comparison = compare(retag(rows), retag(others))
    print(f"\nfirst: {predictions}\nother: {other}\n\n{format_comparison(comparison)}\n")
    path = predictions.with_name("comparison.json")
    write_whole(path, json.dumps(comparison, ensure_ascii=False, indent=2) + "\n")
    print(path)
    return comparison


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("predictions", type=Path, help="what evaluate_hub.py wrote")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="predictions of another run on the same sentences")
    parser.add_argument("--html", type=Path, metavar="FILE",
                        help="where the page goes (default: report.html beside the predictions)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    report_predictions(args.predictions, args.html)
    if args.compare:
        report_comparison(args.predictions, args.compare)


if __name__ == "__main__":
    run_script(main)
