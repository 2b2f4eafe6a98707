"""Data sets in the hub's layout: Parquet files, and a card that defines their configurations."""

from pathlib import Path

from datasets import ClassLabel, Dataset, Features, List, Value

from ner.text.klue import TAGS

CONFIG = """\
- config_name: {config}
  data_files:
  - split: train
    path: {config}/train-*.parquet
"""


def write_hub_folder(
    folder: Path, tags=((0, 12), (12, 12)), names=TAGS, columns=("tokens", "ner_tags")
) -> Path:
    """Write two sentences, 봄이 and 왔다, and return the folder."""
    rows = {"tokens": [["봄", "이"], ["왔", "다"]], "ner_tags": list(tags)}
    features = {"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=names))}
    dataset = Dataset.from_dict(
        {name: rows[name] for name in columns},
        features=Features({name: features[name] for name in columns}),
    )
    return write_configs(folder, {"ner": dataset})


def write_configs(folder: Path, configs: dict[str, Dataset]) -> Path:
    """Write the train split of each configuration, and return the folder."""
    for config, dataset in configs.items():
        dataset.to_parquet(folder / config / "train-00000-of-00001.parquet")
    card = "".join(CONFIG.format(config=config) for config in configs)
    (folder / "README.md").write_text(f"---\nconfigs:\n{card}---\n")
    return folder


def write_tagged(
    folder: Path, sentences: list[tuple[list[str], list]], kind: ClassLabel | Value
) -> Path:
    """Write the config `ner` with these sentences, (tokens, tags), and this kind of tags."""
    tokens, tags = zip(*sentences, strict=True)
    dataset = Dataset.from_dict(
        {"tokens": list(tokens), "ner_tags": list(tags)},
        features=Features({"tokens": List(Value("string")), "ner_tags": List(kind)}),
    )
    return write_configs(folder, {"ner": dataset})
