"""Reading corpora, writing chats, and what a user can get wrong on the way."""
import json
import re

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from conftest import SAMPLE
from data_processing import (InputError, LABELS, SYSTEM_PROMPTS, TAGS, check_replaceable, create_chat_dataset,
                             find_entities, find_revision, get_id2label, load_split, main, mark_entities,
                             parse_marked_sentence, preprocessing_data, read_marked_file, replace_folder, sample_rows,
                             write_whole)


@pytest.mark.parametrize("line, sentence, entities", [
    ("<손흥민:PS>은 <춘천:LC>에서 태어났다.", "손흥민은 춘천에서 태어났다.", [("PS", 0, 3), ("LC", 5, 7)]),
    ("찾을 것이 없다", "찾을 것이 없다", []),
    ("<12:30:TI>에 보자", "12:30에 보자", [("TI", 0, 5)]),
    ("<서울:LC><시청:OG>", "서울시청", [("LC", 0, 2), ("OG", 2, 4)]),
    (r"\<봄\>은 <a\>b:OG> \\ C:\d", r"<봄>은 a>b \ C:\d", [("OG", 5, 8)]),
    ("3 > 2 -> <셋:QT>", "3 > 2 -> 셋", [("QT", 9, 10)]),
])
def test_marked_sentence_there_and_back(line, sentence, entities):
    tokens, tags = parse_marked_sentence(line)
    assert "".join(tokens) == sentence
    assert find_entities(tags) == entities
    assert parse_marked_sentence(mark_entities(tokens, tags)) == (tokens, tags)


@pytest.mark.parametrize("line, message", [
    ("그때 <손흥민은 달린다", "character 4: expected <mention:LABEL> with one of PS, LC, OG, DT, TI, QT, found <손흥민은 달린다; the sign itself"),
    ("<손흥민:XX>은", "character 1: expected <mention:LABEL>.*found <손흥민:XX>은"),
    ("<손흥민>은", "character 1: expected <mention:LABEL>.*found <손흥민>은"),
    ("봄 손흥민:PS>은 간다", "character 6: a mention ends here but begins nowhere"),
    ("<봄:>은", "character 1: expected <mention:LABEL>.*found <봄:>은"),
    ("<:PS>은", "character 1: expected <mention:LABEL>.*found <:PS>은"),
    ("<봄:DT> <손<흥:PS>민:PS>", "character 8: expected <mention:LABEL>.*found <손<흥:PS>"),
])
def test_malformed_line_is_told_with_file_and_line(tmp_path, line, message):
    path = tmp_path / "train.txt"
    path.write_text(f"<봄:DT>이 왔다\n\n{line}\n", encoding="utf-8")
    with pytest.raises(InputError, match=rf"train\.txt:3: .*{message}"):
        read_marked_file(path)


def test_file_without_sentences_or_not_utf8(tmp_path):
    path = tmp_path / "train.txt"
    path.write_text("\n \n")
    with pytest.raises(InputError, match="holds no sentence"):
        read_marked_file(path)
    path.write_bytes("봄".encode("cp949"))
    with pytest.raises(InputError, match="not UTF-8"):
        read_marked_file(path)


def test_windows_files_are_read(tmp_path):
    path = tmp_path / "train.txt"
    path.write_bytes("\ufeff<봄:DT>이\r\n왔다\r\n".encode())
    assert read_marked_file(path)["sentence"][:] == ["봄이", "왔다"]


@pytest.mark.parametrize("split, least", [("train", 40), ("validation", 20)])
def test_sample_corpus_holds_every_label_and_nothing_twice(split, least):
    rows = load_split(str(SAMPLE), split)
    assert len(rows) >= least
    assert len(set(rows["sentence"])) == len(rows)
    tags = [[TAGS[tag] for tag in tags] for tags in rows["ner_tags"]]
    assert {label for sentence in tags for label, _, _ in find_entities(sentence)} == set(LABELS)
    assert any(not find_entities(sentence) for sentence in tags)


def write_rows(folder, tags=None, names=TAGS, columns=("tokens", "ner_tags")):
    """A data set in the hub's layout: parquet files and a card that names the config `ner`."""
    rows = {"tokens": [["봄", "이"], ["왔", "다"]], "ner_tags": tags or [[0, 12], [12, 12]]}
    features = {"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=names))}
    (folder / "ner").mkdir(parents=True)
    Dataset.from_dict({name: rows[name] for name in columns},
                      features=Features({name: features[name] for name in columns})
                      ).to_parquet(folder / "ner" / "train-00000-of-00001.parquet")
    (folder / "README.md").write_text("---\nconfigs:\n- config_name: ner\n  data_files:\n  - split: train\n"
                                      "    path: ner/train-*.parquet\n---\n")
    return folder


def test_folder_in_the_hubs_layout(tmp_path):
    rows = load_split(str(write_rows(tmp_path / "corpus")), "train")
    chats = create_chat_dataset(rows, get_id2label(rows))
    assert [chat["messages"][2]["content"] for chat in chats] == ['{"DT": ["봄"]}', "{}"]


@pytest.mark.parametrize("change, message", [
    ({"tags": [[0, 12], [12]]}, r"row 1 \(왔다…\): 2 tokens.*1 tag"),
    ({"names": [*TAGS[:-1], "B-XX"]}, "unknown tags B-XX; expected B-DT"),
    ({"columns": ("tokens",)}, r"expected the columns tokens and ner_tags \(a list of ClassLabel\)"),
])
def test_rows_that_do_not_fit_leave_the_old_chats_alone(tmp_path, change, message):
    output = tmp_path / "out" / "train.jsonl"
    preprocessing_data(str(SAMPLE), output)
    before = {path.name: path.read_bytes() for path in output.parent.iterdir()}
    with pytest.raises(InputError, match=message):
        preprocessing_data(str(write_rows(tmp_path / "corpus", **change)), output)
    assert {path.name: path.read_bytes() for path in output.parent.iterdir()} == before


@pytest.mark.parametrize("dataset, split, message", [
    ("nowhere", "train", "no such folder"),
    ("klue/klue", "train", "cannot read the split 'train' of klue/klue.*data/sample"),
    (str(SAMPLE), "test", "holds no test.txt; it has train.txt, validation.txt"),
])
def test_data_set_that_is_not_there(dataset, split, message):
    with pytest.raises(InputError, match=re.compile(message, re.DOTALL)):
        load_split(dataset, split)


def test_chats_are_the_posts(tmp_path, capsys):
    output = tmp_path / "train.jsonl"
    main(["--dataset", str(SAMPLE), "--output", str(output)])
    chats = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    printed = capsys.readouterr().out
    assert len(chats) == 48 and f"{output}: 48 chats" in printed
    assert chats[0] == {"messages": [
        {"role": "system", "content": SYSTEM_PROMPTS["basic"]},
        {"role": "user", "content": "강원도 춘천시 신북읍에 사는 김하늘씨는 지난 20일 밭에서 무게 3㎏짜리 무를 뽑았다."},
        {"role": "assistant", "content": '{"LC": ["강원도 춘천시 신북읍"], "PS": ["김하늘"], "DT": ["지난 20일"], "QT": ["3㎏"]}'},
    ]}
    assert json.dumps(chats[0], ensure_ascii=False, indent=4) in printed
    marked = (SAMPLE / "train.txt").read_text(encoding="utf-8")
    assert "entities: " + ", ".join(f"{label} {marked.count(f':{label}>')}" for label in LABELS) in printed


def test_source_names_the_data_and_its_fingerprint(chats_file):
    import hashlib
    source = json.loads(chats_file.with_name("train.source.json").read_text(encoding="utf-8"))
    assert source["sha256"] == hashlib.sha256(chats_file.read_bytes()).hexdigest()
    assert (source["dataset"], source["chats"], source["prompt"]) == (str(SAMPLE), 24, "basic")


def test_revision_is_read_off_the_cache_of_a_hub_data_set(tmp_path):
    commit = "0123456789abcdef0123456789abcdef01234567"
    rows = read_marked_file(SAMPLE / "train.txt")
    assert find_revision(rows) is None
    rows.save_to_disk(tmp_path / commit)
    assert find_revision(Dataset.load_from_disk(tmp_path / commit)) == commit


def test_folder_that_changed_is_read_anew(tmp_path):
    for number, tag in enumerate([0, 2]):
        folder = write_rows(tmp_path / str(number) / "corpus", tags=[[tag, 12], [12, 12]])
        assert load_split(str(folder), "train")["ner_tags"][0] == [tag, 12]


def test_draw_is_the_posts():
    """`shuffle(seed=42).select(range(100))` of 5,000 rows: NumPy's permutation, which is what makes it the same draw."""
    import numpy
    rows = Dataset.from_dict({"row": range(5000)})
    expected = numpy.random.default_rng(42).permutation(5000)[:100].tolist()
    assert expected[:8] == [1535, 1183, 3378, 3825, 643, 90, 2835, 3865]
    assert sample_rows(rows, 100)["row"][:] == expected
    assert sample_rows(rows, 6000)["row"][:] == list(range(5000))


def test_klue_copy_gives_3200_chats(klue_copy, tmp_path):
    output = tmp_path / "train.jsonl"
    main(["--dataset", str(klue_copy), "--output", str(output)])
    assert sum(1 for _ in output.open(encoding="utf-8")) == 3200


def test_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "chats"
    write_whole(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "new\udc00")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("chats", "old")]


def test_folder_is_replaced_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "adapter"
    for content in ("old", "new"):
        with replace_folder(folder, "marker") as part:
            (part / "marker").write_text(content)
            (part / content).touch()
    assert sorted(path.name for path in folder.iterdir()) == ["marker", "new"]
    with pytest.raises(KeyboardInterrupt), replace_folder(folder, "marker") as part:
        (part / "marker").write_text("half")
        raise KeyboardInterrupt
    assert (folder / "marker").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_folder_of_something_else_is_not_replaced(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.txt").touch()
    with pytest.raises(InputError, match="holds other things"):
        check_replaceable(tmp_path / "thesis", "adapter_config.json")
    with pytest.raises(InputError, match="is a file"):
        check_replaceable(tmp_path / "thesis" / "chapter1.txt", "adapter_config.json")
    from pathlib import Path
    with pytest.raises(InputError, match="cannot be written"):
        check_replaceable(Path("/proc/adapter"), "adapter_config.json")


def test_sentences_that_cannot_make_the_round_trip_are_told(tmp_path, capsys):
    """An answer that names 하루 once as a person and once as a day cannot say which is which."""
    path = tmp_path / "train.txt"
    path.write_text("<봄:DT>이 왔다\n보리밥 먹는 <보리:PS>\n이 사람 <이:PS>는\n", encoding="utf-8")
    rows = read_marked_file(path)
    create_chat_dataset(rows, get_id2label(rows))
    assert "round trip: 2 of 3 sentences do not come back exactly from their own answer: rows 1, 2" in capsys.readouterr().out


def test_output_that_is_a_folder_is_told_before_anything_is_read(tmp_path):
    with pytest.raises(InputError, match="is a folder; a file is wanted here"):
        preprocessing_data("nowhere", tmp_path)


@pytest.mark.parametrize("number", ["0", "-3"])
def test_no_sentences_at_all_is_no_number_of_samples(number, tmp_path, capsys):
    output = tmp_path / "train.jsonl"
    output.write_text("old")
    with pytest.raises(SystemExit):
        main(["--dataset", str(SAMPLE), "--output", str(output), "--num_samples", number])
    assert output.read_text() == "old" and "argument --num_samples" in capsys.readouterr().err


def test_interrupted_replacement_puts_the_old_folder_back(tmp_path, monkeypatch):
    from pathlib import Path
    folder, rename = tmp_path / "adapter", Path.rename
    with replace_folder(folder, "marker") as part:
        (part / "marker").write_text("old")

    def stop_at_the_second(path, target):
        if path.name.endswith(".part"):
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt), replace_folder(folder, "marker") as part:
        (part / "marker").write_text("new")
    assert [(path.name, (path / "marker").read_text()) for path in tmp_path.iterdir()] == [("adapter", "old")]

    monkeypatch.undo()
    folder.rename(tmp_path / ".adapter.old")  # as a killed process leaves it
    with pytest.raises(KeyboardInterrupt), replace_folder(folder, "marker"):
        raise KeyboardInterrupt
    assert (folder / "marker").read_text() == "old"


def test_sentences_that_both_splits_hold_are_told(tmp_path, capsys):
    lines = ["<손흥민:PS>은 춘천에서 태어났다.", "봄이 왔다.", "봄이 왔다.", "여름이다."]
    (tmp_path / "train.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    preprocessing_data(str(tmp_path), tmp_path / "train.jsonl")
    assert "sentences: 1 stand twice; there is no validation split" in capsys.readouterr().out
    (tmp_path / "validation.txt").write_text("봄이 왔다.\n가을이다.\n", encoding="utf-8")
    preprocessing_data(str(tmp_path), tmp_path / "train.jsonl")
    assert "sentences: 1 stand twice, 2 in the validation split too" in capsys.readouterr().out
