"""The script export.py: its result in use, and the errors that come before any download."""

import json
import shutil

import pytest

import evaluate_hub
import export
from ner.cli import InputError
from tests.helpers import SAMPLE
from tests.publishing.helpers import change_json


def test_exported_model_answers_without_the_adapter(adapter, tmp_path, capsys):
    folder = tmp_path / "EXAONE-merged"
    export.main(["--adapter", str(adapter), "--output_dir", str(folder)])
    assert f"exported: {folder}" in capsys.readouterr().out
    evaluate_hub.main(
        [
            *("--adapter", "none", "--model", str(folder), "--precision", "bfloat16"),
            *("--dataset", str(SAMPLE), "--split", "train", "--num_samples", "24"),
            *("--output_dir", str(tmp_path / "evaluation"), "--min_f1", "0.99"),
        ]
    )


def test_card_names_no_path(adapter, stand_in, tmp_path):
    folder = tmp_path / "EXAONE-merged"
    export.main(["--adapter", str(adapter), "--output_dir", str(folder)])
    files = [path for path in folder.iterdir() if path.suffix != ".safetensors"]
    assert sorted(path.name for path in files) == [
        "LICENSE",
        "README.md",
        "chat_template.jinja",
        "config.json",
        "export.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    for path in files:
        content = path.read_text(encoding="utf-8")
        assert not [place for place in (stand_in, tmp_path, adapter) if str(place) in content]
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "license_name: exaone\n" in card and "# EXAONE-merged\n" in card
    assert "[|system|]" in card


def test_precision_of_training_decides(adapter, tmp_path):
    def read_onto(*flags: str) -> str:
        export.main(["--adapter", str(copy), "--output_dir", str(tmp_path / "EXAONE-a"), *flags])
        return json.loads((tmp_path / "EXAONE-a" / "export.json").read_text())["onto"]

    copy = shutil.copytree(adapter, tmp_path / "adapter")
    assert read_onto() == "nf4"
    assert read_onto("--onto", "original") == "original"
    settings = json.loads((copy / "training.json").read_text())["settings"]
    change_json(copy / "training.json", settings=settings | {"precision": "bfloat16"})
    assert read_onto() == "original"
    (copy / "training.json").unlink()
    assert read_onto() == "nf4"
    (copy / "README.md").write_text("| setting | value |\n|---|---|\n| `precision` | bfloat16 |\n")
    assert read_onto() == "original"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--output_dir", "merged"], "begin with EXAONE.*Choose another --output_dir"),
        (["--output_dir", "EXAONE-full"], r"holds other files \(no export\.json\)"),
        (["--adapter", "none"], "--adapter none: there is nothing to merge"),
        (["--model", "LGAI-EXAONE/EXAONE-x", "--output_dir", "a"], "begin with EXAONE"),
        (["--model", "EXAONE-full", "--output_dir", "EXAONE-a"], "has no config.json"),
    ],
)
def test_errors_before_any_work(adapter, tmp_path, monkeypatch, flags, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "EXAONE-full").mkdir()
    (tmp_path / "EXAONE-full" / "model.safetensors").touch()
    with pytest.raises(InputError, match=message):
        export.main(["--adapter", str(adapter), *flags])
    assert [path.name for path in tmp_path.iterdir()] == ["EXAONE-full"]


def test_base_without_the_license_that_must_go_with_it(adapter, stand_in, tmp_path):
    base = shutil.copytree(stand_in, tmp_path / "EXAONE-base")
    (base / "LICENSE").unlink()
    arguments = ["--adapter", str(adapter), "--model", str(base)]
    with pytest.raises(InputError, match="EXAONE-base: has no LICENSE"):
        export.main([*arguments, "--output_dir", str(tmp_path / "EXAONE-a")])
    assert not (tmp_path / "EXAONE-a").exists()
