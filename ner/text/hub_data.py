"""Data sets in the hub's layout, on the hub or in a local folder."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from datasets import (
    ClassLabel,
    Dataset,
    List,
    Value,
    get_dataset_config_names,
    get_dataset_default_config_name,
    load_dataset,
)
from datasets.exceptions import DatasetsError

from ner.cli import InputError
from ner.text.klue import KLUE


def load_hub_rows(dataset: str, split: str) -> Dataset:
    """One split as it is stored. Raises InputError if it cannot be read.

    `dataset` is a hub id or a folder, with a configuration after a colon if there are several.
    """
    name, config = split_config(dataset)
    if not Path(name).is_dir() and name.count("/") != 1:
        raise InputError(
            f"{dataset}: no such folder. A data set on the hub is named owner/name, such as {KLUE}"
        )
    try:
        config = config or find_config(name)
        if not Path(name).is_dir():
            return load_dataset(name, config, split=split)
        # The shared cache identifies a folder by its name alone, and could return another one's
        # rows.
        with tempfile.TemporaryDirectory() as cache:
            return load_dataset(name, config, split=split, cache_dir=cache, keep_in_memory=True)
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(
            f"cannot read the split '{split}' of {dataset}: {reason}\n"
            "Expected an id on the hub (which needs a network), a folder in the hub's layout, or a "
            "folder with a file such as train.txt. Try data/sample"
        ) from error


def split_config(dataset: str) -> tuple[str, str | None]:
    """The name of a data set and its configuration, which follows a colon."""
    name, colon, config = dataset.rpartition(":")
    return (name, config) if colon and not Path(dataset).is_dir() else (dataset, None)


def find_config(name: str) -> str | None:
    """The configuration `ner`, or else the default one. Raises ValueError if none is the default.

    KLUE's data set is not asked, because its configuration is known.
    """
    if name == KLUE:
        return "ner"
    configs = get_dataset_config_names(name)
    if "ner" in configs:
        return "ner"
    config = get_dataset_default_config_name(name)
    if config is None and configs:
        raise ValueError(
            f"it has the configurations {', '.join(configs)[:200]}. Name one, such as "
            f"{name}:{configs[0]}"
        )
    return config


def find_tag_names(
    rows: Dataset, tag_names: Sequence[str] | None, source: str
) -> Sequence[str] | None:
    """The tags' names by id, from the data set or else `tag_names`; None if its tags are names.

    Raises InputError for other columns, missing names, and names that are not needed.
    """
    tags = rows.features.get("ner_tags")
    kind = tags.feature if isinstance(tags, List) else None
    is_number = isinstance(kind, Value) and "int" in kind.dtype
    is_name = isinstance(kind, Value) and "string" in kind.dtype
    if "tokens" not in rows.features or not (is_number or is_name or isinstance(kind, ClassLabel)):
        columns = ", ".join(f"{name} ({column})" for name, column in rows.features.items())
        raise InputError(
            f"{source}: expected the columns tokens and ner_tags (a list of ClassLabel, names or "
            f"numbers), found {columns[:300]}"
        )
    if is_number and not tag_names:
        raise InputError(
            f"{source}: its tags are numbers. Pass their names with --labels, the name of 0 first, "
            "such as --labels O,B-PS,I-PS"
        )
    if tag_names and not is_number:
        raise InputError(f"{source}: its tags have names. Leave out --labels")
    return kind.names if isinstance(kind, ClassLabel) else tag_names
