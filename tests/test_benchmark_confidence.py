"""The comparison of the measures of confidence."""

import math
import random

import pytest
import torch

from benchmarks import confidence
from ner.cli import InputError
from ner.inference.recognizer import LocalRecognizer
from ner.model.copying import Copy, CopyRules
from ner.model.hub import Base
from ner.text.confidence import measure_confidence
from ner.text.task import build_task
from tests.evaluation.rows import make_row, write_predictions

MARKED = {"prompt": "marked"}


def test_measures_of_hand_made_rows(tmp_path, capsys):
    """The wrong entity has the more probable first token, but the least probable label."""
    rows = [
        make_row(0, "<봄:DT>이", "<봄:DT>이", kind="marked"),
        make_row(1, "<김:PS>은", "<김:LC>은", kind="marked"),
    ]
    rows[0]["pieces"] = [[1, math.log(0.6)], [3, math.log(0.9)], [6, math.log(0.8)], [7, -9.0]]
    rows[1]["pieces"] = [[1, math.log(0.8)], [3, math.log(0.9)], [6, math.log(0.5)], [7, 0.0]]
    path = write_predictions(tmp_path / "predictions.jsonl", rows, MARKED)
    confidence.main([str(path)])
    lines = capsys.readouterr().out.splitlines()[2:]
    cells = [[cell.strip() for cell in line.split("|")[2:-1]] for line in lines]
    # The errors are (1 - the right one's + the wrong one's confidence) / 2. But the two means,
    # 0.756 and 0.711, share a bin, one half of which is right.
    assert cells == [
        ["all tokens", "opening token", "2", "0.0000", "0.6000"],
        ["all tokens", "minimum", "2", "1.0000", "0.4500"],
        ["all tokens", "mean", "2", "1.0000", "0.2337"],
        ["all tokens", "product", "2", "1.0000", "0.4640"],
    ]


def test_tokens_are_those_of_the_saved_confidence():
    generator = random.Random(0)
    for _ in range(200):
        ends = sorted(generator.choices(range(30), k=10))
        pieces = [(end, -generator.random()) for end in ends]
        start, end = sorted(generator.sample(range(30), 2))
        logprobs = confidence.select_logprobs(pieces, start, end)
        product = math.exp(sum(logprobs)) if logprobs else 0.0
        assert product == pytest.approx(measure_confidence(pieces, start, end))


def test_further_occurrences_have_the_tokens_of_their_mention():
    row = make_row(0, "<김 씨:PS>와 <김 씨:PS>", {"PS": ["김 씨"]})
    row["diagnosis"]["mentions"][0]["answer_span"] = [9, 12]
    row["pieces"] = [[9, -1.0], [12, -2.0], [15, -3.0]]
    assert confidence.list_entities([row]) == [([-2.0], True), ([-2.0], True)]


def test_files_without_probabilities(tmp_path):
    path = write_predictions(tmp_path / "p.jsonl", [make_row(0, "<봄:DT>", {"DT": ["봄"]})])
    with pytest.raises(InputError, match="has no probabilities"):
        confidence.main([str(path)])


@pytest.fixture(scope="module")
def untrained(stand_in) -> LocalRecognizer:
    return LocalRecognizer(Base(str(stand_in)), "float32", None, "none", build_task("marked"))


def make_copy(number: int, marked: str, answer: str, recognizer: LocalRecognizer) -> dict:
    """A row with the pieces of the answer's own tokens, and of the end token."""
    row = make_row(number, marked, answer, kind="marked")
    tokenizer = recognizer.tokenizer
    tokens = tokenizer(answer)["input_ids"]
    texts = [tokenizer.decode(tokens[:count]) for count in range(1, len(tokens) + 1)]
    row["pieces"] = [[len(text.rstrip("\ufffd")), -1.0] for text in [*texts, answer]]
    return row


def test_probability_among_the_allowed_tokens(untrained):
    """Compares with a grammar that is asked about every token."""
    sentence = "<김하늘:PS>씨는 \\<<3㎏:QT> 뷁"  # a bracket, and bytes for a syllable
    row = make_copy(0, sentence, sentence, untrained)
    (masked,) = confidence.mask_rows([row], untrained)
    assert [end for end, _ in masked["pieces"]] == [end for end, _ in row["pieces"][:-1]]

    generator = untrained.load_generator()
    rules = CopyRules(untrained.tokenizer, generator.end_tokens, draft=0, constrain=True)
    copy = Copy(rules, "".join(row["tokens"]))
    copy.prepare()
    prompt, tokens = untrained.encode_prompt(copy.sentence), rules.encode(sentence)
    with torch.inference_mode():
        logits = generator.model(torch.tensor([prompt + tokens])).logits[0, len(prompt) - 1 :]
    for token, scores, (_, logprob) in zip(tokens, logits[:-1], masked["pieces"], strict=True):
        allowed = [other for other in range(len(scores)) if copy.allows(other)]
        expected = scores[token] - scores[allowed].logsumexp(dim=-1)
        assert logprob == pytest.approx(expected.item(), abs=1e-3)
        copy.add(token)


def test_answers_that_cannot_be_masked(untrained, capsys):
    """A poor copy and an unknown label, which no grammar allows, and tokens that are unknown."""
    rows = [
        make_copy(0, "<봄:DT>이", "<봄:DT>은", untrained),
        make_copy(1, "<봄:DT>이", "<봄:DT>이", untrained),
        make_copy(2, "<봄:DT>이", "<봄:XX>이", untrained),
        make_copy(3, "<봄:DT>이", "<봄:DT>이", untrained),
    ]
    rows[3]["pieces"] = [[end, -1.0] for end in range(1, len(rows[3]["answer"]) + 1)]
    assert [row["id"] for row in confidence.mask_rows(rows, untrained)] == [1]
    assert "3 of 4 answers left out" in capsys.readouterr().out


def test_adapter_that_has_changed(stand_in, tmp_path):
    settings = {
        "model": str(stand_in),
        "revision": None,
        "adapter": "none",
        "adapter_sha256": "c0ffee",
        "precision": "float32",
        "prompt": "marked",
        "max_new_tokens": 9,
    }
    with pytest.raises(InputError, match="the adapter none has changed since"):
        confidence.load_recognizer(tmp_path / "predictions.jsonl", settings)
