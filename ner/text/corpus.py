"""Load tagged sentences from the hub or a folder, in the forms that docs/training.md lists."""

import re
from collections.abc import Mapping, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import Literal

from datasets import (
    ClassLabel,
    Dataset,
    Features,
    List,
    Value,
    disable_progress_bars,
    enable_progress_bars,
)

from ner.cli import InputError
from ner.text.hub_data import find_tag_names, load_hub_rows, split_config
from ner.text.klue import KLUE
from ner.text.labels import (
    check_continuation,
    choose_labels,
    find_listed_labels,
    list_labels,
    list_tags,
    read_tag,
)
from ner.text.text_files import find_text_file, list_text_files, read_text_file
from ner.text.words import are_words, insert_spaces

Join = Literal["auto", "characters", "words"]
MANY = 20_000  # sentences, which take seconds and get a progress bar


def load_split(
    dataset: str, split: str, tag_names: Sequence[str] | None = None, join: Join = "auto"
) -> Dataset:
    """One split with the columns `sentence`, `tokens` (list of str) and `ner_tags` (list of ids).

    The tokens, put together, are the sentence. If they are words, spaces become tokens of their
    own. KLUE's own data set is returned as it is.

    - `dataset`: a hub id or a folder, with a configuration after a colon if there are several;
    - `tag_names`: the tags' names by id, for a data set whose tags are plain numbers;
    - `join`: whether tokens are characters or words. `auto` looks at them.

    Raises InputError, with file and line or with the row, for data that cannot be read or used.
    """
    source, name = f"{dataset}, {split}", split_config(dataset)[0]
    folder = Path(name)
    listed = find_listed_labels(folder)
    path = find_text_file(folder, split)
    if path is None:
        rows = load_hub_rows(dataset, split)
        names = find_tag_names(rows, tag_names, source)
    elif tag_names:
        raise InputError(f"{path}: its tags have names. Leave out --labels")
    else:
        rows, names = read_rows(path, listed), None

    tags = read_tag_names(rows, names, source)
    labels = list_labels(tags.values())
    if path and split != "train" and not listed:
        labels |= find_training_labels(folder)
    labels = choose_labels(labels, listed, source)
    as_words = use_words(rows, join, source)
    if name == KLUE and not as_words:
        return rows
    return encode_rows(rows, tags, list_tags(labels), as_words, source)


def read_rows(path: Path, listed: Mapping[str, str] | None) -> Dataset:
    """A text file as a data set whose tags are names."""
    tokens, tags = zip(*read_text_file(path, listed), strict=True)
    return Dataset.from_dict({"tokens": list(tokens), "ner_tags": list(tags)})


def find_training_labels(folder: Path) -> set[str]:
    """The labels of a folder's training file: a smaller split may lack some."""
    labels = set()
    for path in list_text_files(folder, "train"):
        for _, tags in read_text_file(path, None):
            labels |= list_labels(tags)
    return labels


def read_tag_names(
    rows: Dataset, names: Sequence[str] | None, source: str
) -> dict[int, str] | dict[str, str]:
    """Tags such as B-PS by their ids or, without `names`, by how the data set writes them."""
    if names:
        written = dict(enumerate(names))
    else:
        # A tag or a whole list can be null. encode_rows reports it with its row.
        found = chain.from_iterable(tags or [] for tags in rows["ner_tags"])
        written = {name: name for name in sorted(set(found) - {None})}
    try:
        return {value: read_tag(name) for value, name in written.items()}
    except ValueError as error:
        raise InputError(f"{source}: {error}") from None


def use_words(rows: Dataset, join: Join, source: str) -> bool:
    """Whether to put spaces between tokens. Prints that `auto` found words."""
    if join != "auto":
        return join == "words"
    words = are_words(rows[:1000]["tokens"])
    if words:
        print(f"{source}: the tokens are words, joined with spaces")
    return words


def encode_rows(
    rows: Dataset, tags: Mapping, tag_names: list[str], as_words: bool, source: str
) -> Dataset:
    """Rows with our columns, whose ids are those of `tag_names`. Raises InputError with the row."""
    ids = {name: position for position, name in enumerate(tag_names)}

    def encode(row: dict, index: int) -> dict:
        tokens = row["tokens"]
        try:
            if None in (tokens, row["ner_tags"]):
                raise ValueError("tokens or ner_tags is null. Remove the row from the data set")
            named = [tags.get(tag) for tag in row["ner_tags"]]
            check_sentence(tokens, named)
        except ValueError as error:
            raise InputError(f"{source}, row {index}: {error}") from None
        if as_words:
            tokens, named = insert_spaces(tokens, named)
        sentence = "".join(tokens)
        return {"sentence": sentence, "tokens": tokens, "ner_tags": [ids[tag] for tag in named]}

    features = {
        "sentence": Value("string"),
        "tokens": List(Value("string")),
        "ner_tags": List(ClassLabel(names=tag_names)),
    }
    if len(rows) < MANY:
        disable_progress_bars()
    try:
        return rows.map(
            encode,
            with_indices=True,
            features=Features(features),
            remove_columns=[name for name in rows.column_names if name not in features],
            # The cache would not notice that this code changed.
            load_from_cache_file=False,
            desc="sentences",
        )
    finally:
        enable_progress_bars()


def check_sentence(tokens: list[str], tags: list[str | None]) -> None:
    """Check that each token has text and a tag that may follow the last one. Raises ValueError."""
    if len(tokens) != len(tags):
        raise ValueError(f"{len(tokens)} tokens but {len(tags)} tags: each token needs one tag")
    if not all(tokens):
        raise ValueError("a token is empty. Remove it from the data set, with its tag")
    if None in tags:
        raise ValueError("a tag is null or a number without a name. Each needs one")
    for before, tag in pairwise(["O", *tags]):
        check_continuation(before, tag)


def get_labels(rows: Dataset, dataset: str) -> dict[str, str]:
    """The data set's labels, descriptions by name, in the prompt's order.

    They are those of the folder's `labels.json`, or KLUE's six if there are no others, or the names
    in alphabetical order, without descriptions.
    """
    labels = list_labels(map(read_tag, get_id2label(rows).values()))
    listed = find_listed_labels(Path(split_config(dataset)[0]))
    return choose_labels(labels, listed, dataset)


def list_used_labels(rows: Dataset) -> list[str]:
    """The labels of the entities in these rows."""
    id2label = get_id2label(rows)
    used = {tag for tags in rows["ner_tags"] for tag in tags}
    return sorted(list_labels(read_tag(id2label[tag]) for tag in used))


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


def describe_overlap(
    rows: Dataset, dataset: str, tag_names: Sequence[str] | None = None, join: Join = "auto"
) -> str:
    """How many training sentences are repeated, and how many the validation split has too.

    `tag_names` and `join` are those of `load_split`.
    """
    sentences = ["".join(tokens) for tokens in rows["tokens"]]
    repeated = f"sentences: {len(sentences) - len(set(sentences)):,} repeated"
    try:
        others = load_split(dataset, "validation", tag_names, join)
    except InputError as error:
        return f"{repeated}; no validation split to compare with: {str(error).splitlines()[0]}"
    validation = {"".join(tokens) for tokens in others["tokens"]}
    shared = sum(sentence in validation for sentence in sentences)
    return f"{repeated}, {shared:,} also in the validation split"
