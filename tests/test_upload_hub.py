"""The script: the files it sends, their names, and the errors that come before any upload."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import upload_hub
from ner.cli import InputError
from tests.helpers import ROOT
from tests.publishing.helpers import (
    BASE,
    PUBLISHED_FILES,
    SECRET,
    change_json,
    copy_adapter,
    read_card,
    write_metrics,
)


@pytest.fixture
def folder(adapter, tmp_path) -> Path:
    """A trained adapter among private files."""
    return copy_adapter(adapter, tmp_path / "EXAONE-adapter")


@pytest.fixture(autouse=True)
def no_hub(monkeypatch):
    """A machine without a login. Any call to the hub fails the test."""
    monkeypatch.setattr("ner.publishing.upload.HfApi", lambda: pytest.fail("the hub was called"))
    monkeypatch.setattr("ner.publishing.upload.get_token", lambda: None)


@pytest.fixture
def sent(monkeypatch) -> dict[str, bytes]:
    """The files that go to the hub, once the script has run with a login."""
    files = {}

    def publish(repo_id, content, *options):
        files.update(content)
        return "uploaded"

    monkeypatch.setattr("ner.publishing.upload.get_token", lambda: "hf_secret")
    monkeypatch.setattr("ner.publishing.upload.publish", publish)
    return files


def dry_run(folder: Path, *arguments: str) -> None:
    upload_hub.main(["--adapter", str(folder), "--dry_run", "--base_model", BASE, *arguments])


def cut_card(printed: str) -> str:
    """The card in the output of a dry run."""
    return printed[printed.index("\n---\n") + 1 : printed.index("\ndry run:")]


def read_files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_nothing_private_is_sent(folder, stand_in, sent, capsys):
    before = read_files(folder)
    repo_id = ["--repo_id", "alice/EXAONE-adapter"]
    upload_hub.main(["--adapter", str(folder), "--base_model", BASE, *repo_id])
    assert sorted(sent) == PUBLISHED_FILES
    content = b"\n".join(sent.values()).decode(errors="replace")
    places = [f"{Path.home()}/", str(folder.parent), str(stand_in), str(ROOT), "/mnt/disk"]
    for private in [SECRET, "hf_secret", *places]:
        assert private not in content
    assert read_files(folder) == before
    config = json.loads(sent["adapter_config.json"])
    assert config["base_model_name_or_path"] == BASE
    tokenizer = json.loads(sent["tokenizer_config.json"])
    assert not {"name_or_path", "tokenizer_file", "is_local"} & tokenizer.keys()
    assert tokenizer["pad_token"] == "[PAD]"
    assert "hf_secret" not in capsys.readouterr().out


def test_dry_run_prints_files_and_card(folder, capsys):
    dry_run(folder)
    printed = capsys.readouterr().out
    listed = [line.split()[-1] for line in printed.splitlines() if " bytes  " in line]
    assert listed == PUBLISHED_FILES
    assert "\n---\nbase_model: LGAI-EXAONE/EXAONE-stand-in\n" in printed
    assert printed.splitlines()[-1] == "dry run: 7 files for EXAONE-adapter, nothing sent"


def test_later_exaones_keep_their_names(folder, tmp_path, sent):
    """EXAONE 4 has Llama's names. Its license is EXAONE's."""
    base = tmp_path / "EXAONE-4"
    base.mkdir()
    (base / "config.json").write_text('{"model_type": "exaone4"}')
    (base / "LICENSE").write_text("theirs")
    change_json(folder / "adapter_config.json", base_model_name_or_path=str(base))
    names = ["--base_model", "LGAI-EXAONE/EXAONE-4.0-1.2B", "--repo_id", "alice/EXAONE-a"]
    upload_hub.main(["--adapter", str(folder), *names])
    original = (folder / "adapter_model.safetensors").read_bytes()
    assert sent["adapter_model.safetensors"] == original
    assert sent["LICENSE"] == b"theirs"
    assert "transformer.h.N" not in sent["README.md"].decode()


def test_any_name_will_do_for_another_base(folder, capsys):
    base = "google/gemma-3-270m-it"
    change_json(folder / "adapter_config.json", base_model_name_or_path=base)
    upload_hub.main(["--adapter", str(folder), "--repo_id", "me/klue-ner-lora", "--dry_run"])
    printed = capsys.readouterr().out
    assert "license" not in printed.split("\n---\n")[1]
    assert "LICENSE" not in printed


def test_scores_of_this_adapter_are_on_the_card(folder, tmp_path, capsys):
    metrics = write_metrics(tmp_path / "metrics.json", folder)
    dry_run(folder, "--metrics", str(metrics), "--repo_id", "alice/EXAONE-NER")
    card = read_card(cut_card(capsys.readouterr().out), tmp_path)
    scores = {result.metric_name: result.metric_value for result in card.data.eval_results}
    assert card.data.model_name == "EXAONE-NER"
    assert scores["seqeval, micro, f1"] == 0.6667
    assert "| seqeval, micro | 0.6667 | 0.0000 – 1.0000 |" in card.content


@pytest.mark.parametrize(
    "settings",
    [
        {"adapter_sha256": "0" * 64},
        {"adapter_sha256": None},
        {"model": "someone/EXAONE-other"},
        None,
    ],
)
def test_scores_of_something_else_stay_off_the_card(folder, tmp_path, capsys, settings):
    metrics = tmp_path / "metrics.json"
    if settings is not None:
        write_metrics(metrics, folder, **settings)
    dry_run(folder, "--metrics", str(metrics))
    printed = capsys.readouterr().out
    assert printed.startswith(f"no scores on the card: {metrics} ")
    assert printed.count("no scores on the card") == 1
    assert read_card(cut_card(printed), tmp_path).data.eval_results is None
    assert "Not measured" in printed


def test_file_without_metrics(folder, tmp_path):
    (tmp_path / "metrics.json").write_text("[]")
    with pytest.raises(InputError, match=r"metrics\.json: not written by report\.py"):
        dry_run(folder, "--metrics", str(tmp_path / "metrics.json"))


def test_base_in_a_folder_needs_its_name_on_the_hub(folder, stand_in):
    message = f"{stand_in}: the adapter names its base model by a path.*--base_model OWNER/NAME"
    with pytest.raises(InputError, match=message):
        upload_hub.main(["--adapter", str(folder), "--dry_run"])


def test_missing_login(folder):
    with pytest.raises(InputError, match=r"not logged in to the hub.*hf auth login.*HF_TOKEN"):
        upload_hub.main(["--adapter", str(folder), "--base_model", BASE])


@pytest.mark.parametrize("missing", ["adapter_config.json", "adapter_model.safetensors"])
def test_folder_without_an_adapter(folder, missing):
    (folder / missing).unlink()
    with pytest.raises(InputError, match=f"has no {missing}.*python train.py"):
        upload_hub.main(["--adapter", str(folder)])


@pytest.mark.parametrize("content", ["{", "{}", '{"base_model_name_or_path": null}', "[]"])
def test_broken_adapter_config(folder, content):
    (folder / "adapter_config.json").write_text(content)
    with pytest.raises(InputError, match=r"adapter_config\.json: not written by PEFT"):
        upload_hub.main(["--adapter", str(folder)])


WITHOUT_TORCH = """
import sys
import upload_hub
try:
    upload_hub.main(sys.argv[1:])
except (SystemExit, ValueError) as stop:
    print(type(stop).__name__)
assert not {"torch", "transformers"} & sys.modules.keys()
"""


@pytest.mark.parametrize(
    ("stop", "arguments"),
    [
        ("SystemExit", ["--help"]),
        ("InputError", ["--adapter", "nowhere"]),
        ("InputError", ["--adapter", "EXAONE-a", "--base_model", BASE, "--repo_id", "a/lora"]),
        ("InputError", ["--adapter", "EXAONE-a", "--base_model", BASE]),  # not logged in
    ],
)
def test_early_errors_import_no_torch(tmp_path, stop, arguments):
    (tmp_path / "EXAONE-a").mkdir()
    (tmp_path / "EXAONE-a" / "adapter_model.safetensors").touch()
    config = json.dumps({"base_model_name_or_path": BASE})
    (tmp_path / "EXAONE-a" / "adapter_config.json").write_text(config)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *arguments],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == stop
