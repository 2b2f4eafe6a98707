"""Answers, scores, and what is refused before a score could be wrong."""
import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

import evaluate_hub
from conftest import SAMPLE
from data_processing import (InputError, SYSTEM_PROMPTS, TAGS, load_split, mark_entities, parse_marked_sentence,
                             sample_rows)
from exaone import load_tokenizer
from report import compute_f1, format_report

MEMORISED = ["--dataset", str(SAMPLE), "--split", "train", "--num_samples", "24"]


def test_memorised_sentences_score_one(adapter, capsys):
    evaluate_hub.main(["--adapter", str(adapter), *MEMORISED, "--min_f1", "0.99"])
    printed = capsys.readouterr().out
    assert "sentences: 24, answers that were not plain JSON: 0" in printed
    assert "micro avg" in printed and "F1-Score: 1.0000" in printed


def test_base_alone_knows_nothing(stand_in, capsys):
    with pytest.raises(SystemExit, match="F1 is under --min_f1 0.5"):
        evaluate_hub.main(["--adapter", "none", "--model", str(stand_in), *MEMORISED, "--max_new_tokens", "8",
                           "--min_f1", "0.5"])
    assert "answers that were not plain JSON: 24" in capsys.readouterr().out


def test_sentences_of_ones_own_are_printed_marked(adapter, capsys):
    marked = [mark_entities(row["tokens"], [TAGS[tag] for tag in row["ner_tags"]])
              for row in sample_rows(load_split(str(SAMPLE), "train"), 24)][:4]
    plain = ["".join(parse_marked_sentence(line)[0]) for line in marked]
    evaluate_hub.main(["--adapter", str(adapter), "--text", *plain])
    assert capsys.readouterr().out.splitlines()[-4:] == marked
    assert any("<" in line for line in marked)


def test_batches_answer_as_single_sentences_do(adapter, stand_in):
    """Unquantised, in float32: 48 sentences of 6 to 121 characters, half of them never seen in training."""
    tokenizer = load_tokenizer(str(stand_in))
    model = evaluate_hub.load_recogniser(str(stand_in), None, "float32", adapter, tokenizer)
    sentences = load_split(str(SAMPLE), "train")["sentence"][:]
    batched, single = (
        evaluate_hub.generate_answers(model, tokenizer, sentences, SYSTEM_PROMPTS["basic"], batch_size, max_new_tokens=100)
        for batch_size in (16, 1))
    assert batched == single
    assert len(set(batched)) > 24


def test_repository_s_generation_settings_have_no_say(adapter, stand_in, tmp_path, capsys):
    """A repetition penalty in the base's generation_config.json would keep the learnt answers from being said."""
    base = tmp_path / "EXAONE-base"
    shutil.copytree(stand_in, base)
    path = base / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"repetition_penalty": 2.0, "do_sample": True}))
    evaluate_hub.main(["--adapter", str(adapter), "--model", str(base), *MEMORISED, "--min_f1", "0.99"])


def test_strict_prompt_reaches_the_model(adapter, stand_in, monkeypatch):
    asked = []
    monkeypatch.setattr(evaluate_hub, "generate_answers",
                        lambda *args: asked.append(args[3]) or ["{}"] * len(args[2]))
    for prompt in SYSTEM_PROMPTS:
        evaluate_hub.main(["--adapter", str(adapter), "--prompt", prompt, "--text", "봄"])
    assert asked == list(SYSTEM_PROMPTS.values())


def copy_adapter(adapter, tmp_path, change):
    folder = tmp_path / "adapter"
    shutil.copytree(adapter, folder)
    path = folder / "adapter_model.safetensors"
    save_file(change(load_file(path)), path)
    return folder


@pytest.mark.parametrize("change, message", [
    (lambda t: {name.replace("layers.1.", "layers.7."): tensor for name, tensor in t.items()}, "28 of|14 of"),
    (lambda t: {name.replace("o_proj", "out_proj"): tensor for name, tensor in t.items()}, "tensors did not load"),
    (lambda t: {name: tensor for name, tensor in t.items() if "layers.1." not in name}, "tensors did not load"),
    (lambda t: {}, "0 tensors"),
])
def test_adapter_that_did_not_load_whole_is_an_error(adapter, tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        evaluate_hub.main(["--adapter", str(copy_adapter(adapter, tmp_path, change)), *MEMORISED])


@pytest.mark.parametrize("arguments, message", [
    (["--adapter", "EXAONE-nowhere"], "EXAONE-nowhere: no such folder. Train it first"),
    (["--adapter", str(SAMPLE)], "holds no adapter_config.json"),
    (["--adapter", "someone/EXAONE-adapter"], "the hub cannot be reached"),
    (["--adapter", "none", "--dataset", "nowhere"], "nowhere: no such folder"),
    (["--adapter", "none", "--dataset", str(SAMPLE), "--split", "test"], "holds no test.txt"),
    (["--adapter", "none", "--text", "봄"], "the hub cannot be reached"),
])
def test_bad_input_is_told_before_any_model_loads(arguments, message, monkeypatch):
    monkeypatch.setattr(evaluate_hub, "load_model", lambda *_: pytest.fail("a model was loaded"))
    with pytest.raises(InputError, match=message):
        evaluate_hub.main(arguments)


def test_scores_by_hand():
    """Gold: PS, LC, DT. Predicted: PS right, LC one token short, QT for DT. 1 of 3 right on both sides."""
    gold = [["B-PS", "I-PS", "O", "B-LC", "I-LC"], ["B-DT", "I-DT"], ["O"]]
    predicted = [["B-PS", "I-PS", "O", "B-LC", "O"], ["B-QT", "I-QT"], ["O"]]
    assert compute_f1(gold, predicted) == pytest.approx(1 / 3)
    text = format_report(gold, predicted, [{"read": "json"}, {"read": "repaired"}, {"read": "unreadable"}])
    assert "sentences: 3, answers that were not plain JSON: 2" in text and "F1-Score: 0.3333" in text


def test_base_and_its_revision_come_from_the_adapter(adapter, stand_in):
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(stand_in) and "revision" in config
