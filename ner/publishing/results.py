"""Read an adapter's scores from `metrics.json` and prepare them for its card."""

import json
from pathlib import Path

from huggingface_hub import EvalResult

from ner.cli import InputError
from ner.evaluation.definitions import SCORES
from ner.text.hub_data import split_config
from ner.text.klue import KLUE


def read_metrics(path: Path, fingerprint: str, bases: set[str]) -> dict | None:
    """Read `metrics.json` if it was measured with this adapter and one of `bases`.

    Otherwise print the reason and return None. Raises InputError if it is not readable.
    """
    reason = "does not exist"
    if path.is_file():
        try:
            metrics = json.loads(path.read_text(encoding="utf-8"))
            settings = metrics.get("settings", {})
        except (ValueError, AttributeError) as error:
            raise InputError(
                f"{path}: not written by report.py ({error}). Choose another --metrics, or "
                "evaluate the adapter again: python evaluate_hub.py"
            ) from None
        if settings.get("adapter_sha256") == fingerprint and settings.get("model") in bases:
            return metrics
        reason = "was not measured with this adapter on this base model"
    print(f"no scores on the card: {path} {reason}")
    return None


def build_eval_results(metrics: dict) -> list[EvalResult]:
    """The scores as a card's metadata: `ModelCardData(model_name=…, eval_results=…)`.

    Includes precision, recall and F1 for seqeval's score, and F1 alone for the others. A local data
    set is named by the last part of its path. Each score has its interval and the conditions of
    `list_conditions`.
    """
    settings = metrics["settings"]
    dataset = settings["dataset"]
    is_local = Path(dataset).is_dir() or dataset.count("/") != 1
    dataset_id, config = split_config(dataset)
    conditions = list_conditions(metrics)
    results = []
    for name, figures in metrics["scores"].items():
        for kind, figure in figures.items():
            if kind != "f1" and name != "seqeval":
                continue
            interval = [round(figure["low"], 4), round(figure["high"], 4)]
            result = EvalResult(
                task_type="token-classification",
                task_name="Named entity recognition",
                dataset_type=Path(dataset_id).name if is_local else dataset_id,
                dataset_name="KLUE-NER" if dataset_id == KLUE else Path(dataset_id).name,
                dataset_config="ner" if dataset_id == KLUE else config,
                dataset_split=settings["split"],
                dataset_revision=settings.get("dataset_revision"),
                dataset_args={"sentences": metrics["sentences"]},
                metric_type=kind,
                metric_name=f"{SCORES[name]['title']}, {kind}",
                metric_value=round(figure["value"], 4),
                metric_args={"interval_95": interval} | conditions,
            )
            results.append(result)
    return results


def list_conditions(metrics: dict) -> dict:
    """Conditions of an evaluation that change its scores, as far as they apply.

    - `constrain`: whether marked answers were held to exact copies of their sentences;
    - `min_confidence`: the threshold below which names were left out.
    """
    conditions = {
        "constrain": metrics["settings"].get("constrain"),
        "min_confidence": metrics.get("min_confidence"),
    }
    return {name: value for name, value in conditions.items() if value is not None}


def describe_evaluation(metrics: dict) -> dict:
    """Facts about an evaluation for the card, as plain values."""
    settings = metrics["settings"]
    result = build_eval_results(metrics)[0]
    return {
        "sentences": metrics["sentences"],
        "dataset": result.dataset_type,
        "split": result.dataset_split,
        "revision": result.dataset_revision,
        "prompt": settings["prompt"],
        "precision": settings["precision"],
        "conditions": list_conditions(metrics),
        "scores": [SCORES[name] | figures["f1"] for name, figures in metrics["scores"].items()],
    }
