import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_processing import (
    bio_to_json,
    bio_to_marked,
    create_chat_dataset,
    json_to_bio,
    main,
    marked_to_bio,
    parse_args,
    preprocessing_data,
)
from ner.cli import InputError
from ner.text.chats import source_path
from ner.text.corpus import get_id2label, load_split
from ner.text.klue import LABELS, TAGS
from ner.text.prompts import SYSTEM_PROMPTS
from ner.text.tags import find_entities, write_tags
from tests.helpers import SAMPLE
from tests.hub_folder import write_hub_folder

ID2LABEL = dict(enumerate(TAGS))


def test_bio_to_json_writes_the_documented_answer():
    sentence, answer = bio_to_json(list("손흥민은"), [6, 7, 7, 12], ID2LABEL)
    assert (sentence, answer) == ("손흥민은", '{"PS": ["손흥민"]}')


def test_json_to_bio_writes_the_documented_tags():
    tags = json_to_bio('{"PS": ["손흥민"]}', list("손흥민은"))
    assert tags == ["B-PS", "I-PS", "I-PS", "O"]


def test_bio_to_json_keeps_order_repeats_spaces_and_signs():
    sentence = "9월 20일 런던 시청에서 7.2㎞, 런던 시청까지"
    entities = [(0, 6, "DT"), (7, 12, "LC"), (15, 19, "QT"), (21, 26, "LC")]
    tags = [TAGS.index(tag) for tag in write_tags(entities, list(sentence))]
    answer = '{"DT": ["9월 20일"], "LC": ["런던 시청", "런던 시청"], "QT": ["7.2㎞"]}'
    assert bio_to_json(list(sentence), tags, ID2LABEL) == (sentence, answer)


def test_bio_to_json_without_entities():
    assert bio_to_json(list("없다"), [12, 12], ID2LABEL) == ("없다", "{}")
    assert bio_to_json([], [], ID2LABEL) == ("", "{}")


@pytest.mark.parametrize(
    ("tokens", "tags", "message"),
    [
        ("손흥민은", [6, 7, 7], "4 tokens but 3 tags"),
        ("손", [13], r"\[13\]"),
        ("손흥", [12, -100], r"\[-100\]"),
    ],
)
def test_bio_to_json_refuses_tags_that_do_not_fit(tokens, tags, message):
    with pytest.raises(ValueError, match=message):
        bio_to_json(list(tokens), tags, ID2LABEL)


@settings(deadline=None)
@given(tokens=st.lists(st.sampled_from("가나다라마바사"), max_size=20, unique=True), data=st.data())
def test_gold_tags_there_and_back(tokens, data):
    size = len(tokens)
    tags = data.draw(st.lists(st.sampled_from(sorted(ID2LABEL)), min_size=size, max_size=size))
    _, answer = bio_to_json(tokens, tags, ID2LABEL)
    gold = find_entities([ID2LABEL[tag] for tag in tags])
    assert find_entities(json_to_bio(answer, tokens)) == gold


def test_chats_are_the_posts(tmp_path, capsys):
    output = tmp_path / "train.jsonl"
    main(["--dataset", str(SAMPLE), "--output", str(output)])
    printed = capsys.readouterr().out
    chats = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    sentence = "강원도 춘천시 신북읍에 사는 김하늘씨는 지난 20일 밭에서 무게 3㎏짜리 무를 뽑았다."
    answer = (
        '{"LC": ["강원도 춘천시 신북읍"], "PS": ["김하늘"], "DT": ["지난 20일"], "QT": ["3㎏"]}'
    )
    assert len(chats) == 48
    assert chats[0] == {
        "messages": [
            {"role": "system", "content": SYSTEM_PROMPTS["basic"]},
            {"role": "user", "content": sentence},
            {"role": "assistant", "content": answer},
        ]
    }
    assert f"{output}: 48 chats" in printed
    assert json.dumps(chats[0], ensure_ascii=False, indent=4) in printed
    marked = (SAMPLE / "train.txt").read_text(encoding="utf-8")
    counts = [f"{label} {marked.count(f':{label}>')}" for label in LABELS]
    assert f"entities: {', '.join(counts)}" in printed


def test_chats_of_a_folder_in_the_hubs_layout(tmp_path):
    rows = load_split(str(write_hub_folder(tmp_path / "corpus")), "train")
    chats = create_chat_dataset(rows, get_id2label(rows))
    assert [chat["messages"][2]["content"] for chat in chats] == ['{"DT": ["봄"]}', "{}"]


def test_klue_copy_gives_3200_chats(klue_copy, tmp_path):
    output = tmp_path / "train.jsonl"
    main(["--dataset", str(klue_copy), "--output", str(output)])
    with output.open(encoding="utf-8") as lines:
        assert sum(1 for _ in lines) == 3200


def test_source_has_the_data_and_its_fingerprint(chats_file):
    source = json.loads(chats_file.with_name("train.source.json").read_text(encoding="utf-8"))
    assert source == {
        "dataset": str(SAMPLE),
        "split": "train",
        "revision": None,
        "prompt": "basic",
        "num_samples": 24,
        "seed": 42,
        "chats": 24,
        "sha256": hashlib.sha256(chats_file.read_bytes()).hexdigest(),
    }


def test_sentences_that_are_not_restored_are_listed(tmp_path, capsys):
    """The first 보리 and the first 이 are not names, but an answer cannot say which it means."""
    path = tmp_path / "train.txt"
    path.write_text("<봄:DT>이 왔다\n보리밥 먹는 <보리:PS>\n이 사람 <이:PS>는\n", encoding="utf-8")
    rows = load_split(str(tmp_path), "train")
    create_chat_dataset(rows, get_id2label(rows))
    printed = capsys.readouterr().out
    expected = "2 of 3 sentences are not restored exactly from their own answer: rows 1, 2\n"
    assert expected in printed


def test_only_the_first_rows_that_are_not_restored_are_listed(tmp_path, capsys):
    path = tmp_path / "train.txt"
    path.write_text("이 사람 <이:PS>는\n" * 21, encoding="utf-8")
    rows = load_split(str(tmp_path), "train")
    create_chat_dataset(rows, get_id2label(rows))
    printed = capsys.readouterr().out
    assert "21 of 21 sentences" in printed
    assert printed.endswith(" 18, 19, …\n")


def test_overlap_of_the_splits_is_printed(tmp_path, capsys):
    lines = ["<손흥민:PS>은 춘천에서 태어났다.", "봄이 왔다.", "봄이 왔다.", "여름이다."]
    (tmp_path / "train.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    preprocessing_data(str(tmp_path), tmp_path / "train.jsonl")
    assert "sentences: 1 repeated; no validation split" in capsys.readouterr().out
    (tmp_path / "validation.txt").write_text("봄이 왔다.\n가을이다.\n", encoding="utf-8")
    preprocessing_data(str(tmp_path), tmp_path / "train.jsonl")
    assert "sentences: 1 repeated, 2 also in the validation split" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tags": [[0, 12], [12]]}, "train, row 1: 2 tokens but 1 tags"),
        ({"names": [*TAGS[:-1], "XX"]}, "tag 'XX': expected O, or B-PS and I-PS"),
        ({"columns": ("tokens",)}, r"the columns tokens and ner_tags \(a list of ClassLabel, "),
    ],
)
def test_rows_that_do_not_fit_leave_the_old_chats_alone(tmp_path, change, message):
    output = tmp_path / "out" / "train.jsonl"
    preprocessing_data(str(SAMPLE), output)
    before = {path.name: path.read_bytes() for path in output.parent.iterdir()}
    folder = write_hub_folder(tmp_path / "corpus", **change)
    with pytest.raises(InputError, match=message):
        preprocessing_data(str(folder), output)
    assert {path.name: path.read_bytes() for path in output.parent.iterdir()} == before


def test_output_that_is_a_folder_is_reported_before_the_data_is_read(tmp_path):
    with pytest.raises(InputError, match=r"is a folder\. Choose a file"):
        preprocessing_data("nowhere", tmp_path)


@pytest.mark.parametrize("number", ["0", "-3"])
def test_number_of_samples_must_be_positive(number, tmp_path, capsys):
    output = tmp_path / "train.jsonl"
    output.write_text("old")
    with pytest.raises(SystemExit):
        main(["--dataset", str(SAMPLE), "--output", str(output), "--num_samples", number])
    assert output.read_text() == "old"
    assert "argument --num_samples" in capsys.readouterr().err


def test_marked_answers_are_restored_exactly(tmp_path, capsys):
    path = tmp_path / "train.jsonl"
    main(["--dataset", str(SAMPLE), "--answer", "marked", "--output", str(path)])
    assert "round trip: 0 of 48 sentences" in capsys.readouterr().out
    lines = (SAMPLE / "train.txt").read_text(encoding="utf-8").splitlines()
    chats = [json.loads(line)["messages"] for line in path.read_text().splitlines()]
    assert [chat[2]["content"] for chat in chats] == lines
    assert {chat[0]["content"] for chat in chats} == {SYSTEM_PROMPTS["marked"]}
    assert json.loads(source_path(path).read_text())["prompt"] == "marked"


def test_stricter_prompt_has_no_marked_answers(capsys):
    with pytest.raises(SystemExit):
        parse_args(["--answer", "marked", "--prompt", "strict"])
    assert "--prompt strict asks for JSON" in capsys.readouterr().err


def test_marked_twins_of_the_converters():
    sentence, answer = bio_to_marked(list("손흥민은"), [6, 7, 7, 12], ID2LABEL)
    assert (sentence, answer) == ("손흥민은", "<손흥민:PS>은")
    assert marked_to_bio(answer, list(sentence)) == ["B-PS", "I-PS", "I-PS", "O"]
    with pytest.raises(ValueError, match="4 tokens but 3 tags"):
        bio_to_marked(list("손흥민은"), [6, 7, 7], ID2LABEL)
