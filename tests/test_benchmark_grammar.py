"""The cost of the grammar."""

from types import SimpleNamespace

import pytest

from benchmarks import grammar
from ner.model.copying import Copy, CopyRules
from ner.model.hub import Base
from ner.model.tokenizer import load_tokenizer
from tests.helpers import SAMPLE


def test_cost_of_a_grammar(stand_in, monkeypatch):
    """With a clock that goes on only when a part of the grammar is used.

    The grammar must allow the copies, also of characters that the notation escapes.
    """
    clock = [0.0]

    def slow_down(name: str, seconds: float) -> None:
        method = getattr(Copy, name)

        def use(*arguments):
            clock[0] += seconds
            return method(*arguments)

        monkeypatch.setattr(Copy, name, use)

    for name, seconds in [("prepare", 0.5), ("choose", 0.03), ("allows", 0.001), ("add", 0.003)]:
        slow_down(name, seconds)
    tokenizer = load_tokenizer(Base(str(stand_in)))
    rules = CopyRules(tokenizer, [tokenizer.eos_token_id], draft=0, constrain=True)
    monkeypatch.setattr(grammar, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    cost = grammar.time_grammar(rules, ["<김\\하늘>은 뷁", "봄"])
    assert cost == pytest.approx((500, 4, 30))  # build, follow, mask


@pytest.mark.parametrize(("corpus", "labels"), [("sample", 6), ("shop", 4)])
def test_printed_for_a_model(stand_in, capsys, corpus, labels):
    folder = str(SAMPLE.parent / corpus)
    flags = ["--model", str(stand_in), "--dataset", folder, "--split", "train"]
    grammar.main([*flags, "--num_samples", "3"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"3 sentences, {labels} labels, a vocabulary of ")
    assert [line.partition(" ms to ")[2].split()[0] for line in lines[1:]] == [
        "build",
        "follow",
        "compute",
    ]
