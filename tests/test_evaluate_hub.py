"""Step 4 from its flags to its files."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

import evaluate_hub
from ner.cli import InputError
from ner.inference.building import build_recognizer
from ner.inference.recognizer import LocalRecognizer
from ner.model.adapter import read_adapter_task
from ner.tagging.recognizer import Recognizer
from ner.text.corpus import load_split
from ner.text.task import KLUE_TASK, build_task
from tests.evaluation.runs import MEMORIZED, read_lines
from tests.helpers import SAMPLE


def test_memorized_sentences_score_one(adapter, tmp_path, capsys):
    flags = ["--adapter", str(adapter), *MEMORIZED, "--min_f1", "0.99"]
    evaluate_hub.main([*flags, "--output_dir", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "micro avg" in printed
    assert "F1-Score: 1.0000" in printed
    header, *rows = read_lines(tmp_path)
    assert len(rows) == 24
    assert header["settings"]["prompt"] == "basic"
    split = load_split(str(SAMPLE), "train")
    for row in rows:
        assert row["stopped"]
        assert row["tags"] == row["gold"]
        assert row["tokens"] == split[row["id"]]["tokens"]


def test_merged_adapter_scores_one(adapter, tmp_path):
    flags = ["--adapter", str(adapter), *MEMORIZED, "--precision", "merged", "--min_f1", "0.99"]
    evaluate_hub.main([*flags, "--output_dir", str(tmp_path)])
    header, *rows = read_lines(tmp_path)
    assert header["settings"]["precision"] == "merged"
    assert all(row["stopped"] for row in rows)


def test_base_alone_knows_nothing(stand_in, tmp_path):
    flags = ["--adapter", "none", "--model", str(stand_in), *MEMORIZED, "--max_new_tokens", "8"]
    with pytest.raises(SystemExit, match=r"F1 \S+ is below --min_f1 0\.5"):
        evaluate_hub.main([*flags, "--min_f1", "0.5", "--output_dir", str(tmp_path)])
    _, *rows = read_lines(tmp_path)
    assert rows
    assert not any(row["stopped"] for row in rows)


def test_marked_answers_are_read_as_marked(stand_in, tmp_path):
    flags = ["--adapter", "none", "--model", str(stand_in), *MEMORIZED, "--max_new_tokens", "8"]
    evaluate_hub.main([*flags, "--prompt", "marked", "--output_dir", str(tmp_path)])
    header, *rows = read_lines(tmp_path)
    assert header["settings"]["prompt"] == "marked"
    assert all("edits" in row["diagnosis"] for row in rows)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["budget"]["answers"]["total"] == 24
    assert "mended" in metrics["budget"]["answers"]


def test_generation_settings_of_the_base_are_ignored(adapter, stand_in, tmp_path):
    """A repetition penalty in its generation_config.json would change the learned answers."""
    base = tmp_path / "EXAONE-base"
    shutil.copytree(stand_in, base)
    path = base / "generation_config.json"
    changed = json.loads(path.read_text()) | {"repetition_penalty": 2.0, "do_sample": True}
    path.write_text(json.dumps(changed))
    flags = ["--adapter", str(adapter), "--model", str(base), *MEMORIZED, "--min_f1", "0.99"]
    evaluate_hub.main([*flags, "--output_dir", str(tmp_path / "evaluation")])


def test_adapter_that_does_not_load_whole_is_never_scored(adapter, tmp_path):
    folder = tmp_path / "adapter"
    shutil.copytree(adapter, folder)
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    tensors.pop(min(tensors))
    save_file(tensors, path)
    flags = ["--adapter", str(folder), *MEMORIZED, "--output_dir", str(tmp_path / "evaluation")]
    with pytest.raises(InputError, match="1 of the adapter's 27 tensors did not load"):
        evaluate_hub.main(flags)
    assert not (tmp_path / "evaluation" / "metrics.json").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--adapter", "EXAONE-nowhere"], r"EXAONE-nowhere: no such folder\. Train it first"),
        (["--adapter", str(SAMPLE)], r"has no adapter_config\.json"),
        (["--adapter", "someone/EXAONE-adapter"], "the hub cannot be reached"),
        (["--adapter", "none", "--dataset", "nowhere"], "nowhere: no such folder"),
        (
            ["--adapter", "none", "--dataset", str(SAMPLE), "--split", "test"],
            "no file for the split test",
        ),
        (["--adapter", "none"], "the hub cannot be reached"),
        (["--adapter", "none", "--output_dir", "/proc/evaluation"], "cannot be written"),
    ],
)
def test_wrong_input_is_reported_before_any_model_loads(flags, message, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "ner.model.lora.load_model", lambda *arguments: pytest.fail("a model was loaded")
    )
    common = ["--output_dir", str(tmp_path)]
    if "--dataset" not in flags:
        common += MEMORIZED
    with pytest.raises(InputError, match=message):
        evaluate_hub.main([*common, *flags])


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        (["--batch_size", "0"], "--batch_size"),
        (["--num_samples", "-3"], "--num_samples"),
        (["--max_new_tokens", "0"], "--max_new_tokens"),
        (["--draft", "-1"], "--draft"),
        (["--min_confidence", "1.5"], "--min_confidence"),
        (["--min_confidence", "-0.1"], "--min_confidence"),
        (["--min_confidence", "learned"], "--min_confidence"),
    ],
)
def test_impossible_number_is_reported_with_its_flag(flags, name, capsys):
    with pytest.raises(SystemExit):
        evaluate_hub.parse_args(flags)
    assert f"argument {name}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "constrain", "draft"),
    [
        ([], None, None),
        (["--prompt", "marked", "--constrain", "--draft", "8"], True, 8),
        (["--no-constrain", "--draft", "0"], False, 0),
    ],
)
def test_copying_flags_reach_the_model(flags, constrain, draft, stand_in, monkeypatch):
    monkeypatch.setattr("ner.inference.recognizer.LocalRecognizer", lambda **settings: settings)
    args = evaluate_hub.parse_args(["--adapter", "none", "--model", str(stand_in), *flags])
    settings = build_recognizer(args)
    assert (settings["constrain"], settings["draft"]) == (constrain, draft)


@pytest.mark.parametrize(
    ("record", "flags", "precision"),
    [
        ("bfloat16", [], "bfloat16"),
        ("bfloat16", ["--precision", "nf4"], "nf4"),
        ("nf4", [], "nf4"),
        (None, [], "nf4"),
    ],
)
def test_precision_is_that_of_training(record, flags, precision, adapter, tmp_path):
    folder = tmp_path / "adapter"
    shutil.copytree(adapter, folder)
    path = folder / "training.json"
    training = json.loads(path.read_text(encoding="utf-8"))
    if record:
        training["settings"]["precision"] = record
        path.write_text(json.dumps(training))
    else:
        path.unlink()
    args = evaluate_hub.parse_args(["--adapter", str(folder), *flags])
    assert build_recognizer(args).precision == precision
    if not flags:
        assert Recognizer.load(str(folder)).model.precision == precision


def test_json_answers_cannot_be_constrained(adapter, tmp_path):
    flags = ["--adapter", str(adapter), *MEMORIZED, "--output_dir", str(tmp_path)]
    with pytest.raises(InputError, match="marked"):
        evaluate_hub.main([*flags, "--constrain"])


def test_json_answers_cannot_be_drafted(adapter, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "ner.inference.recognizer.LocalRecognizer", lambda **settings: pytest.fail("too late")
    )
    flags = ["--adapter", str(adapter), *MEMORIZED, "--output_dir", str(tmp_path), "--draft", "8"]
    with pytest.raises(InputError, match="--draft is for marked answers, but the prompt basic"):
        evaluate_hub.main(flags)


def test_server_drafts_nothing(capsys):
    flags = ["--endpoint", "http://127.0.0.1:9/v1", "--model", "stand-in", "--prompt", "marked"]
    with pytest.raises(SystemExit):
        evaluate_hub.parse_args([*flags, "--draft", "8"])
    assert "--draft is for a model on this machine" in capsys.readouterr().err


def test_saved_threshold_is_used_if_asked(adapter, tmp_path, capsys):
    folder = tmp_path / "adapter"
    shutil.copytree(adapter, folder)
    record = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    (folder / "training.json").write_text(json.dumps(record | {"min_confidence": 0.42}))
    flags = ["--adapter", str(folder), *MEMORIZED, "--output_dir", str(tmp_path)]
    evaluate_hub.main([*flags, "--min_confidence", "saved"])
    assert "threshold 0.42, saved with the adapter\n" in capsys.readouterr().out
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["min_confidence"] == 0.42

    evaluate_hub.main(flags)
    assert "saved with the adapter" not in capsys.readouterr().out
    assert "min_confidence" not in json.loads((tmp_path / "metrics.json").read_text())


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            ["--adapter", "ADAPTER"],
            r"no threshold is saved with \S+KLUE-NER-LoRA\. .*validation",
        ),
        (["--adapter", "none"], "no threshold is saved with none"),
        (
            ["--endpoint", "http://127.0.0.1:9/v1", "--model", "stand-in"],
            "no threshold is saved with http://127.0.0.1:9/v1",
        ),
    ],
)
def test_missing_threshold_is_reported_before_any_model_loads(
    model, message, adapter, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        evaluate_hub, "build_recognizer", lambda args: pytest.fail("a model was asked for")
    )
    flags = [str(adapter) if flag == "ADAPTER" else flag for flag in [*model, *MEMORIZED]]
    with pytest.raises(InputError, match=message):
        evaluate_hub.main([*flags, "--min_confidence", "saved", "--output_dir", str(tmp_path)])


def test_earlier_answers_without_probabilities_are_reported_before_any_model_loads(
    adapter, finished_evaluation, tmp_path, monkeypatch
):
    flags = ["--adapter", str(adapter), *MEMORIZED, "--output_dir", str(tmp_path)]
    shutil.copytree(finished_evaluation, tmp_path, dirs_exist_ok=True)
    header, *rows = read_lines(tmp_path)
    del rows[0]["pieces"]
    lines = [json.dumps(line) + "\n" for line in [header, *rows[:-1]]]
    (tmp_path / "predictions.jsonl").write_text("".join(lines))
    with monkeypatch.context() as patch:
        patch.setattr(
            LocalRecognizer, "load_generator", lambda self: pytest.fail("a model was loaded")
        )
        message = r"predictions\.jsonl holds answers without .*Leave out --min_confidence"
        with pytest.raises(InputError, match=message):
            evaluate_hub.main([*flags, "--min_confidence", "0.5"])
    evaluate_hub.main(flags)
    assert len(read_lines(tmp_path)) == 25


@pytest.mark.parametrize(("flags", "required"), [([], False), (["--min_confidence", "0.5"], True)])
def test_threshold_requires_probabilities_of_a_server(flags, required):
    server = ["--endpoint", "http://127.0.0.1:9/v1", "--model", "stand-in"]
    recognizer = build_recognizer(evaluate_hub.parse_args([*server, *flags]))
    assert recognizer.require_logprobs is required


def test_endpoint_needs_the_models_name(capsys):
    with pytest.raises(SystemExit):
        evaluate_hub.main(["--endpoint", "http://127.0.0.1:9/v1", *MEMORIZED])
    assert "--endpoint needs --model" in capsys.readouterr().err


def test_prompt_is_the_one_the_adapter_was_trained_with(adapter, tmp_path):
    folder = tmp_path / "adapter"
    shutil.copytree(adapter, folder)
    assert read_adapter_task(folder) == KLUE_TASK
    record = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    record["data"]["source"]["prompt"] = "strict"
    (folder / "training.json").write_text(json.dumps(record))
    assert read_adapter_task(folder) == build_task("strict")


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ("---\nsystem_prompt: strict\n---\n", build_task("strict")),
        ("---\nsystem_prompt: unheard_of\n---\n", None),
        ("An adapter.\n", None),
    ],
    ids=["recorded", "unknown", "not recorded"],
)
def test_prompt_of_a_published_adapter_is_on_its_card(tmp_path, card, expected):
    (tmp_path / "README.md").write_text(card)
    assert read_adapter_task(tmp_path) == expected
