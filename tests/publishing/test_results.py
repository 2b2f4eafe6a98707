import pytest
from huggingface_hub import ModelCardData

from ner.cli import InputError
from ner.evaluation.definitions import SCORES
from ner.publishing.results import build_eval_results, describe_evaluation, read_metrics
from tests.publishing.helpers import build_metrics, write_metrics

TINY = {"min_confidence": 1e-05}
SETTINGS = {"dataset": "klue/klue", "split": "validation", "num_samples": 100, "seed": 42}


def build_figures(**values: float) -> dict:
    return {kind: {"value": value, "low": 0.1, "high": 0.9} for kind, value in values.items()}


def test_metadata_for_a_card(tmp_path):
    scores = {name: build_figures(precision=0.3, recall=0.3, f1=0.3) for name in SCORES}
    scores["seqeval"] = build_figures(precision=4 / 7, recall=4 / 9, f1=0.5)
    scores["klue_entity"] = build_figures(f1=0.2)
    metrics = {"sentences": 6, "scores": scores}
    results = build_eval_results(metrics | {"settings": SETTINGS})
    card = ModelCardData(model_name="EXAONE-x", eval_results=results).to_dict()
    [result] = card["model-index"][0]["results"]
    assert result["dataset"] == {
        "name": "KLUE-NER",
        "type": "klue/klue",
        "config": "ner",
        "split": "validation",
        "args": {"sentences": 6},
    }
    values = {metric["name"]: metric["value"] for metric in result["metrics"]}
    assert values["seqeval, micro, f1"] == 0.5
    assert values["seqeval, micro, recall"] == 0.4444
    assert len(values) == len(SCORES) + 2
    local = build_eval_results(
        metrics | {"settings": SETTINGS | {"dataset": str(tmp_path / "mine")}}
    )
    assert local[0].dataset_type == "mine"
    assert str(tmp_path) not in str(local)


@pytest.mark.parametrize(
    ("settings", "threshold", "conditions"),
    [
        ({}, {}, {}),
        ({"constrain": True}, {}, {"constrain": True}),
        ({"constrain": False}, TINY, {"constrain": False} | TINY),
        ({}, TINY, TINY),
    ],
)
def test_every_score_has_the_conditions_of_its_evaluation(folder, settings, threshold, conditions):
    metrics = build_metrics(folder, **settings) | threshold
    results = build_eval_results(metrics)
    assert len(results) == len(SCORES) + 2
    for result in results:
        interval = result.metric_args["interval_95"]
        assert result.metric_args == {"interval_95": interval} | conditions
    assert describe_evaluation(metrics)["conditions"] == conditions


def test_metrics_count_under_every_name_of_the_base(folder, tmp_path):
    path = write_metrics(tmp_path / "metrics.json", folder, adapter_sha256="c0ffee", model="a/b")
    assert read_metrics(path, "c0ffee", {"a/b", "c/d"})["sentences"] == 2
    assert read_metrics(path, "c0ffee", {"c/d"}) is None


@pytest.mark.parametrize("content", ["[]", "{", "1"])
def test_file_without_metrics(tmp_path, content):
    (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(InputError, match=r"metrics\.json: not written by report\.py"):
        read_metrics(tmp_path / "metrics.json", "c0ffee", {"a/b"})
