import os
import subprocess
import sys
import time

import pytest

import train
from ner.model.names import EXAONE
from ner.training.plan import format_flags
from tests.helpers import ROOT
from tests.training.helpers import make_settings

ADVICE = ("24 GB: ", "16 GB: ", "12 GB: ")


def test_plan_of_the_real_model_needs_neither_weights_nor_a_gpu(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        "ner.model.loading.load_model", lambda *_: pytest.fail("a model was loaded")
    )
    train.main(["--plan", "--data", str(tmp_path / "train.jsonl")])
    printed = capsys.readouterr().out
    parameters = "7,818,448,896 parameters, 6,979,321,856 of them in 224 projections"
    assert f"{EXAONE}: {parameters}" in printed
    assert "LoRA of rank 32 trains 85,458,944" in printed
    assert "chats: 21,008 of 149 tokens" in printed
    assert "paged_adamw_32bit, batch 16 x 1 packed, checkpointed one layer in 1" in printed


def test_tokens_of_an_epoch(tmp_path, capsys):
    """By hand for the post's chats: 21,008 of 149 tokens, of which all share 85."""
    train.main(["--plan", "--data", str(tmp_path / "train.jsonl")])
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if " x " in line]
    tokens = {
        (row[0], row[3]): float(row[-1]) for row in rows if row[3:4] in (["padded"], ["packed"])
    }
    assert tokens.keys() == {(size, pack) for size in "4 8 16".split() for pack in ("padded", "packed")}
