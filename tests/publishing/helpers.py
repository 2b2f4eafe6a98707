"""An adapter among private files, its published form, and metrics measured with it."""

import json
import shutil
from pathlib import Path

from huggingface_hub import ModelCard

from ner.evaluation.summary import compute_metrics
from ner.model.tensors import hash_adapter
from ner.publishing.card import build_card
from ner.publishing.contents import collect_files
from ner.text.conversion import tag_answer

BASE = "LGAI-EXAONE/EXAONE-stand-in"
PUBLISHED_FILES = [
    "LICENSE",
    "README.md",
    "adapter_config.json",
    "adapter_model.safetensors",
    "chat_template.jinja",
    "tokenizer.json",
    "tokenizer_config.json",
]
PRIVATE_FILES = [
    *("train.jsonl", "train.source.json", "optimizer.pt", "scheduler.pt", "rng_state.pth"),
    *("trainer_state.json", ".env", "events.out.tfevents.1.machine.1.0", "predictions.jsonl"),
    *("adapter_model.bin", "checkpoint-500/adapter_model.safetensors"),
    *("checkpoint-500/adapter_config.json", "runs/log.txt", "LICENSE.bak"),
    ".cache/huggingface/token",
]
SECRET = "nobody else's business"


def change_json(path: Path, **fields) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def copy_adapter(adapter: Path, folder: Path) -> Path:
    """Copy a trained adapter, and add private files, local paths and a private log entry."""
    shutil.copytree(adapter, folder)
    for name in PRIVATE_FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(SECRET)
    change_json(
        folder / "tokenizer_config.json",
        name_or_path=str(Path.home() / "models"),
        tokenizer_file="/mnt/disk/tokenizer.json",
    )
    change_json(folder / "training.json", log=[SECRET])
    return folder


def write_published(folder: Path, target: Path) -> Path:
    """Write an adapter's folder as it comes back from the hub."""
    target.mkdir()
    card = build_card(f"alice/{folder.name}", folder, BASE, True, None)
    for name, content in collect_files(folder, BASE, True).items():
        (target / name).write_bytes(content)
    (target / "README.md").write_text(f"{card}\n")
    return target


def read_card(content: str, tmp_path: Path) -> ModelCard:
    """A card as the hub's client reads it from its file."""
    (tmp_path / "README.md").write_text(content)
    return ModelCard.load(tmp_path / "README.md")


def build_metrics(folder: Path, **settings) -> dict:
    """Metrics of two sentences, measured with the adapter in `folder` unless `settings` differ."""
    config = json.loads((folder / "adapter_config.json").read_text())
    measured = {
        "adapter_sha256": hash_adapter(folder),
        "model": config["base_model_name_or_path"],
        "precision": "nf4",
        "prompt": "strict",
        "dataset": "klue/klue",
        "split": "validation",
        "dataset_revision": "abc",
    }
    rows = []
    for text, gold, answer in [("가나", "B-PS O", '{"PS": ["가"]}'), ("다라", "B-LC O", "{}")]:
        row = {"id": len(rows), "tokens": list(text), "gold": gold.split(), "answer": answer}
        row["tags"], row["diagnosis"] = tag_answer(answer, row["tokens"])
        rows.append(row | {"stopped": True})
    return {"settings": measured | settings} | compute_metrics(rows)


def write_metrics(path: Path, folder: Path, **settings) -> Path:
    path.write_text(json.dumps(build_metrics(folder, **settings)))
    return path
