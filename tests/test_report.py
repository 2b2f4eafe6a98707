"""The scores: against the libraries that define them, against hand-computed cases, and with their errors."""
import json
import random
import time
import warnings

import numpy as np
import pytest
from huggingface_hub import ModelCardData
from nervaluate import Evaluator
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.scheme import IOB2
from sklearn.metrics import f1_score as sklearn_f1_score

import report
from data_processing import (LABELS, TAGS, InputError, bio_to_json, find_entities, get_id2label, load_split,
                             parse_marked_sentence, tag_answer)
from report import (FOUND, PUBLISHED, SCORES, compare, compute_metrics, count_sentences, format_budget,
                    format_comparison, format_scores, format_table, judge_sentence, main, model_index,
                    read_predictions, resample, retag, score_counts)

SETTINGS = {"model": "EXAONE-stand-in", "dataset": "klue/klue", "split": "validation", "num_samples": 100, "seed": 42}


@pytest.fixture(autouse=True)
def no_warnings():
    """Undefined figures are decided on, not warned of."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def make_row(number: int, marked: str, answer: str | dict, stopped: bool = True) -> dict:
    """A row from a sentence in KLUE's notation and what is answered to it."""
    tokens, gold = parse_marked_sentence(marked)
    answer = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
    tags, diagnosis = tag_answer(answer, tokens)
    return {"id": number, "tokens": tokens, "gold": gold, "answer": answer, "tags": tags, "diagnosis": diagnosis,
            "stopped": stopped}


HAND_MADE = [
    make_row(0, "<손흥민:PS>은 <춘천:LC>에서 태어났다.", {"PS": ["손흥민"], "LC": ["춘천"]}),
    make_row(1, "<서울 시청:OG>에서 <3시:TI>에 보자", {"LC": ["서울 시청"], "TI": ["3"]}),
    make_row(2, "<김 씨:PS>는 <봄:DT>에 왔다", '```json\n{"PS": ["김 씨", "이 씨"]}\n```'),
    make_row(3, "아무도 없다", {"QT": ["아무"], "XX": ["없다"]}),
    make_row(4, "<다섯 명:QT>이 <부산:LC> 갔다", '{"QT": ["다섯 명", "다섯 명"], "LC": ["부'),
    make_row(5, "<부산항:LC> 앞", "모르겠습니다", stopped=False),
]


def perturb(answer: str, sentence: str, generator: random.Random) -> str:
    """A gold answer with mistakes of every kind."""
    mentions: dict[str, list[str]] = {}
    for label, texts in json.loads(answer).items():
        for text in texts:
            kind = generator.randrange(12)
            if kind == 0:
                continue
            label = generator.choice([*LABELS, "XX"]) if kind in (1, 2) else label
            text = {3: text[1:] or text, 4: text[:-1] or text, 5: "없는 " + text}.get(kind, text)
            mentions.setdefault(label, []).extend([text] * (2 if kind == 6 else 1))
    if sentence and generator.random() < 0.4:
        start = generator.randrange(len(sentence))
        mentions.setdefault(generator.choice(list(LABELS)), []).append(sentence[start:start + 4])
    written = json.dumps(mentions, ensure_ascii=False)
    kind = generator.randrange(20)
    return {0: f"```json\n{written}\n```", 1: written[:len(written) // 2], 2: "없습니다."}.get(kind, written)


def make_random_rows(count: int, seed: int, longest: int = 30) -> list[dict]:
    """Sentences of words and random entities, spaces within and before them, and perturbed answers."""
    generator = random.Random(seed)
    rows = []
    for number in range(count):
        tokens = [generator.choice("가나다라 마바 사3ab㎞") for _ in range(generator.randrange(longest))]
        tags = ["O"] * len(tokens)
        position = generator.randrange(6)
        while position + 4 < len(tokens):
            label, end = generator.choice(list(LABELS)), position + generator.randint(1, 4)
            tags[position:end] = [f"B-{label}"] + [f"I-{label}"] * (end - position - 1)
            position = end + generator.choice([0, 1, 2, 5])
        sentence, answer = bio_to_json(tokens, [TAGS.index(tag) for tag in tags], dict(enumerate(TAGS)))
        answer = perturb(answer, sentence, generator)
        tags_predicted, diagnosis = tag_answer(answer, tokens)
        rows.append({"id": number, "tokens": tokens, "gold": tags, "answer": answer, "tags": tags_predicted,
                     "diagnosis": diagnosis, "stopped": generator.random() < 0.9})
    return rows


def make_klue_rows(folder, split: str, seed: int) -> list[dict]:
    generator, sentences = random.Random(seed), load_split(str(folder), split)
    id2label, rows = get_id2label(sentences), []
    for number, item in enumerate(sentences):
        sentence, answer = bio_to_json(item["tokens"], item["ner_tags"], id2label)
        answer = perturb(answer, sentence, generator)
        rows.append({"id": number, "tokens": item["tokens"], "gold": [id2label[tag] for tag in item["ner_tags"]],
                     "answer": answer, "stopped": True})
    return retag(rows)


def write_predictions(path, rows: list[dict], settings: dict = SETTINGS):
    lines = [json.dumps(item, ensure_ascii=False) + "\n" for item in [{"settings": settings}, *rows]]
    path.write_text("".join(lines), encoding="utf-8")
    return path


# What the libraries that define the scores say.


def flatten_as_klue(rows: list[dict], side: str) -> list[str]:
    """All sentences in one sequence, without spaces, [CLS] and [SEP] as O: as klue_baseline's model class has it."""
    flat = []
    for row in rows:
        flat += ["O", *(tag for token, tag in zip(row["tokens"], row[side], strict=True) if token != " "), "O"]
    return flat


def compute_klue_entity_f1(rows):
    gold, predicted = [flatten_as_klue(rows, "gold")], [flatten_as_klue(rows, "tags")]
    return f1_score(gold, predicted, average="macro", mode="strict", scheme=IOB2, zero_division=0)


def compute_klue_character_f1(rows):
    gold, predicted = ([TAGS.index(tag) for tag in flatten_as_klue(rows, side)] for side in ("gold", "tags"))
    return sklearn_f1_score(gold, predicted, labels=list(range(13)), average="macro", zero_division=True)


def score_by_libraries(rows: list[dict]) -> dict[str, dict[str, float]]:
    gold, predicted = [row["gold"] for row in rows], [row["tags"] for row in rows]
    by_seqeval = lambda **mode: {
        "precision": precision_score(gold, predicted, zero_division=0, **mode),
        "recall": recall_score(gold, predicted, zero_division=0, **mode),
        "f1": f1_score(gold, predicted, zero_division=0, **mode)}
    by_nervaluate = Evaluator(gold, predicted, tags=list(LABELS), loader="list").evaluate()["overall"]
    return {
        "seqeval": by_seqeval(), "seqeval_strict": by_seqeval(mode="strict", scheme=IOB2),
        "klue_entity": {"f1": compute_klue_entity_f1(rows)}, "klue_character": {"f1": compute_klue_character_f1(rows)},
        **{ours: {figure: getattr(by_nervaluate[theirs], figure) for figure in ("precision", "recall", "f1")}
           for ours, theirs in (("nervaluate_partial", "partial"), ("nervaluate_type", "ent_type"))},
    }


def assert_as_by_libraries(rows):
    ours = score_counts({name: counts.sum(axis=0) for name, counts in count_sentences(rows).items()})["scores"]
    for name, figures in score_by_libraries(rows).items():
        assert {figure: float(value) for figure, value in ours[name].items()} == pytest.approx(figures, abs=1e-12), name


def test_scores_are_the_libraries_on_a_hand_made_case():
    assert_as_by_libraries(HAND_MADE)


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_the_libraries_on_random_sentences(seed):
    assert_as_by_libraries(make_random_rows(200, seed))


@pytest.mark.parametrize("seed", range(20))
def test_scores_are_the_libraries_on_any_tags(seed):
    """Tags that are not well-formed too: gold tags come from any corpus."""
    generator = random.Random(seed)
    rows = []
    for number in range(8):
        length = generator.randint(1, 12)
        gold, tags = ([generator.choice(TAGS) for _ in range(length)] for _ in range(2))
        rows.append({"id": number, "tokens": [generator.choice("가 나") for _ in range(length)], "gold": gold,
                     "tags": tags, "diagnosis": {"read": "json", "mentions": [], "further": []}})
    assert_as_by_libraries(rows)


@pytest.mark.parametrize("seed", [1, 2])
def test_scores_are_the_libraries_on_klue(klue_copy, seed):
    assert_as_by_libraries(make_klue_rows(klue_copy, "validation", seed))


def test_resampled_counts_are_the_libraries_on_the_drawn_sentences(monkeypatch):
    """A bootstrap from counts gives what scoring the drawn sentences gives."""
    rows = make_random_rows(30, 3)
    times = np.random.default_rng(report.SEED).multinomial(30, np.full(30, 1 / 30), size=100)
    monkeypatch.setattr(report, "RESAMPLES", 100)
    scores = score_counts(resample(count_sentences(rows)))["scores"]
    for draw in (0, 57, 99):
        drawn = [row for row, often in zip(rows, times[draw], strict=True) for _ in range(often)]
        for name, figures in score_by_libraries(drawn).items():
            assert {figure: values[draw] for figure, values in scores[name].items()} == pytest.approx(figures), name


# By hand.


def test_scores_of_the_hand_made_case():
    """Gold: PS 2, LC 3, OG 1, TI 1, DT 1, QT 1. Tagged: PS 2, LC 2 (서울 시청 wrong), TI 1 (cut), QT 2 (아무 made up)."""
    metrics = compute_metrics(HAND_MADE)
    figures = {name: score["f1"]["value"] for name, score in metrics["scores"].items()}
    assert (metrics["gold_entities"], metrics["predicted_entities"]) == (9, 7)
    assert figures["seqeval"] == figures["seqeval_strict"] == pytest.approx(2 * 4 / (7 + 9))
    # PS 2 of 2 and 2; LC 1 of 2 and 3; QT 1 of 2 and 1; OG, TI, DT none
    assert figures["klue_entity"] == pytest.approx((1 + 2 / 5 + 2 / 3) / 6)
    # listed with a known label: 손흥민, 춘천; 서울 시청, 3; 김 씨, 이 씨; 아무; 다섯 명 twice. 부 was being said.
    assert figures["surface"] == pytest.approx(2 * 4 / (9 + 9))
    # partial: 손흥민, 춘천, 서울 시청, 김 씨, 다섯 명 whole, 3 of 3시 half; type: without 서울 시청, with 3
    assert figures["nervaluate_partial"] == pytest.approx(2 * 5.5 / (7 + 9))
    assert figures["nervaluate_type"] == pytest.approx(2 * 5 / (7 + 9))
    assert metrics["per_label"]["LC"]["recall"]["value"] == pytest.approx(1 / 3)
    assert [metrics["per_label"]["LC"][field] for field in ("right", "predicted", "support")] == [1, 2, 3]
    assert metrics["per_label"]["DT"]["f1"] == {"value": 0, "low": 0, "high": 0}


def test_budget_and_confusion_of_the_hand_made_case():
    metrics = compute_metrics(HAND_MADE)
    said = lambda group: {name: count for name, count in metrics["budget"][group].items() if count}
    assert said("gold") == {"total": 9, "right": 4, "wrong_label": 1, "wrong_boundary": 1, "missed": 3}
    assert said("predicted") == {"total": 10, "right": 4, "wrong_label": 1, "wrong_boundary": 1, "made_up": 1,
                                 "not_in_sentence": 1, "repeated": 1, "unknown_label": 1}
    assert said("further") == {}
    assert said("answers") == {"total": 6, "plain_json": 3, "repaired": 1, "cut_off": 1, "unreadable": 1}
    assert metrics["hit_token_limit"] == 1
    confusion = metrics["confusion"]
    assert confusion["OG"] == {**dict.fromkeys([*LABELS, "missed"], 0), "LC": 1}
    assert confusion["TI"]["missed"] == 1 and confusion["made_up"] == {**dict.fromkeys(LABELS, 0), "TI": 1, "QT": 1}


@pytest.mark.parametrize("marked, answer, gold, mention", [
    ("<부산항:LC>에", {"LC": ["부산항"]}, "right", "right"),
    ("<부산항:LC>에", {"OG": ["부산항"]}, "wrong_label", "wrong_label"),
    ("<부산항:LC>에", {"LC": ["부산"]}, "wrong_boundary", "wrong_boundary"),
    ("<부산항:LC>에", {"OG": ["부산"]}, "wrong_label_and_boundary", "wrong_label_and_boundary"),
    ("<부산항:LC>에", {"LC": ["에"]}, "missed", "made_up"),
    ("<부산항:LC>에", {"LC": ["대구"]}, "missed", "not_in_sentence"),
    ("<부산항:LC>에", {"XX": ["부산항"]}, "missed", "unknown_label"),
    ("<5㎞:QT>쯤", {"QT": ["5 km"]}, "right", "right"),
])
def test_what_became_of_an_entity(marked, answer, gold, mention):
    judged = judge_sentence(make_row(0, marked, answer))
    assert [entity["verdict"] for entity in judged["gold"]] == [gold]
    assert [entity["verdict"] for entity in judged["mentions"]] == [mention]


def test_surface_form_is_what_alignment_could_reach():
    """The answer has both right, but the lone syllable is put at the wrong 한."""
    row = make_row(0, "숨 쉬던 한 <한:PS>숨", {"PS": ["한"]})
    figures = compute_metrics([row])["scores"]
    assert figures["surface"]["f1"]["value"] == 1 and figures["seqeval"]["f1"]["value"] == 0
    assert compute_metrics([make_row(0, "<5㎞:QT>쯤", {"QT": ["5 km"]})])["scores"]["surface"]["f1"]["value"] == 1


def test_a_mention_listed_once_is_tagged_wherever_it_stands():
    row = make_row(0, "<손흥민:PS>과 손흥민", {"PS": ["손흥민"]})
    assert [entity["verdict"] for entity in judge_sentence(row)["further"]] == ["made_up"]
    assert compute_metrics([row])["budget"]["further"]["made_up"] == 1


# What adds up.


def test_budget_adds_up_on_random_predictions():
    rows = make_random_rows(1000, 0)
    metrics = compute_metrics(rows)
    budget, labels = metrics["budget"], metrics["per_label"]
    assert all(count for group in ("gold", "predicted", "answers") for count in budget[group].values())
    for group, fields in budget.items():
        assert fields["total"] == sum(count for name, count in fields.items() if name != "total"), group
    assert budget["gold"]["total"] == sum(len(find_entities(row["gold"])) for row in rows)
    assert budget["predicted"]["total"] == sum(len(row["diagnosis"]["mentions"]) for row in rows)
    assert budget["answers"]["total"] == metrics["sentences"] == 1000
    # what was tagged is what was listed and has a place, and what was not listed
    tagged = [*FOUND, "made_up"]
    placed = sum(budget[group][name] for group in ("predicted", "further") for name in tagged)
    assert placed == metrics["predicted_entities"]
    right = sum(figures["right"] for figures in labels.values())
    assert budget["gold"]["right"] == budget["predicted"]["right"] + budget["further"]["right"] == right
    for label in LABELS:
        assert sum(metrics["confusion"][label].values()) == labels[label]["support"]
        assert sum(row[label] for row in metrics["confusion"].values()) == labels[label]["predicted"]
        assert metrics["confusion"][label][label] == labels[label]["right"]


def test_gold_answers_score_one_by_surface_form(klue_copy):
    rows = []
    sentences = load_split(str(klue_copy), "validation")
    for number, item in enumerate(sentences):
        _, answer = bio_to_json(item["tokens"], item["ner_tags"], get_id2label(sentences))
        rows.append({"id": number, "tokens": item["tokens"], "answer": answer, "stopped": True,
                     "gold": [get_id2label(sentences)[tag] for tag in item["ner_tags"]]})
    scores = compute_metrics(retag(rows))["scores"]
    assert scores["surface"]["f1"] == {"value": 1, "low": 1, "high": 1}
    assert 0.99 < scores["seqeval"]["f1"]["value"] < 1


def test_metrics_are_plain_and_the_same_in_any_order():
    rows = make_random_rows(60, 1)
    metrics = compute_metrics(rows)
    random.Random(0).shuffle(rows)
    assert json.dumps(compute_metrics(rows)) == json.dumps(metrics)
    assert json.loads(json.dumps(metrics)) == metrics
    for score in metrics["scores"].values():
        assert all(0 <= figure["low"] <= figure["value"] <= figure["high"] <= 1 for figure in score.values())


def test_interval_is_the_sampling_error():
    """Half of 400 one-entity sentences right: a standard error of √(0.25 / 400), and ± 1.96 of it as interval."""
    rows = [make_row(number, "<봄:DT>이", {"DT": ["봄"]} if number % 2 else {}) for number in range(400)]
    recall = compute_metrics(rows)["scores"]["seqeval"]["recall"]
    assert recall["value"] == 0.5
    assert [recall["low"], recall["high"]] == pytest.approx([0.451, 0.549], abs=0.006)


@pytest.mark.parametrize("rows, klue_character", [
    ([make_row(0, "아무도 없다", {})], 1.0),
    ([make_row(0, "", {})], 1.0),
    ([make_row(0, "<봄:DT>", {})], 1 / 13 * (11 + 0 + 2 * 2 / 5)),
])
def test_nothing_to_score_is_no_error(rows, klue_character):
    metrics = compute_metrics(rows)
    assert metrics["scores"]["seqeval"]["f1"]["value"] == metrics["scores"]["klue_entity"]["f1"]["value"] == 0
    assert metrics["scores"]["klue_character"]["f1"]["value"] == pytest.approx(klue_character)
    assert metrics["scores"]["klue_character"]["f1"]["value"] == pytest.approx(compute_klue_character_f1(rows))
    assert "F1-Score: 0.0000" in format_table(rows) and format_budget(metrics)


# Comparing.


def test_comparison_of_a_run_with_itself_and_with_a_worse_one():
    rows = HAND_MADE
    itself = compare(rows, rows)
    assert itself["changed"] == []
    figures = [figure for score in itself["scores"].values() for figure in score.values()]
    assert all(figure == {"value": 0, "low": 0, "high": 0} for figure in figures)

    gold = [make_row(number, "<손흥민:PS>은 <춘천:LC>에", {"PS": ["손흥민"], "LC": ["춘천"]}) for number in range(50)]
    half = [make_row(number, "<손흥민:PS>은 <춘천:LC>에", {"PS": ["손흥민"], "LC": ["춘천"] if number < 25 else ["은"]})
            for number in range(50)]
    comparison = compare(gold, half[::-1])
    assert comparison["per_label"]["PS"]["f1"] == {"value": 0, "low": 0, "high": 0}
    label = comparison["per_label"]["LC"]["f1"]
    assert label["value"] == pytest.approx(0.5) and 0.3 < label["low"] < 0.5 < label["high"] < 0.7
    assert [sentence["id"] for sentence in comparison["changed"]] == list(range(25, 50))
    assert comparison["changed"][0] == {
        "id": 25, "verdict": "better", "errors": {"first": 0, "other": 2}, "gold": "<손흥민:PS>은 <춘천:LC>에",
        "first": "<손흥민:PS>은 <춘천:LC>에", "other": "<손흥민:PS><은:LC> 춘천에"}
    assert {sentence["verdict"] for sentence in compare(half, gold)["changed"]} == {"worse"}
    assert "25 of 50 sentences are tagged differently: 25 better" in format_comparison(comparison)


def test_pairing_narrows_the_interval():
    """Two runs that differ in three sentences differ by less than either's own error."""
    rows = make_random_rows(300, 5)
    others = [{**row, "tags": ["O"] * len(row["tags"])} if row["id"] < 3 else row for row in rows]
    difference = compare(rows, others)["scores"]["seqeval"]["f1"]
    own = compute_metrics(rows)["scores"]["seqeval"]["f1"]
    assert difference["high"] - difference["low"] < (own["high"] - own["low"]) / 2


@pytest.mark.parametrize("change, message", [
    (lambda rows: rows[:-1], "1 are in one alone, such as 5"),
    (lambda rows: [{**rows[0], "gold": ["O"] * len(rows[0]["gold"])}, *rows[1:]], "0 has other tokens or gold"),
    (lambda rows: [{**rows[0], "tokens": ["가"] * len(rows[0]["tokens"])}, *rows[1:]], "0 has other tokens or gold"),
])
def test_other_sentences_are_not_compared(change, message):
    with pytest.raises(InputError, match=message):
        compare(HAND_MADE, change(HAND_MADE))


# Files.


def test_predictions_there_and_back(tmp_path):
    path = write_predictions(tmp_path / "predictions.jsonl", HAND_MADE[::-1])
    assert read_predictions(path) == (SETTINGS, HAND_MADE)


@pytest.mark.parametrize("cut", [1, 2, 10, 100, -2])
def test_half_written_last_line_is_ignored(tmp_path, cut):
    path = write_predictions(tmp_path / "predictions.jsonl", HAND_MADE)
    whole = path.read_bytes()
    last = whole.rstrip(b"\n").rindex(b"\n") + 1
    path.write_bytes(whole[:last + cut] if cut > 0 else whole[:cut])
    assert read_predictions(path) == (SETTINGS, HAND_MADE[:-1])


def test_last_line_without_its_end_is_read(tmp_path):
    path = write_predictions(tmp_path / "predictions.jsonl", HAND_MADE)
    path.write_bytes(path.read_bytes()[:-1])
    assert read_predictions(path)[1] == HAND_MADE


GOOD = {"id": 1, "tokens": ["봄"], "gold": ["B-DT"], "answer": "{}", "stopped": True}


@pytest.mark.parametrize("lines, message", [
    ([GOOD], r'jsonl:1: the first line should be {"settings"'),
    ([{"settings": {}}, "{", GOOD], "jsonl:2: Expecting"),
    ([{"settings": {}}, GOOD, ""], "jsonl:3: Expecting"),
    ([{"settings": {}}, [1]], r"jsonl:2: a sentence needs id \(int\), tokens \(list\)"),
    ([{"settings": {}}, {**GOOD, "answer": None}], r"jsonl:2: a sentence needs .*answer \(str\)"),
    ([{"settings": {}}, {**GOOD, "tokens": [1]}], "jsonl:2: tokens should be strings"),
    ([{"settings": {}}, {**GOOD, "gold": []}], "jsonl:2: gold should hold one tag a token"),
    ([{"settings": {}}, {**GOOD, "gold": ["B-XX"]}], "jsonl:2: gold should hold one tag a token, of B-DT"),
    ([{"settings": {}}, {**GOOD, "gold": [["O"]]}], "jsonl:2: gold should hold one tag a token, of B-DT"),
    ([{"settings": {}}, GOOD, GOOD], "holds sentence 1 more than once"),
])
def test_malformed_predictions_are_told_with_file_and_line(tmp_path, lines, message):
    path = tmp_path / "predictions.jsonl"
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    with pytest.raises(InputError, match=message):
        read_predictions(path)
    with pytest.raises(InputError, match="nowhere.jsonl: cannot be read"):
        read_predictions(tmp_path / "nowhere.jsonl")


def test_file_without_answers_is_not_scored(tmp_path):
    for content in ("", '{"settings": {}}\n'):
        path = tmp_path / "predictions.jsonl"
        path.write_text(content)
        assert read_predictions(path)[1] == []
        with pytest.raises(InputError, match="holds no predictions yet"):
            report.report_predictions(path)


def test_command_scores_and_compares(tmp_path, capsys):
    worse = [{**row, "answer": "{}"} for row in HAND_MADE]
    first = write_predictions(tmp_path / "predictions.jsonl", HAND_MADE)
    other = write_predictions(tmp_path / "others.jsonl", worse)
    main([str(first), "--compare", str(other), "--html", str(tmp_path / "page" / "page.html")])
    printed = capsys.readouterr().out
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics == {"settings": SETTINGS} | compute_metrics(HAND_MADE)
    assert "micro avg" in printed and "F1-Score: 0.5000" in printed
    assert format_scores(metrics) in printed and format_budget(metrics) in printed
    assert str(tmp_path / "page" / "page.html") in printed and (tmp_path / "page" / "page.html").is_file()
    assert json.loads((tmp_path / "comparison.json").read_text()) == compare(HAND_MADE, retag(worse))
    assert "tagged otherwise" not in printed


def test_another_converter_is_tried_on_written_predictions(tmp_path, capsys, monkeypatch):
    path = write_predictions(tmp_path / "predictions.jsonl", HAND_MADE)
    nothing = {"read": "json", "mentions": [], "further": []}
    monkeypatch.setattr(report, "tag_answer", lambda answer, tokens: (["O"] * len(tokens), nothing))
    main([str(path)])
    printed = capsys.readouterr().out
    assert "F1-Score: 0.0000" in printed
    assert "5 sentences are tagged otherwise than when they were written; F1 was 0.5000 then" in printed
    assert json.loads((tmp_path / "metrics.json").read_text())["predicted_entities"] == 0


def test_answers_of_others_need_no_tags(tmp_path):
    rows = [{name: row[name] for name in ("id", "tokens", "gold", "answer", "stopped")} for row in HAND_MADE]
    write_predictions(tmp_path / "predictions.jsonl", rows)
    main([str(tmp_path / "predictions.jsonl")])
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"settings": SETTINGS} | compute_metrics(HAND_MADE)


def test_metadata_for_a_card(tmp_path):
    metrics = compute_metrics(HAND_MADE)
    card = ModelCardData(model_name="EXAONE-x", eval_results=model_index(metrics, SETTINGS)).to_dict()
    [result] = card["model-index"][0]["results"]
    assert result["dataset"] == {"name": "KLUE-NER", "type": "klue/klue", "config": "ner", "split": "validation",
                                 "args": {"sentences": 6}}
    values = {metric["name"]: metric["value"] for metric in result["metrics"]}
    assert values["seqeval, micro, f1"] == 0.5 and values["seqeval, micro, recall"] == 0.4444
    assert len(values) == len(SCORES) + 2
    local = model_index(metrics, {**SETTINGS, "dataset": str(tmp_path / "mine")})
    assert local[0].dataset_type == "mine" and str(tmp_path) not in str(local)


def test_published_figures_say_what_they_were_measured_on():
    assert all(figure["score"] in SCORES and 0 < figure["value"] < 1 and figure["measured_on"] and figure["source"]
               for figure in PUBLISHED)
    assert {("klue_entity", 0.8611), ("klue_character", 0.9186), ("seqeval", 0.7129)} <= {
        (figure["score"], figure["value"]) for figure in PUBLISHED}


def test_five_thousand_predictions_in_seconds(tmp_path, capsys):
    rows = make_random_rows(5000, 7, longest=120)  # KLUE's sentences have 60 characters on average
    path = write_predictions(tmp_path / "predictions.jsonl", rows)
    start = time.process_time()
    main([str(path)])
    seconds = time.process_time() - start
    with capsys.disabled():
        print(f"\n5,000 predictions: {seconds:.1f} s of one core")
    assert seconds < 20
