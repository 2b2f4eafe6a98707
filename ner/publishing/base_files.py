"""The base model's small files that publishing reads: its configuration and its license."""

import json
from contextlib import suppress
from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import RemoteEntryNotFoundError

from ner.cli import InputError
from ner.model.hub import Base, explain_hub_errors
from ner.model.names import is_exaone


def read_base_files(
    base: str, trained_on: str, revision: str | None
) -> tuple[bool, dict[str, bytes]]:
    """Whether an adapter is published under EXAONE's names, and the license that goes with it.

    `base` is the base model's name on the hub, `trained_on` and `revision` are those in the
    adapter. Reads nothing if the base is not an EXAONE. Raises InputError.
    """
    if not is_exaone(base) and not is_exaone(trained_on):
        return False, {}
    source = find_source(base, trained_on, revision)
    # EXAONE 4 and later have Llama's names themselves.
    exaone_names = json.loads(read_base_file(source, "config.json"))["model_type"] == "exaone"
    # The license, section 2.1 d, requires a copy of it with each derived model.
    return exaone_names, {"LICENSE": read_base_file(source, "LICENSE").encode()}


def find_source(base: str, trained_on: str, revision: str | None) -> Base:
    """Where the base model's files are: in the folder that the adapter names, or on the hub."""
    if Path(trained_on).is_dir() or base == trained_on:
        return Base(trained_on, revision)
    return Base(base)


def read_base_file(base: Base, name: str) -> str:
    """Read a small text file of a base model. Raises InputError."""
    path = find_base_file(base, name)
    if path is None:
        raise InputError(f"{base.name}: has no {name}, which is needed to publish an adapter of it")
    return path.read_text(encoding="utf-8")


def find_base_file(base: Base, name: str) -> Path | None:
    """A small file of a base model, downloaded if it is on the hub. None if there is none.

    Raises InputError.
    """
    path = Path(base.name) / name
    if not Path(base.name).is_dir():
        advice = f"Publishing needs its {name}. Check the network and try again"
        with explain_hub_errors(base.name, advice), suppress(RemoteEntryNotFoundError):
            path = Path(hf_hub_download(base.name, name, revision=base.revision))
    return path if path.is_file() else None
