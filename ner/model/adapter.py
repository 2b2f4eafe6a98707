"""Find an adapter's folder and read its configuration and training record."""

import json
import re
from collections.abc import Callable
from pathlib import Path

from huggingface_hub import get_token, metadata_load, snapshot_download, whoami

from ner.cli import InputError
from ner.files import read_json
from ner.model.hub import TRY_WITHOUT_XET, explain_hub_errors
from ner.model.retries import with_retries
from ner.text.chats import find_task
from ner.text.task import Task, read_task

RECORD = "training.json"
ADAPTER_FILES = [
    "adapter_config.json",
    "adapter_model.safetensors",
    "added_tokens.json",
    "chat_template.jinja",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
]


def check_adapter(name: str) -> None:
    """Check a name for `find_adapter` as far as possible without a network. Raises InputError."""
    if name == "none":
        return
    if Path(name).is_dir():
        read_adapter_config(Path(name))
    elif "/" not in name and get_token() is None:
        raise InputError(
            f"{name}: no such folder. Train it first (python train.py), pass one on the hub as "
            "owner/name, or log in to use your own: hf auth login"
        )


def find_adapter(name: str) -> Path | None:
    """The folder of an adapter, downloaded if it is on the hub. None for the name `none`.

    A name without an owner that is not a local folder refers to the user's own repository. A
    branch, tag or commit may follow an @. Raises InputError.
    """
    check_adapter(name)
    if name == "none":
        return None
    if Path(name).is_dir():
        return Path(name)
    folder = download_adapter(name)
    read_adapter_config(folder)
    return folder


def download_adapter(name: str) -> Path:
    """Download an adapter, with retries. Raises InputError."""
    name, _, revision = name.partition("@")
    advice = f"Check the network and try again, or choose a local folder. {TRY_WITHOUT_XET}"
    with explain_hub_errors(name, advice):
        if "/" not in name:
            name = f"{with_retries(whoami)['name']}/{name}"

        def download() -> str:
            return snapshot_download(
                name, revision=revision or None, allow_patterns=[*ADAPTER_FILES, "README.md"]
            )

        return Path(with_retries(download))


def read_adapter_config(folder: Path) -> dict:
    """An adapter's configuration.

    Raises InputError if `folder` is not an adapter or its configuration does not name a base.
    """
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        if not (folder / file).is_file():
            raise InputError(
                f"{folder}: has no {file}, so it is not an adapter. Train one: python train.py"
            )
    path = folder / "adapter_config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config["base_model_name_or_path"], str):
            raise ValueError("no base model is named")
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not written by PEFT ({error})") from None
    return config


def read_record(folder: Path) -> dict | None:
    """How an adapter was trained, from `training.json`; None if that is not recorded."""
    return read_json(folder / RECORD)


def read_adapter_task(folder: Path) -> Task | None:
    """The task that an adapter was trained for, if it is recorded."""
    if record := read_record(folder):
        return find_task(record["data"])
    card = read_card(folder)
    fields = card.get("ner_task")
    named = {"prompt": card.get("system_prompt")}
    return read_task(named | fields if isinstance(fields, dict) else named)


def find_record_folder(adapter: Path | None, model: str | None) -> Path | None:
    """The folder that records a task: the adapter's or, without one, a merged model's."""
    if adapter is None and model and Path(model).is_dir():
        return Path(model)
    return adapter


def read_min_confidence(folder: Path) -> float | None:
    """The confidence threshold that `train.py --validation` saved with an adapter, if it did."""
    if record := read_record(folder):
        return record.get("min_confidence")
    field = read_card(folder).get("min_confidence")
    return None if field is None else float(field)  # YAML reads 1e-05 as a text


def read_precision(folder: Path | None) -> str:
    """The precision of the base model in training, or nf4 if it is not recorded.

    A published adapter's card lists it in a table with the other settings.
    """
    if folder is None:
        return "nf4"
    if record := read_record(folder):
        return record["settings"]["precision"]
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    found = re.search(r"^\| `precision` \| (\w+) \|$", text, re.MULTILINE)
    return found[1] if found else "nf4"


def read_card(folder: Path) -> dict:
    """The YAML block of a published adapter's card. Such an adapter has no `training.json`."""
    card = folder / "README.md"
    return metadata_load(card) or {} if card.is_file() else {}


def rename_modules(config: dict, rename: Callable[[str], str]) -> dict:
    """Rename the modules in an adapter's configuration. Returns the changed fields.

    Raises InputError if the modules are given as a pattern.
    """
    targets = config["target_modules"]
    if isinstance(targets, str):
        raise InputError(
            f"the adapter's target_modules are a pattern, {targets}, which cannot be renamed. "
            "List the modules' names in its adapter_config.json instead"
        )
    fields = {"target_modules": type(targets)(map(rename, targets))}
    for field in ("rank_pattern", "alpha_pattern"):
        pattern = config.get(field) or {}
        fields[field] = {rename(name): value for name, value in pattern.items()}
    return fields
