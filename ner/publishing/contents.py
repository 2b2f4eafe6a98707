"""The files of an adapter that go to the hub, without anything about this machine."""

import json
import re
from pathlib import Path

from safetensors.torch import load, save

from ner.cli import InputError
from ner.model.adapter import ADAPTER_FILES, rename_modules
from ner.model.names import to_exaone
from ner.model.tensors import rename_tensors

CONFIG_FILES = [
    "adapter_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
]
# Fields of a tokenizer's configuration that record its origin.
TOKENIZER_ORIGIN = [
    "name_or_path",
    "tokenizer_file",
    "special_tokens_map_file",
    "is_local",
    "local_files_only",
]
LOCAL_PATH = re.compile(r"~[^/\\]*[/\\]|\.{1,2}[/\\]|/[^/\s]|[A-Za-z]:[/\\]|\\\\|file:")


def collect_files(folder: Path, base: str, exaone_names: bool) -> dict[str, bytes]:
    """The files of an adapter's folder that go to the hub: file name → content.

    Only files in `ADAPTER_FILES` are included. `base` is the base model's name on the hub. With
    `exaone_names`, tensors and modules get EXAONE's names instead of Llama's. Raises InputError if
    a file holds a path on this machine.
    """
    paths = {name: folder / name for name in ADAPTER_FILES}
    files = {name: path.read_bytes() for name, path in paths.items() if path.is_file()}
    for name in CONFIG_FILES:
        if name not in files:
            continue
        fields = read_fields(folder / name)
        if name == "adapter_config.json":
            fields["base_model_name_or_path"] = base
            if exaone_names:
                fields |= rename_modules(fields, to_exaone)
        check_local_paths(fields, folder, name)
        files[name] = (json.dumps(fields, ensure_ascii=False, indent=2) + "\n").encode()
    if exaone_names:
        tensors = rename_tensors(load(files["adapter_model.safetensors"]), to_exaone)
        files["adapter_model.safetensors"] = save(tensors, metadata={"format": "pt"})
    return files


def read_fields(path: Path) -> dict:
    """A configuration file without the fields that record its origin."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {name: value for name, value in content.items() if name not in TOKENIZER_ORIGIN}
    except (ValueError, AttributeError) as error:
        raise InputError(
            f"{path}: not readable ({error}). Train the adapter again: python train.py"
        ) from None


def check_local_paths(fields: dict, folder: Path, name: str) -> None:
    """Check that no field of a file holds a path on this machine. Raises InputError."""
    if paths := list_local_paths(fields, name):
        raise InputError(
            f"{folder}: would reveal a path on this machine ({'; '.join(paths)}). Remove it from "
            "that file first"
        )


def list_local_paths(value: object, place: str) -> list[str]:
    """The places of a JSON value that hold a local path.

    >>> list_local_paths({"base": "owner/name", "cache": {"folder": "~/models"}}, "config.json")
    ['config.json: cache: folder']
    """
    if isinstance(value, str):
        return [place] if LOCAL_PATH.match(value) else []
    paths = []
    if isinstance(value, dict):
        for name, item in value.items():
            paths += list_local_paths(item, f"{place}: {name}")
    elif isinstance(value, list):
        for item in value:
            paths += list_local_paths(item, place)
    return paths
