import re

import numpy
import pytest
from datasets import Dataset

from ner.cli import InputError
from ner.text.corpus import (
    describe_overlap,
    find_revision,
    get_id2label,
    load_split,
    read_marked_file,
    sample_rows,
)
from ner.text.klue import LABELS, TAGS
from ner.text.tags import find_entities
from tests.helpers import SAMPLE
from tests.hub_folder import write_hub_folder


def test_malformed_line_is_reported_with_file_and_line(tmp_path):
    path = tmp_path / "train.txt"
    path.write_text("<봄:DT>이 왔다\n\n<손흥민:XX>은\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"train\.txt:3: character 1: expected <mention:LABEL>"):
        read_marked_file(path)


def test_file_without_sentences_or_not_utf8(tmp_path):
    path = tmp_path / "train.txt"
    path.write_text("\n \n")
    with pytest.raises(InputError, match="no sentences"):
        read_marked_file(path)
    path.write_bytes("봄".encode("cp949"))
    with pytest.raises(InputError, match="not UTF-8"):
        read_marked_file(path)


def test_windows_files_are_read(tmp_path):
    path = tmp_path / "train.txt"
    path.write_bytes("\ufeff<봄:DT>이\r\n왔다\r\n".encode())
    assert read_marked_file(path)["sentence"][:] == ["봄이", "왔다"]


@pytest.mark.parametrize(("split", "least"), [("train", 40), ("validation", 20)])
def test_sample_corpus_has_every_label_and_no_sentence_twice(split, least):
    rows = load_split(str(SAMPLE), split)
    assert len(rows) >= least
    assert len(set(rows["sentence"])) == len(rows)
    entities = [find_entities([TAGS[tag] for tag in tags]) for tags in rows["ner_tags"]]
    assert {label for sentence in entities for label, _, _ in sentence} == set(LABELS)
    assert [] in entities


def test_folder_in_the_hubs_layout(tmp_path):
    rows = load_split(str(write_hub_folder(tmp_path / "corpus")), "train")
    assert rows["tokens"][:] == [["봄", "이"], ["왔", "다"]]
    assert rows["ner_tags"][:] == [[0, 12], [12, 12]]
    assert get_id2label(rows) == dict(enumerate(TAGS))


def test_folder_that_changed_is_read_again(tmp_path):
    for number, tag in enumerate([0, 2]):
        folder = write_hub_folder(tmp_path / str(number) / "corpus", tags=[[tag, 12], [12, 12]])
        assert load_split(str(folder), "train")["ner_tags"][0] == [tag, 12]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": [*TAGS[:-1], "B-XX"]}, "unknown tags B-XX. Expected B-DT"),
        ({"columns": ("tokens",)}, r"the columns tokens and ner_tags \(a list of ClassLabel\)"),
    ],
)
def test_other_columns_are_reported(tmp_path, change, message):
    folder = write_hub_folder(tmp_path / "corpus", **change)
    with pytest.raises(InputError, match=f"corpus, train: .*{message}"):
        load_split(str(folder), "train")


@pytest.mark.parametrize(
    ("dataset", "split", "message"),
    [
        ("nowhere", "train", "nowhere: no such folder"),
        ("klue/klue", "train", "cannot read the split 'train' of klue/klue.*data/sample"),
        (str(SAMPLE), "test", "has no test.txt, only train.txt, validation.txt"),
    ],
)
def test_missing_data_set_is_reported(dataset, split, message):
    with pytest.raises(InputError, match=re.compile(message, re.DOTALL)):
        load_split(dataset, split)


def test_revision_is_read_from_the_cache_of_a_hub_data_set(tmp_path):
    commit = "0123456789abcdef0123456789abcdef01234567"
    rows = read_marked_file(SAMPLE / "train.txt")
    assert find_revision(rows) is None
    rows.save_to_disk(tmp_path / commit)
    assert find_revision(Dataset.load_from_disk(tmp_path / commit)) == commit


def test_sample_is_the_posts():
    """The post drew `shuffle(seed=42).select(range(100))`, a permutation by NumPy."""
    rows = Dataset.from_dict({"row": range(5000)})
    expected = numpy.random.default_rng(42).permutation(5000)[:100].tolist()
    assert expected[:8] == [1535, 1183, 3378, 3825, 643, 90, 2835, 3865]
    assert sample_rows(rows, 100)["row"][:] == expected
    assert sample_rows(rows, 6000)["row"][:] == list(range(5000))


def test_overlap_of_the_splits_is_counted(tmp_path):
    lines = ["<손흥민:PS>은 춘천에서 태어났다.", "봄이 왔다.", "봄이 왔다.", "여름이다."]
    (tmp_path / "train.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows = load_split(str(tmp_path), "train")
    alone = describe_overlap(rows, str(tmp_path))
    assert alone == "sentences: 1 repeated; no validation split to compare with"
    (tmp_path / "validation.txt").write_text("봄이 왔다.\n가을이다.\n", encoding="utf-8")
    both = describe_overlap(rows, str(tmp_path))
    assert both == "sentences: 1 repeated, 2 also in the validation split"
