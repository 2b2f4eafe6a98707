"""A data set in the hub's layout: Parquet files, and a card that defines the config `ner`."""

from pathlib import Path

from datasets import ClassLabel, Dataset, Features, List, Value

from ner.text.klue import TAGS

CARD = """\
---
configs:
- config_name: ner
  data_files:
  - split: train
    path: ner/train-*.parquet
---
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
    (folder / "ner").mkdir(parents=True)
    dataset.to_parquet(folder / "ner" / "train-00000-of-00001.parquet")
    (folder / "README.md").write_text(CARD)
    return folder
