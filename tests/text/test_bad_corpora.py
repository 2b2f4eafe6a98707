"""Data that cannot be used is refused with its place and the fix. Whole messages, on purpose."""

import json

import pytest
from datasets import ClassLabel, Value

from ner.cli import InputError
from ner.text.corpus import load_split
from ner.text.klue import TAGS
from tests.hub_folder import write_hub_folder, write_tagged

EXAMPLE = '{"text": "봄이 왔다", "label": [[0, 1, "DT"]]}'
OFFSETS = "Offsets count characters from 0, and the end is not part of a span"


def spans(*spans: list, text: str = "봄이 왔다") -> str:
    return json.dumps({"text": text, "label": spans})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "train.txt",
            "<봄:DT>이\n\n<봄:D T>이",
            ":3: character 1: expected <mention:LABEL>, found <봄:D T>이. "
            "Write \\< for a literal <",
        ),
        (
            "train.txt",
            "<봄:철>이 3:2>1\n여름:철>이",
            ":2: character 3: expected <mention:LABEL>, but this mention has no opening bracket. "
            "Write \\> for a literal >",
        ),
        (
            "train.txt",
            "\n \n",
            ": no sentences. Expected one per line, such as <손흥민:PS>은 달린다.",
        ),
        ("train.txt", "봄".encode("cp949"), ": not UTF-8 (byte 0). Save the file as UTF-8"),
        ("train.tsv", "봄".encode("cp949"), ": not UTF-8 (byte 0). Save the file as UTF-8"),
        (
            "train.tsv",
            "봄\tO\n\n여\tO\n름\tI-DT\n",
            ":4: I-DT continues nothing. An entity starts with B-DT",
        ),
        (
            "train.tsv",
            "봄\tB-PS\n\n여\tI-PS\n",
            ":3: I-PS continues nothing. An entity starts with B-PS",
        ),
        ("train.tsv", "봄\tS-DT\n", ":1: tag 'S-DT': expected O, or B-PS and I-PS for a label PS"),
        ("train.tsv", "봄\t\n", ":1: tag '': expected O, or B-PS and I-PS for a label PS"),
        (
            "train.tsv",
            "봄\tB-a:b\n",
            ":1: label 'a:b': a name has no white space and none of < > : \\ \"",
        ),
        ("train.conll", "봄 O\n  O\n", ":2: expected a token, a tab and its tag, found '  O'"),
        (
            "train.conll",
            "1 봄 O\n3 비 O\n",
            ":2: expected a token, a tab and its tag, found '3 비 O'",
        ),
        (
            "train.conll",
            "-DOCSTART- O\n\n",
            ": no sentences. Expected a token, a tab and its tag on each line",
        ),
        (
            "train.jsonl",
            f"{spans()}\n{{'text'",
            ":2: not JSON (Expecting property name enclosed in double quotes: line 1 column 2 "
            f"(char 1)). Expected {EXAMPLE}",
        ),
        (
            "train.jsonl",
            '{"text": "봄"}',
            ":1: expected an object with text and one of label, labels, entities, such as "
            + EXAMPLE,
        ),
        (
            "train.jsonl",
            '["봄"]',
            ":1: expected an object with text and one of label, labels, entities, such as "
            + EXAMPLE,
        ),
        (
            "train.jsonl",
            '{"text": "봄", "label": 3}',
            ":1: label: expected a list of [start, end, label], found 3",
        ),
        (
            "train.jsonl",
            spans([0, 1]),
            ":1: expected [start, end, label], found [0, 1]",
        ),
        (
            "train.jsonl",
            spans([True, 1, "DT"]),
            ':1: expected [start, end, label], found [true, 1, "DT"]',
        ),
        (
            "train.jsonl",
            spans([2, 4, "DT"], [0, 3, "PS"]),
            ":1: span [2, 4] overlaps the one that ends at 3",
        ),
        (
            "train.jsonl",
            spans([1, 1, "DT"]),
            ":1: span [1, 1] is empty or outside the text, which has 5 characters. " + OFFSETS,
        ),
        (
            "train.jsonl",
            spans([4, 6, "DT"]),
            ":1: span [4, 6] is empty or outside the text, which has 5 characters. " + OFFSETS,
        ),
        (
            "train.jsonl",
            spans([0, 1, "a b"]),
            ":1: label 'a b': a name has no white space and none of < > : \\ \"",
        ),
        (
            "train.jsonl",
            spans(text="\ud83d"),
            ":1: 'utf-8' codec can't encode character '\\ud83d' in position 0: surrogates not "
            "allowed",
        ),
        (
            "train.jsonl",
            spans(text=" "),
            f": no sentences. Expected one per line, such as {EXAMPLE}",
        ),
    ],
)
def test_text_file(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as caught:
        load_split(str(tmp_path), "train")
    assert str(caught.value) == f"{path}{message}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", ": not JSON in UTF-8 (Expecting property name"),
        ("[]", ": expected a list of names, or an object such as {"),
        ('"PS"', ": expected a list of names, or an object such as {"),
        ('{"PS": 3}', ": expected a list of names, or an object such as {"),
        ('[["PS", "LC"]]', ": expected a list of names, or an object such as {"),
        ('["PS", "PS"]', ": a name is there twice. Expected each name once"),
        ('["P S"]', ": label 'P S': a name has no white space and none of <"),
        (json.dumps([f"L{n}" for n in range(51)]), ": 51 labels. Expected at most 50"),
    ],
)
def test_labels_json(tmp_path, content, message):
    (tmp_path / "labels.json").write_text(content)
    (tmp_path / "train.txt").write_text("봄\n")
    with pytest.raises(InputError) as caught:
        load_split(str(tmp_path), "train")
    assert str(caught.value).startswith(f"{tmp_path / 'labels.json'}{message}")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "train.txt",
            "<봄:DT>이",
            "train.txt:1: character 1: expected <mention:LABEL> with one of 색, found <봄:DT>이. "
            "Write \\< for a literal <",
        ),
        ("train.tsv", "봄\tDT_B", "train.tsv:1: unknown label DT. Expected one of 색"),
        ("train.jsonl", spans([0, 1, "DT"]), "train.jsonl:1: unknown label DT. Expected one of 색"),
    ],
)
def test_label_that_labels_json_lacks(tmp_path, name, content, message):
    (tmp_path / "labels.json").write_text('["색"]')
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError) as caught:
        load_split(str(tmp_path), "train")
    assert str(caught.value) == f"{tmp_path}/{message}"


def test_label_of_the_hubs_columns_that_labels_json_lacks(tmp_path):
    folder = write_hub_folder(tmp_path)
    (folder / "labels.json").write_text('["PS", "LC", "OG", "QT"]')
    with pytest.raises(InputError) as caught:
        load_split(str(folder), "train")
    assert str(caught.value) == (
        f"{folder}, train: labels that are not in labels.json: DT, TI. Add them to it"
    )


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("train.txt", "train.jsonl"), "has train.txt and train.jsonl. Keep one of them"),
        (
            ("klue-ner-v1.1_train.tsv", "train.tsv"),
            "has train.tsv and klue-ner-v1.1_train.tsv. Keep one of them",
        ),
        (("dev.jsonl",), "has no file for the split train, only dev.jsonl"),
        (("other.txt",), "has no file for the split train, only other.txt"),
    ],
)
def test_files_of_a_folder(tmp_path, files, message):
    for name in files:
        (tmp_path / name).write_text("")
    with pytest.raises(InputError) as caught:
        load_split(str(tmp_path), "train")
    assert str(caught.value) == f"{tmp_path}: {message}"


NAMES = ["O", "B-X", "I-X"]


@pytest.mark.parametrize(
    ("sentence", "kind", "tag_names", "message"),
    [
        (
            (["봄"], [0]),
            Value("int64"),
            None,
            ": its tags are numbers. Pass their names with --labels, the name of 0 first, such as "
            "--labels O,B-PS,I-PS",
        ),
        (
            (["봄"], [0]),
            ClassLabel(names=NAMES),
            NAMES,
            ": its tags have names. Leave out --labels",
        ),
        (
            (["봄"], [3]),
            Value("int64"),
            NAMES,
            ", row 0: a tag is null or a number without a name. Each needs one",
        ),
        (
            (["봄"], ["X"]),
            Value("string"),
            None,
            ": tag 'X': expected O, or B-PS and I-PS for a label PS",
        ),
        (
            (["봄"], [0.5]),
            Value("float64"),
            None,
            ": expected the columns tokens and ner_tags (a list of ClassLabel, names or numbers), "
            "found tokens (List(Value('string'))), ner_tags (List(Value('float64')))",
        ),
        (
            (["봄", "이"], [2, 0]),
            ClassLabel(names=NAMES),
            None,
            ", row 0: I-X continues nothing. An entity starts with B-X",
        ),
        (
            (["봄", "이"], [1]),
            ClassLabel(names=NAMES),
            None,
            ", row 0: 2 tokens but 1 tags: each token needs one tag",
        ),
        (
            (["봄", ""], [1, 0]),
            ClassLabel(names=NAMES),
            None,
            ", row 0: a token is empty. Remove it from the data set, with its tag",
        ),
        # With KLUE's names as well.
        (
            (["봄", "이"], [1, 12]),
            ClassLabel(names=TAGS),
            None,
            ", row 0: I-DT continues nothing. An entity starts with B-DT",
        ),
        (
            (["봄", "이"], [0]),
            ClassLabel(names=TAGS),
            None,
            ", row 0: 2 tokens but 1 tags: each token needs one tag",
        ),
        (
            (["봄", "이"], [0, None]),
            ClassLabel(names=TAGS),
            None,
            ", row 0: a tag is null or a number without a name. Each needs one",
        ),
        (
            (["봄", "이"], ["B-DT", None]),
            Value("string"),
            None,
            ", row 0: a tag is null or a number without a name. Each needs one",
        ),
        (
            (["봄", "이"], None),
            Value("string"),
            None,
            ", row 0: tokens or ner_tags is null. Remove the row from the data set",
        ),
        (
            (None, None),
            ClassLabel(names=TAGS),
            None,
            ", row 0: tokens or ner_tags is null. Remove the row from the data set",
        ),
        (
            (["봄", None], ["B-DT", "O"]),
            Value("string"),
            None,
            ", row 0: a token is empty. Remove it from the data set, with its tag",
        ),
    ],
)
def test_columns(tmp_path, sentence, kind, tag_names, message):
    folder = write_tagged(tmp_path, [sentence], kind)
    with pytest.raises(InputError) as caught:
        load_split(str(folder), "train", tag_names)
    assert str(caught.value) == f"{folder}, train{message}"


def test_names_of_tags_for_a_text_file(tmp_path):
    (tmp_path / "train.txt").write_text("봄\n")
    with pytest.raises(InputError, match=r"train\.txt: its tags have names. Leave out --labels"):
        load_split(str(tmp_path), "train", TAGS)


def test_columns_are_missing(tmp_path):
    folder = write_hub_folder(tmp_path, columns=("tokens",))
    with pytest.raises(InputError, match="train: expected the columns tokens and ner_tags"):
        load_split(str(folder), "train")
