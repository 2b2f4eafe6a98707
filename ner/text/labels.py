"""The labels of a data set: their names and descriptions, and the tags made from them."""

import json
import re
import unicodedata
from collections.abc import Collection, Iterable
from pathlib import Path

from ner.cli import InputError
from ner.text.klue import LABELS, TAGS

LABELS_FILE = "labels.json"
MOST_LABELS = 50
RESERVED = ("missed", "made_up")  # beside the labels in the report's confusion matrix
NAME = re.compile(r'[^\s<>:\\"]+')
# The usual form, B-PS, and the one of Naver and KMOU, PS_B.
TAG = re.compile(r"(?P<prefix>[BI])-(?P<label>.+)|(?P<first>.+)[-_](?P<suffix>[BI])")


def fold_label(name: str) -> str:
    """A label as answers are compared with it: in any case and width."""
    return unicodedata.normalize("NFKC", name).strip().upper()


def check_label(name: str, known: Collection[str] | None = None) -> None:
    """Check the name of a label, which is one of `known` or, without them, any valid name.

    Raises ValueError.
    """
    if known is not None and name not in known:
        raise ValueError(f"unknown label {name}. Expected one of {', '.join(known)}")
    if name in RESERVED:
        raise ValueError(f"label {name}: the report uses this name. Choose another one")
    if not NAME.fullmatch(name):
        raise ValueError(f'label {name!r}: a name has no white space and none of < > : \\ "')


def check_labels(names: Collection[str], source: str | Path) -> None:
    """Check the labels of a data set, which can be none. Raises InputError with `source`."""
    if len(names) > MOST_LABELS:
        raise InputError(f"{source}: {len(names)} labels. Expected at most {MOST_LABELS}")
    folded: dict[str, str] = {}
    for name in names:
        try:
            check_label(name)
        except ValueError as error:
            raise InputError(f"{source}: {error}") from None
        if (other := folded.setdefault(fold_label(name), name)) != name:
            raise InputError(
                f"{source}: the labels {other} and {name} differ in case or width alone, so "
                "answers could not tell them apart. Rename one of them"
            )


def find_listed_labels(folder: Path) -> dict[str, str] | None:
    """Descriptions by name from a folder's `labels.json`; None if it has none."""
    path = folder / LABELS_FILE
    return read_label_file(path) if path.is_file() else None


def read_label_file(path: Path) -> dict[str, str]:
    """Descriptions by name from a file such as `labels.json`.

    The file is a list of names, or an object with a description or null for each. Raises InputError
    if it cannot be read or has any other content.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:  # neither JSON nor UTF-8
        raise InputError(f"{path}: not JSON in UTF-8 ({error})") from None
    pairs = list(content.items()) if isinstance(content, dict) else content
    if isinstance(content, list):
        pairs = [(name, None) for name in content]
    if not pairs or not isinstance(pairs, list) or not all(map(is_description, pairs)):
        raise InputError(
            f'{path}: expected a list of names, or an object such as {{"PS": "person", "LC": null}}'
        )
    labels = {name: description or "" for name, description in pairs}
    if len(labels) < len(pairs):
        raise InputError(f"{path}: a name is there twice. Expected each name once")
    check_labels(labels, path)
    return labels


def is_description(pair: tuple) -> bool:
    name, description = pair
    return isinstance(name, str) and isinstance(description, str | None)


def choose_labels(
    names: Iterable[str], listed: dict[str, str] | None, source: str | Path
) -> dict[str, str]:
    """The label set of a data set that has the labels `names`: descriptions by name.

    It is the listed one (of `labels.json`), or KLUE's six if there are no others, or `names` in
    alphabetical order, without descriptions. Raises InputError for invalid labels, and for those
    that are not listed.
    """
    names = set(names)
    if listed is None and names <= set(LABELS):
        return LABELS
    labels = listed or dict.fromkeys(sorted(names), "")
    if missing := sorted(names - set(labels)):
        raise InputError(
            f"{source}: labels that are not in {LABELS_FILE}: {', '.join(missing)}. Add them to it"
        )
    check_labels(labels, source)
    return labels


def list_tags(labels: dict[str, str]) -> list[str]:
    """All tags of a label set, in the order of their ids."""
    if labels == LABELS:
        return TAGS
    return ["O", *(f"{prefix}-{label}" for label in labels for prefix in "BI")]


def list_labels(tags: Iterable[str]) -> set[str]:
    """The labels of tags."""
    return {tag[2:] for tag in tags if tag != "O"}


def read_tag(text: str, known: Collection[str] | None = None) -> str:
    """A tag as `O`, `B-PS` or `I-PS`. Raises ValueError for other forms and wrong labels.

    >>> read_tag("PS_B"), read_tag("I-PS"), read_tag("-")
    ('B-PS', 'I-PS', 'O')
    """
    if text in ("O", "-"):
        return "O"
    tag = TAG.fullmatch(text)
    if tag is None:
        raise ValueError(f"tag {text!r}: expected O, or B-PS and I-PS for a label PS")
    label = tag["label"] or tag["first"]
    check_label(label, known)
    return f"{tag['prefix'] or tag['suffix']}-{label}"


def check_continuation(before: str, tag: str) -> None:
    """Check that an I- tag continues an entity of its label. Raises ValueError."""
    if tag.startswith("I-") and before not in (tag, f"B-{tag[2:]}"):
        raise ValueError(f"{tag} continues nothing. An entity starts with B-{tag[2:]}")
