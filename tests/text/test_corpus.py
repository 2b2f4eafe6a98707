import json
import re

import numpy
import pytest
from datasets import ClassLabel, Dataset, List, Value

from ner.cli import InputError
from ner.text.corpus import (
    describe_overlap,
    encode_rows,
    find_revision,
    get_id2label,
    get_labels,
    list_used_labels,
    load_split,
    sample_rows,
)
from ner.text.klue import LABELS, TAGS
from ner.text.tags import find_entities
from tests.helpers import ROOT, SAMPLE
from tests.hub_folder import write_configs, write_hub_folder, write_tagged

# Three sentences in each of the forms, with labels of one's own.
SENTENCES = [
    (list("토끼 새 자"), ["B-brand-2", "I-brand-2", "O", "B-상품", "I-상품", "I-상품"]),
    (list("감색모자"), ["B-색_상", "I-색_상", "B-상품", "I-상품"]),
    (list("왔 다"), ["O", "O", "O"]),
]
MARKED = ["<토끼:brand-2> <새 자:상품>", "<감색:색_상><모자:상품>", "왔 다"]
SPANS = [
    ("토끼 새 자", [[3, 6, "상품"], [0, 2, "brand-2"]]),
    ("감색모자", [[0, 2, "색_상"], [2, 4, "상품"]]),
    ("왔 다", []),
]
OBJECTS = [
    (text, [{"id": 1, "label": c, "start_offset": a, "end_offset": b} for a, b, c in spans])
    for text, spans in SPANS
]
TAG_NAMES = ["O", "B-brand-2", "I-brand-2", "B-상품", "I-상품", "B-색_상", "I-색_상"]
IDS = [(tokens, [TAG_NAMES.index(tag) for tag in tags]) for tokens, tags in SENTENCES]


def write_tags(form: str, headers: list[str] | None = None) -> str:
    """A line for each token and tag, and a header above each sentence."""
    blocks = []
    for number, (tokens, tags) in enumerate(SENTENCES):
        lines = [
            form.format(token=token, tag=tag, label=tag[2:], prefix=tag[0])
            for token, tag in zip(tokens, tags, strict=True)
        ]
        blocks.append("\n".join([*headers[number : number + 1], *lines] if headers else lines))
    return "\n\n".join(blocks) + "\n"


def write_lines(field: str, records: list) -> str:
    return "\n".join(json.dumps({"text": text, field: spans}) for text, spans in records)


# The top of KLUE's file, with the same words.
COMMENTS = (
    "## 토큰, 레이블 구분자 : \\t\n## 토큰 구분자 : \\n\n## 주석 : ##\n## 컬럼명 : CHAR\tNE_TAG\n"
)
HEADERS = [f"## klue-ner-v1_train_0000{n}-nsmc\t{line}" for n, line in enumerate(MARKED)]
NAVER = write_tags("{token}\t{label}_{prefix}").replace("_O", "-")
FILES = {
    "notation": ("{}.txt", "\n".join(MARKED)),
    "KLUE": ("klue-ner-v1.1_{}.tsv", COMMENTS + write_tags("{token}\t{tag}", HEADERS)),
    "KLUE, renamed": ("{}.tsv", write_tags("{token}\t{tag}", HEADERS)),
    "two columns": ("{}.conll", write_tags("{token}\t{tag}")),
    "Windows": ("{}.tsv", "\ufeff" + write_tags("{token}\t{tag}").replace("\n", "\r\n")),
    "CoNLL-2003": ("{}.conll", "-DOCSTART- -X- O O\n\n" + write_tags("{token}\tNN\tI\t{tag}")),
    "Naver": ("{}.tsv", NAVER),
    "doccano": ("{}.jsonl", write_lines("label", SPANS)),
    "doccano, newer": ("{}.jsonl", write_lines("entities", OBJECTS)),
    "spaCy": ("{}.jsonl", "\n" + write_lines("entities", SPANS) + "\n\n"),
}
COLUMNS = {
    "ClassLabel": (IDS, ClassLabel(names=TAG_NAMES), None),
    "names": (SENTENCES, Value("string"), None),
    "numbers": (IDS, Value("int64"), TAG_NAMES),
}


def check_rows(rows: Dataset, dataset: str) -> None:
    """Check that a split has SENTENCES in our columns, and their labels."""
    id2label = get_id2label(rows)
    assert rows.column_names == ["sentence", "tokens", "ner_tags"]
    assert rows["sentence"][:] == ["".join(tokens) for tokens, _ in SENTENCES]
    tags = [[id2label[tag] for tag in row] for row in rows["ner_tags"]]
    assert list(zip(rows["tokens"], tags, strict=True)) == SENTENCES
    assert get_labels(rows, dataset) == {"brand-2": "", "상품": "", "색_상": ""}


@pytest.mark.parametrize("form", FILES)
def test_text_files_give_the_same_rows(tmp_path, form):
    name, content = FILES[form]
    (tmp_path / name.format("train")).write_bytes(content.encode())
    check_rows(load_split(str(tmp_path), "train"), str(tmp_path))


@pytest.mark.parametrize("form", COLUMNS)
def test_columns_of_the_hub_give_the_same_rows(tmp_path, form):
    sentences, kind, tag_names = COLUMNS[form]
    folder = str(write_tagged(tmp_path, sentences, kind))
    check_rows(load_split(folder, "train", tag_names), folder)


def test_klue_tags_as_numbers(tmp_path):
    """The example of docs/training.md."""
    folder = write_tagged(tmp_path / "data", [(["봄", "이"], [1, 0])], Value("int64"))
    rows = load_split(str(folder), "train", ["O", "B-DT", "I-DT"])
    names = get_id2label(rows)
    assert [names[tag] for tag in rows[0]["ner_tags"]] == ["B-DT", "O"]
    assert get_labels(rows, str(folder)) == LABELS


def test_json_lines_with_the_hubs_columns(tmp_path):
    """They need no card: without one, the configuration is the default one."""
    lines = [json.dumps({"tokens": tokens, "ner_tags": tags}) for tokens, tags in SENTENCES]
    (tmp_path / "train.jsonl").write_text("\n".join(lines))
    check_rows(load_split(str(tmp_path), "train"), str(tmp_path))


def test_token_that_looks_like_a_comment(tmp_path):
    (tmp_path / "train.conll").write_text("## O\n# B-X\n")
    assert load_split(str(tmp_path), "train")["tokens"][:] == [["##", " ", "#"]]


def test_chats_beside_a_corpus_are_no_second_corpus(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"messages": [{"role": "user", "content": "봄"}]}\n')
    (tmp_path / "train.txt").write_text("봄\n")
    assert load_split(str(tmp_path), "train")["sentence"][:] == ["봄"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["test.txt"], "test.txt"),
        (["test.txt", "dev.jsonl"], "dev.jsonl"),
        (["test.txt", "klue-ner-v1.1_dev.tsv"], "klue-ner-v1.1_dev.tsv"),
        (["test.txt", "dev.conll", "validation.txt"], "validation.txt"),
    ],
)
def test_other_names_of_the_validation_file(tmp_path, names, expected):
    contents = {".txt": "{}\n", ".jsonl": '{{"text": "{}", "label": []}}\n'}
    for name in names:
        path = tmp_path / name
        path.write_text(contents.get(path.suffix, "{}\tO\n").format(name))
    assert load_split(str(tmp_path), "validation")["sentence"][:] == [expected]


WIKIANN = Dataset.from_dict(
    {
        "tokens": [["손흥민은", "서울", "강남구에", "산다"], ["봄", "과", "LG", "전자"]],
        "ner_tags": [[1, 5, 6, 0], [0, 0, 3, 4]],
        "langs": [["ko"] * 4] * 2,
        "spans": [["PER: 손흥민은", "LOC: 서울 강남구에"], ["ORG: LG 전자"]],
    }
).cast_column(
    "ner_tags", List(ClassLabel(names=["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC"]))
)


def test_words_of_wikiann(tmp_path, capsys):
    folder = write_configs(tmp_path, {"ko": WIKIANN, "en": WIKIANN.select([1])})
    rows = load_split(f"{folder}:ko", "train")
    assert (
        f"{folder}:ko, train: the tokens are words, joined with spaces" in capsys.readouterr().out
    )
    assert rows["sentence"][:] == ["손흥민은 서울 강남구에 산다", "봄 과 LG 전자"]
    assert rows["tokens"][0] == ["손흥민은", " ", "서울", " ", "강남구에", " ", "산다"]
    id2label = get_id2label(rows)
    assert find_entities([id2label[tag] for tag in rows["ner_tags"][0]]) == [
        ("PER", 0, 1),
        ("LOC", 2, 5),
    ]
    assert list(get_labels(rows, f"{folder}:ko")) == ["LOC", "ORG", "PER"]
    assert len(load_split(f"{folder}:en", "train")) == 1


def test_join_overrules_the_guess(tmp_path, capsys):
    folder = str(write_configs(tmp_path, {"ko": WIKIANN}))
    assert load_split(folder, "train", join="characters")["sentence"][1] == "봄과LG전자"
    (tmp_path / "train.conll").write_text("봄\tO\n비\tO\n")
    assert load_split(folder, "train", join="words")["sentence"][:] == ["봄 비"]
    assert load_split(folder, "train")["sentence"][:] == ["봄비"]
    assert "words" not in capsys.readouterr().out


def test_configuration_must_be_named_if_none_is_the_default(tmp_path):
    folder = write_configs(tmp_path, {"ko": WIKIANN, "en": WIKIANN})
    with pytest.raises(InputError, match=f"has the configurations ko, en. Name one.*{folder}:ko"):
        load_split(str(folder), "train")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"상품": "제품 이름", "색": None}, {"상품": "제품 이름", "색": ""}),
        (["색", "상품", "PS"], {"색": "", "상품": "", "PS": ""}),
    ],
)
def test_labels_json_sets_order_and_descriptions(tmp_path, content, expected):
    (tmp_path / "train.txt").write_text("<모자:상품>\n<봄:색>\n")
    (tmp_path / "labels.json").write_text(json.dumps(content))
    rows = load_split(str(tmp_path), "train")
    assert get_labels(rows, str(tmp_path)) == expected
    assert list(get_labels(rows, str(tmp_path))) == list(expected)
    first = next(iter(expected))
    assert get_id2label(rows)[1] == f"B-{first}"


def test_labels_are_those_of_the_training_file_too(tmp_path):
    (tmp_path / "train.txt").write_text("<모자:상품>\n<봄:PS>\n")
    (tmp_path / "validation.txt").write_text("<봄:PS>\n")
    rows = load_split(str(tmp_path), "validation")
    assert get_labels(rows, str(tmp_path)) == {"PS": "", "상품": ""}


def test_klue_labels_keep_their_order_and_descriptions(tmp_path):
    (tmp_path / "train.txt").write_text("<모자:QT>\n<봄:PS>\n")
    rows = load_split(str(tmp_path), "train")
    assert list(get_labels(rows, str(tmp_path)).items()) == list(LABELS.items())
    assert get_id2label(rows) == dict(enumerate(TAGS))
    assert list_used_labels(rows) == ["PS", "QT"]


def test_shop_corpus_has_every_label():
    folder = ROOT / "data" / "shop"
    for split, least in (("train", 12), ("validation", 5)):
        rows = load_split(str(folder), split)
        id2label = get_id2label(rows)
        tags = [id2label[tag] for row in rows["ner_tags"] for tag in row]
        labels = get_labels(rows, str(folder))
        assert list(labels) == ["상품", "브랜드", "색상", "가격"]
        assert all(tags.count(f"B-{label}") >= least for label in labels)
        assert all(labels.values())
        assert len(set(rows["sentence"])) == len(rows)


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


def test_license_beside_the_files_of_the_hubs_layout(tmp_path):
    folder = write_hub_folder(tmp_path / "corpus")
    (folder / "LICENSE.txt").touch()
    assert len(load_split(str(folder), "train")) == 2


def test_data_set_with_code_of_its_own_is_reported(monkeypatch):
    """As the library reports it, which runs no such code."""

    def refuse(name: str) -> list[str]:
        raise RuntimeError("Dataset scripts are no longer supported, but found kmounlp.py")

    monkeypatch.setattr("ner.text.hub_data.get_dataset_config_names", refuse)
    message = r"cannot read the split 'train' of nlp/kmounlp: Dataset scripts are no longer"
    with pytest.raises(InputError, match=message):
        load_split("nlp/kmounlp", "train")


def test_folder_that_changed_is_read_again(tmp_path):
    for number, tag in enumerate([0, 2]):
        folder = write_hub_folder(tmp_path / str(number) / "corpus", tags=[[tag, 12], [12, 12]])
        assert load_split(str(folder), "train")["ner_tags"][0] == [tag, 12]


@pytest.mark.parametrize(
    ("dataset", "split", "message"),
    [
        ("nowhere", "train", "nowhere: no such folder"),
        ("klue/klue", "train", "cannot read the split 'train' of klue/klue.*data/sample"),
        (str(SAMPLE), "test", "has no file for the split test, only train.txt, validation.txt"),
    ],
)
def test_missing_data_set_is_reported(dataset, split, message):
    with pytest.raises(InputError, match=re.compile(message, re.DOTALL)):
        load_split(dataset, split)


def test_revision_is_read_from_the_cache_of_a_hub_data_set(tmp_path):
    commit = "0123456789abcdef0123456789abcdef01234567"
    rows = load_split(str(SAMPLE), "train")
    assert find_revision(rows) is None
    rows.save_to_disk(tmp_path / commit)
    assert find_revision(Dataset.load_from_disk(tmp_path / commit)) == commit


def test_revision_of_a_hub_data_set_of_words_is_kept(tmp_path):
    commit = "0123456789abcdef0123456789abcdef01234567"
    WIKIANN.save_to_disk(tmp_path / commit)
    rows = Dataset.load_from_disk(tmp_path / commit)
    names = dict(enumerate(WIKIANN.features["ner_tags"].feature.names))
    encoded = encode_rows(rows, names, list(names.values()), True, "hub")
    assert encoded["sentence"][1] == "봄 과 LG 전자"
    assert find_revision(encoded) == commit


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
    assert alone.startswith("sentences: 1 repeated; no validation split to compare with: ")
    assert alone.endswith("has no file for the split validation, only train.txt")
    (tmp_path / "validation.txt").write_text("봄이 왔다.\n가을이다.\n", encoding="utf-8")
    both = describe_overlap(rows, str(tmp_path))
    assert both == "sentences: 1 repeated, 2 also in the validation split"
