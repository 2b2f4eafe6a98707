"""The scores of step 4: what `evaluate_hub.py` prints."""
from seqeval.metrics import classification_report, f1_score

PLAIN = "json"


def compute_f1(gold: list[list[str]], predicted: list[list[str]]) -> float:
    """Entity-level micro F1 in seqeval's default mode, as the post scored. Tags are lists of IOB2 strings, one a sentence."""
    return f1_score(gold, predicted, zero_division=0)


def format_report(gold: list[list[str]], predicted: list[list[str]], diagnoses: list[dict]) -> str:
    """seqeval's table and micro F1, after the count of answers that were not plain JSON."""
    odd = sum(diagnosis["read"] != PLAIN for diagnosis in diagnoses)
    return (f"sentences: {len(gold):,}, answers that were not plain JSON: {odd:,}\n\n"
            f"{classification_report(gold, predicted, zero_division=0)}\n"
            f"F1-Score: {compute_f1(gold, predicted):.4f}")
