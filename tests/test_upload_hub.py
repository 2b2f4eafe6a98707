"""What would be published, under which names and with which card, and what stops an upload before anything is sent."""
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file

import evaluate_hub
import exaone
import report
import upload_hub
from conftest import ROOT
from data_processing import InputError, SYSTEM_PROMPTS
from test_exaone import INPUT_IDS, LLAMA_NAMES

BASE = "LGAI-EXAONE/EXAONE-stand-in"
FILES = ["LICENSE", "README.md", "adapter_config.json", "adapter_model.safetensors", "chat_template.jinja", "tokenizer.json",
         "tokenizer_config.json"]
TEMPTING = ["train.jsonl", "train.source.json", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", ".env",
            "events.out.tfevents.1.machine.1.0", "predictions.jsonl", "adapter_model.bin", "checkpoint-500/adapter_model.safetensors",
            "checkpoint-500/adapter_config.json", "runs/log.txt", "LICENSE.bak", ".cache/huggingface/token"]
SECRET = "nobody else's business"


@pytest.fixture
def folder(adapter, tmp_path) -> Path:
    """A trained adapter, among files that must stay where they are, with this machine's paths in its own."""
    folder = tmp_path / "EXAONE-adapter"
    shutil.copytree(adapter, folder)
    for name in TEMPTING:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(SECRET)
    change(folder / "tokenizer_config.json", name_or_path=str(Path.home() / "models"), tokenizer_file="/mnt/disk/tokenizer.json")
    change(folder / "training.json", log=[SECRET])
    return folder


@pytest.fixture
def published(folder, tmp_path) -> Path:
    """The folder as it comes back from the hub."""
    return write_published(folder, tmp_path / "published")


@pytest.fixture(autouse=True)
def no_hub(monkeypatch):
    monkeypatch.setattr(upload_hub, "HfApi", lambda: pytest.fail("the hub was spoken to"))
    monkeypatch.setattr(upload_hub, "get_token", lambda: None)


def change(path: Path, **fields) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def write_published(folder: Path, target: Path, prompt: str = "basic") -> Path:
    target.mkdir()
    card = upload_hub.write_card(f"alice/{folder.name}", folder, BASE, True, None)
    for name, content in upload_hub.collect_files(folder, BASE, True).items():
        (target / name).write_bytes(content)
    (target / "README.md").write_text(str(card))
    return target


def dry_run(folder: Path, *arguments: str) -> None:
    upload_hub.main(["--adapter", str(folder), "--dry_run", "--base_model", BASE, *arguments])


# What goes out.


def test_nothing_else_leaves(folder, stand_in, capsys, monkeypatch):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    sent = {}
    monkeypatch.setattr(upload_hub, "get_token", lambda: "hf_secret")
    monkeypatch.setattr(upload_hub, "publish", lambda repo_id, files, *more: sent.update(files) or "uploaded")
    upload_hub.main(["--adapter", str(folder), "--base_model", BASE, "--repo_id", "alice/EXAONE-adapter"])
    assert sorted(sent) == FILES
    everything = b"\n".join(sent.values()).decode(errors="replace")
    for private in (SECRET, str(Path.home()) + "/", str(folder.parent), str(stand_in), str(ROOT), "/mnt/disk", "hf_secret"):
        assert private not in everything
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    config, tokenizer = json.loads(sent["adapter_config.json"]), json.loads(sent["tokenizer_config.json"])
    assert config["base_model_name_or_path"] == BASE
    assert not {"name_or_path", "tokenizer_file", "is_local"} & tokenizer.keys() and tokenizer["pad_token"] == "[PAD]"
    assert "hf_secret" not in capsys.readouterr().out


def test_dry_run_tells_files_and_card(folder, capsys):
    dry_run(folder)
    printed = capsys.readouterr().out
    assert [line.split()[-1] for line in printed.splitlines() if " bytes  " in line] == FILES
    assert "\n---\nbase_model: LGAI-EXAONE/EXAONE-stand-in\n" in printed
    assert printed.splitlines()[-1] == "dry run: 7 files for EXAONE-adapter, nothing sent"


@pytest.mark.parametrize("file, field, value", [
    ("adapter_config.json", "init_lora_weights", "/home/somebody/init.safetensors"),
    ("adapter_config.json", "loftq_config", {"from": ["~/weights"]}),
    ("tokenizer_config.json", "extra", "C:\\Users\\somebody"),
])
def test_path_that_would_be_told_stops_the_upload(folder, file, field, value):
    change(folder / file, **{field: value})
    with pytest.raises(InputError, match=f"a path of this machine \\({file}: {field}.*Take it out"):
        dry_run(folder)


def test_base_in_a_folder_needs_its_name_on_the_hub(folder, stand_in):
    with pytest.raises(InputError, match=f"{stand_in}: the adapter's base model is named by a place.*--base_model OWNER/NAME"):
        upload_hub.main(["--adapter", str(folder), "--dry_run"])


# Names.


def test_published_names_are_exaones_bit_for_bit(folder, published):
    llama = {f"base_model.model.{name.removesuffix('.weight')}": f"base_model.model.{exaones.removesuffix('.weight')}"
             for exaones, name in LLAMA_NAMES.items()}
    local, sent = (load_file(path / "adapter_model.safetensors") for path in (folder, published))
    assert len(local) == len(sent) == 28
    for name, tensor in local.items():
        module, part = name.split(".lora_")
        assert torch.equal(sent[f"{llama[module]}.lora_{part}"], tensor)
        assert exaone.to_exaone(name) == f"{llama[module]}.lora_{part}" and exaone.to_llama(exaone.to_exaone(name)) == name
    before, after = (json.loads((path / "adapter_config.json").read_text()) for path in (folder, published))
    assert after["target_modules"] == [llama[f"base_model.model.{name}"].removeprefix("base_model.model.")
                                       for name in before["target_modules"]]
    assert exaone.rename_modules(after, exaone.to_llama)["target_modules"] == before["target_modules"]
    assert {name for name in before if before[name] != after[name]} == {"base_model_name_or_path", "target_modules"}
    back = {exaone.to_llama(name): tensor for name, tensor in sent.items()}
    save_file(back, published / "back", metadata={"format": "pt"})
    assert (published / "back").read_bytes() == (folder / "adapter_model.safetensors").read_bytes()


@pytest.mark.parametrize("llama, exaones", [("o_proj", "out_proj"), ("gate_proj", "c_fc_0"), ("up_proj", "c_fc_1"),
                                            ("down_proj", "c_proj"), ("q_proj", "q_proj"), ("lm_head", "lm_head")])
def test_last_parts_of_names_there_and_back(llama, exaones):
    assert exaone.to_exaone(llama) == exaones and exaone.to_llama(exaones) == llama and exaone.to_llama(llama) == llama


def test_pattern_fields_are_renamed_and_a_pattern_is_refused():
    config = {"target_modules": {"o_proj"}, "rank_pattern": {"gate_proj": 8}, "alpha_pattern": None}
    assert exaone.rename_modules(config, exaone.to_exaone) == {
        "target_modules": {"out_proj"}, "rank_pattern": {"c_fc_0": 8}, "alpha_pattern": {}}
    with pytest.raises(InputError, match="are a pattern.*List the modules' names"):
        exaone.rename_modules({"target_modules": r".*\.o_proj"}, exaone.to_exaone)


def compute_logits(stand_in, adapter) -> torch.Tensor:
    model = evaluate_hub.load_recogniser(str(stand_in), None, "float32", adapter)
    with torch.inference_mode():
        return model(INPUT_IDS).logits


@pytest.mark.parametrize("short", [False, True])
def test_logits_are_the_same_under_both_namings_and_by_peft_alone(folder, published, stand_in, tmp_path, short):
    """`short`: as PEFT names the modules of more layers, by their last parts."""
    if short:
        names = ["q_proj", "k_proj", "v_proj", "out_proj", "c_fc_0", "c_fc_1", "c_proj"]
        change(published / "adapter_config.json", target_modules=names)
    ours = compute_logits(stand_in, folder)
    assert torch.equal(compute_logits(stand_in, published), ours)
    assert not torch.allclose(compute_logits(stand_in, None), ours, atol=0.1)

    (tmp_path / "tokens.json").write_text(json.dumps(INPUT_IDS.tolist()))
    subprocess.run([sys.executable, ROOT / "tests" / "plain_exaone.py", stand_in, published, tmp_path / "tokens.json",
                    tmp_path / "logits.safetensors"], check=True, cwd=tmp_path)
    assert torch.equal(load_file(tmp_path / "logits.safetensors")["logits"], ours)


def test_exaones_names_in_the_wrong_place_are_told(published, stand_in):
    """An adapter whose tensors fit nothing is not put on in silence."""
    tensors = load_file(published / "adapter_model.safetensors")
    save_file({name.replace("c_fc_0", "c_fc_9"): tensor for name, tensor in tensors.items()}, published / "adapter_model.safetensors")
    with pytest.raises(InputError, match="of the adapter's 28 tensors did not load"):
        compute_logits(stand_in, published)


def test_fingerprint_is_of_the_tensors_whatever_their_names(folder, published):
    assert exaone.hash_adapter(folder) == exaone.hash_adapter(published)
    tensors = load_file(published / "adapter_model.safetensors")
    next(iter(tensors.values()))[0, 0] += 1
    save_file(tensors, published / "adapter_model.safetensors")
    assert exaone.hash_adapter(folder) != exaone.hash_adapter(published)


def test_other_bases_keep_their_names(folder):
    change(folder / "adapter_config.json", base_model_name_or_path="google/gemma-3-270m-it")
    files = upload_hub.collect_files(folder, "google/gemma-3-270m-it", False)
    assert files["adapter_model.safetensors"] == (folder / "adapter_model.safetensors").read_bytes()
    assert json.loads(files["adapter_config.json"]) == json.loads((folder / "adapter_config.json").read_text())


def test_later_exaones_keep_their_names(folder, tmp_path, monkeypatch):
    """EXAONE 4 has Llama's names; its licence is EXAONE's."""
    base, sent = tmp_path / "EXAONE-4", {}
    base.mkdir()
    (base / "config.json").write_text('{"model_type": "exaone4"}')
    (base / "LICENSE").write_text("theirs")
    change(folder / "adapter_config.json", base_model_name_or_path=str(base))
    monkeypatch.setattr(upload_hub, "get_token", lambda: "hf_secret")
    monkeypatch.setattr(upload_hub, "publish", lambda repo_id, files, *more: sent.update(files) or "uploaded")
    upload_hub.main(["--adapter", str(folder), "--base_model", "LGAI-EXAONE/EXAONE-4.0-1.2B", "--repo_id", "alice/EXAONE-a"])
    assert sent["adapter_model.safetensors"] == (folder / "adapter_model.safetensors").read_bytes()
    assert sent["LICENSE"] == b"theirs" and "transformer.h.N" not in sent["README.md"].decode()


# The card.


def write_metrics(folder: Path, tmp_path: Path, **settings) -> Path:
    rows = [{"id": 0, "tokens": list("가나"), "gold": ["B-PS", "O"], "answer": '{"PS": ["가"]}', "stopped": True},
            {"id": 1, "tokens": list("다라"), "gold": ["B-LC", "O"], "answer": "{}", "stopped": True}]
    settings = {"adapter_sha256": exaone.hash_adapter(folder), "model": json.loads((folder / "adapter_config.json").read_text())[
        "base_model_name_or_path"], "precision": "nf4", "prompt": "strict", "dataset": "klue/klue", "split": "validation", "dataset_revision": "abc"} | settings
    (tmp_path / "predictions.jsonl").write_text("\n".join(map(json.dumps, [{"settings": settings}, *rows])))
    report.report_predictions(tmp_path / "predictions.jsonl")
    return tmp_path / "metrics.json"


def read_card(printed: str, tmp_path: Path) -> ModelCard:
    (tmp_path / "README.md").write_text(printed[printed.index("\n---\n") + 1:printed.index("\ndry run:")])
    return ModelCard.load(tmp_path / "README.md")


def test_card_is_read_back_as_what_was_meant(folder, tmp_path, capsys):
    source = {"dataset": "klue/klue", "split": "train", "revision": "f00d", "prompt": "strict", "chats": 21008}
    record = json.loads((folder / "training.json").read_text())
    change(folder / "training.json", data={"sha256": "0", "source": source},
           settings=record["settings"] | {"adapter": str(folder), "optim": "paged_adamw_32bit"})
    metrics = write_metrics(folder, tmp_path)
    capsys.readouterr()
    dry_run(folder, "--metrics", str(metrics), "--repo_id", "alice/EXAONE-NER")
    card = read_card(capsys.readouterr().out, tmp_path)
    data = card.data.to_dict()
    index = data.pop("model-index")
    assert data == {
        "base_model": BASE, "base_model_relation": "adapter", "library_name": "peft", "license": "other", "license_name": "exaone",
        "license_link": "LICENSE", "language": "ko", "tags": ["lora", "named-entity-recognition"], "datasets": ["klue/klue"],
        "pipeline_tag": "text-generation", "system_prompt": "strict"}
    assert index[0]["name"] == card.data.model_name == "EXAONE-NER"
    scores = {result.metric_name: (result.metric_value, result.metric_args) for result in card.data.eval_results}
    assert scores["seqeval, micro, f1"] == (0.6667, {"interval_95": [0.0, 1.0]}) and len(scores) == len(report.SCORES) + 2
    result = card.data.eval_results[0]
    assert (result.dataset_type, result.dataset_split, result.dataset_revision) == ("klue/klue", "validation", "abc")

    text = card.content
    assert text.count("\n# EXAONE-NER\n") == 1 and SYSTEM_PROMPTS["strict"] in text and "[|assistant|]\n````" in text
    assert "| seqeval, micro | 0.6667 | 0.0000 – 1.0000 |" in text and "2 sentences of the validation split of klue/klue (revision abc), asked with the project's `strict`" in text
    assert "| `optim` | paged_adamw_32bit |" in text and "| `lora_r` | 32 |" in text and "peft 0." in text
    assert "CC BY-SA 4.0" in text and "none of this was run" in text and "for research alone" in text
    assert "begins with \"EXAONE\"" in text and str(folder) not in text and "`adapter`" not in text


def test_card_is_the_same_every_time(folder):
    cards = [str(upload_hub.write_card("alice/EXAONE-a", folder, BASE, True, None)) for _ in range(2)]
    assert cards[0] == cards[1]


@pytest.mark.parametrize("settings", [{"adapter_sha256": "0" * 64}, {"adapter_sha256": None}, {"model": "someone/EXAONE-other"}, None])
def test_scores_of_something_else_stay_off_the_card(folder, tmp_path, capsys, settings):
    metrics = tmp_path / "metrics.json" if settings is None else write_metrics(folder, tmp_path, **settings)
    capsys.readouterr()
    dry_run(folder, "--metrics", str(metrics))
    printed = capsys.readouterr().out
    assert printed.startswith(f"no scores on the card: {metrics} ") and printed.count("no scores on the card") == 1
    assert read_card(printed, tmp_path).data.eval_results is None and "Not measured" in printed


def test_file_that_holds_no_metrics(folder, tmp_path):
    (tmp_path / "metrics.json").write_text("[]")
    with pytest.raises(InputError, match="metrics.json: is not what report.py writes"):
        dry_run(folder, "--metrics", str(tmp_path / "metrics.json"))


def test_corpus_of_ones_own_is_not_named(folder, capsys, tmp_path):
    dry_run(folder)
    printed = capsys.readouterr().out
    assert read_card(printed, tmp_path).data.datasets is None and "data/sample" not in printed


def test_card_without_a_record_of_the_training(folder, capsys):
    (folder / "training.json").unlink()
    dry_run(folder)
    printed = capsys.readouterr().out
    assert "Not recorded." in printed and "which one it was is not recorded" in printed


def test_prompt_travels_with_the_card(folder, tmp_path):
    change(folder / "training.json", data={"source": {"prompt": "strict", "revision": None}})
    strict = write_published(folder, tmp_path / "strict")
    assert evaluate_hub.choose_prompt(None, folder) == evaluate_hub.choose_prompt(None, strict) == "strict"
    (strict / "README.md").write_text("---\nsystem_prompt: unheard_of\n---\n")
    assert evaluate_hub.choose_prompt(None, strict) == "basic"


# What stops an upload.


def test_missing_login(folder):
    with pytest.raises(InputError, match="not logged in to the hub.*hf auth login.*HF_TOKEN"):
        upload_hub.main(["--adapter", str(folder), "--base_model", BASE])


@pytest.mark.parametrize("missing", ["adapter_config.json", "adapter_model.safetensors"])
def test_folder_without_an_adapter(folder, missing):
    (folder / missing).unlink()
    with pytest.raises(InputError, match=f"holds no {missing}.*python train.py"):
        upload_hub.main(["--adapter", str(folder)])


@pytest.mark.parametrize("content", ["{", "{}", '{"base_model_name_or_path": null}', "[]"])
def test_broken_adapter_config(folder, content):
    (folder / "adapter_config.json").write_text(content)
    with pytest.raises(InputError, match="adapter_config.json: is not what PEFT writes"):
        upload_hub.main(["--adapter", str(folder)])


def test_name_that_no_repository_can_have(folder):
    with pytest.raises(InputError, match="no name that a repository can have"):
        dry_run(folder, "--repo_id", "me/EXAONE bad")


@pytest.mark.parametrize("base", [BASE, "someone/renamed"])
@pytest.mark.parametrize("repo_id", ["me/klue-ner-lora", "klue-ner-lora", "me/my-EXAONE-lora"])
def test_name_that_breaks_the_licence(folder, repo_id, base):
    with pytest.raises(InputError, match="wants the name of a derived model to begin with EXAONE"):
        upload_hub.main(["--adapter", str(folder), "--dry_run", "--repo_id", repo_id, "--base_model", base])


def test_base_without_its_licence(folder, stand_in, tmp_path):
    shutil.copytree(stand_in, tmp_path / "base")
    (tmp_path / "base" / "LICENSE").unlink()
    change(folder / "adapter_config.json", base_model_name_or_path=str(tmp_path / "base"))
    with pytest.raises(InputError, match="base: holds no LICENSE, which is needed to publish"):
        dry_run(folder)


def test_any_name_will_do_for_another_base(folder, capsys):
    change(folder / "adapter_config.json", base_model_name_or_path="google/gemma-3-270m-it")
    upload_hub.main(["--adapter", str(folder), "--repo_id", "me/klue-ner-lora", "--dry_run"])
    printed = capsys.readouterr().out
    assert "license" not in printed.split("\n---\n")[1] and "LICENSE" not in printed
