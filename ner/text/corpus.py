"""Load tagged sentences from the hub, a folder in the hub's layout, or text in KLUE's notation."""

import re
import tempfile
from pathlib import Path

from datasets import ClassLabel, Dataset, Features, List, Value, load_dataset
from datasets.exceptions import DatasetsError

from ner.cli import InputError
from ner.text.klue import KLUE, LABELS, TAGS
from ner.text.notation import parse_marked_sentence

FEATURES = Features(
    {
        "sentence": Value("string"),
        "tokens": List(Value("string")),
        "ner_tags": List(ClassLabel(names=TAGS)),
    }
)


def load_split(dataset: str, split: str) -> Dataset:
    """One split with the columns `tokens` (list of str) and `ner_tags` (list of ClassLabel ids).

    `dataset` is a hub id, a local folder in the hub's layout (config `ner`), or a folder with
    `{split}.txt` in KLUE's notation. Raises InputError if it cannot be read or has other columns.
    """
    folder = Path(dataset)
    if (folder / f"{split}.txt").is_file():
        return read_marked_file(folder / f"{split}.txt")
    if texts := sorted(path.name for path in folder.glob("*.txt")):
        raise InputError(f"{dataset}: has no {split}.txt, only {', '.join(texts)}")
    if not folder.is_dir() and dataset.count("/") != 1:
        raise InputError(
            f"{dataset}: no such folder. A data set on the hub is named owner/name, such as {KLUE}"
        )
    try:
        rows = load_hub_layout(dataset, split)
    except (OSError, ValueError, DatasetsError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(
            f"cannot read the split '{split}' of {dataset}: {reason}\n"
            "Expected an id on the hub (which needs a network), a folder in the hub's layout with "
            "a config 'ner', or a folder with train.txt and validation.txt. Try data/sample"
        ) from error
    check_columns(rows, f"{dataset}, {split}")
    return rows


def load_hub_layout(dataset: str, split: str) -> Dataset:
    if not Path(dataset).is_dir():
        return load_dataset(dataset, "ner", split=split)
    # The shared cache identifies a folder by its name alone, and could return another one's rows.
    with tempfile.TemporaryDirectory() as cache:
        return load_dataset(dataset, "ner", split=split, cache_dir=cache, keep_in_memory=True)


def check_columns(rows: Dataset, source: str) -> None:
    """Check that a data set has KLUE's columns and tags. Raises InputError."""
    tags = rows.features.get("ner_tags")
    is_class_label = isinstance(tags, List) and isinstance(tags.feature, ClassLabel)
    if "tokens" not in rows.features or not is_class_label:
        columns = ", ".join(f"{name} ({kind})" for name, kind in rows.features.items())
        raise InputError(
            f"{source}: expected the columns tokens and ner_tags (a list of ClassLabel), "
            f"found {columns[:300]}"
        )
    if unknown := set(tags.feature.names) - set(TAGS):
        raise InputError(
            f"{source}: unknown tags {', '.join(sorted(unknown))}. Expected {', '.join(TAGS)}"
        )


def read_marked_file(path: Path) -> Dataset:
    """A data set with KLUE's columns from a text file in KLUE's notation. Skips blank lines.

    Raises InputError, with file and line, for a malformed line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not UTF-8 (byte {error.start}). Save the file as UTF-8"
        ) from None
    rows = {"sentence": [], "tokens": [], "ner_tags": []}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            tokens, tags = parse_marked_sentence(line)
        except ValueError as error:
            raise InputError(f"{path}:{number}: {error}") from None
        rows["sentence"].append("".join(tokens))
        rows["tokens"].append(tokens)
        rows["ner_tags"].append([TAGS.index(tag) for tag in tags])
    if not rows["tokens"]:
        raise InputError(
            f"{path}: no sentences. Expected one per line, such as <손흥민:PS>은 달린다."
        )
    return Dataset.from_dict(rows, features=FEATURES)


def get_labels(rows: Dataset, dataset: str) -> dict[str, str]:
    return LABELS


def get_id2label(rows: Dataset) -> dict[int, str]:
    """The data set's own numbering of the tags."""
    return dict(enumerate(rows.features["ner_tags"].feature.names))


def sample_rows(rows: Dataset, num_samples: int | None, seed: int = 42) -> Dataset:
    """A seeded sample, drawn as the post drew it. A smaller split is returned whole."""
    if num_samples is None or num_samples >= len(rows):
        return rows
    return rows.shuffle(seed=seed).select(range(num_samples))


def find_revision(rows: Dataset) -> str | None:
    """The hub commit that a data set was read from; None for local files."""
    for file in rows.cache_files:
        # The cache names its folder after the commit.
        commit = Path(file["filename"]).parent.name
        if re.fullmatch("[0-9a-f]{40}", commit):
            return commit
    return None


def describe_overlap(rows: Dataset, dataset: str) -> str:
    """How many training sentences are repeated, and how many the validation split has too."""
    sentences = ["".join(tokens) for tokens in rows["tokens"]]
    repeated = f"sentences: {len(sentences) - len(set(sentences)):,} repeated"
    try:
        validation = {"".join(tokens) for tokens in load_split(dataset, "validation")["tokens"]}
    except InputError:
        return f"{repeated}; no validation split to compare with"
    shared = sum(sentence in validation for sentence in sentences)
    return f"{repeated}, {shared:,} also in the validation split"
