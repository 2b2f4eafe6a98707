"""What would be sent to the hub, and what stops an upload before anything is."""
import json

import pytest

import upload_hub
from data_processing import InputError


@pytest.fixture
def folder(tmp_path):
    """An adapter of a model of that name, among files that must stay where they are."""
    folder = tmp_path / "EXAONE-adapter"
    (folder / "checkpoint-500").mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "LGAI-EXAONE/EXAONE-3.0-7.8B-Instruct"}))
    for name in ("adapter_model.safetensors", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
                 "training.json", "train.jsonl", "optimizer.pt", ".env", "checkpoint-500/adapter_model.safetensors"):
        (folder / name).write_text("x" * 10)
    return folder


@pytest.fixture(autouse=True)
def no_hub(monkeypatch):
    monkeypatch.setattr(upload_hub, "HfApi", lambda: pytest.fail("the hub was spoken to"))
    monkeypatch.setattr(upload_hub, "get_token", lambda: None)


def test_dry_run_lists_adapter_and_tokenizer_alone(folder, capsys):
    upload_hub.main(["--adapter", str(folder), "--dry_run"])
    *files, summary = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in files] == ["adapter_config.json", "adapter_model.safetensors",
                                                    "chat_template.jinja", "tokenizer.json", "tokenizer_config.json"]
    assert files[1].split()[:2] == ["10", "bytes"]
    assert summary == "dry run: 5 files for EXAONE-adapter, nothing sent"


def test_missing_login(folder):
    with pytest.raises(InputError, match="not logged in to the hub.*hf auth login.*HF_TOKEN"):
        upload_hub.main(["--adapter", str(folder)])


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
        upload_hub.main(["--adapter", str(folder), "--repo_id", "me/EXAONE bad", "--dry_run"])


@pytest.mark.parametrize("repo_id", ["me/klue-ner-lora", "klue-ner-lora", "me/my-EXAONE-lora"])
def test_name_that_breaks_the_licence(folder, repo_id):
    with pytest.raises(InputError, match="wants the name of a derived model to begin with EXAONE"):
        upload_hub.main(["--adapter", str(folder), "--repo_id", repo_id])


def test_any_name_will_do_for_another_base(folder):
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "google/gemma-3-270m-it"}')
    upload_hub.main(["--adapter", str(folder), "--repo_id", "me/klue-ner-lora", "--dry_run"])
