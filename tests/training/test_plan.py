import contextlib
import io
import re

import pytest

import train
from ner.cli import InputError
from ner.model.names import EXAONE
from ner.training.plan import format_flags
from tests.training.helpers import make_settings

# A line of the plan: batch, sequences, checkpointing, GB, million tokens.
ROW = re.compile(r"^ ?(\d+) x (\d+) +(packed|padded) +(none|one layer in \d) +([\d.]+) +([\d.]+)$")
CHATS = 21008  # the post's, of 149 tokens, of which all share 85


@pytest.fixture(scope="module")
def plan(tmp_path_factory) -> list[str]:
    """The lines of the real model's plan, on a machine without data, network or GPU."""
    data = tmp_path_factory.mktemp("nothing") / "train.jsonl"
    output = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(output):
        patch.setattr("ner.model.loading.load_model", lambda *_: pytest.fail("a model was loaded"))
        train.main(["--plan", "--data", str(data)])
    return output.getvalue().splitlines()


def test_plan_of_the_real_model_needs_neither_weights_nor_gpu_nor_network(plan):
    parameters = "7,818,448,896 parameters, 6,979,321,856 of them in 224 projections"
    assert plan[0] == f"{EXAONE}: {parameters}; LoRA of rank 32 trains 83,886,080"
    assert plan[1].startswith("chats: 21,008 of 149 tokens, 85 the same in all, 22 under the loss")
    settings = "nf4, adamw_torch_fused, batch 16 x 1 packed, checkpointed one layer in 1"
    assert f"these settings: {settings}" in plan


def test_parts_add_up(plan):
    parts = [line.split() for line in plan if line.startswith(" ") and line.endswith(" GB")]
    sizes = {" ".join(words[:-2]): float(words[-2]) for words in parts}
    total = sizes.pop("together")
    assert sum(sizes.values()) == pytest.approx(total, abs=0.05)
    # By hand: 83,886,080 parameters in 4 bytes, and two moments of the same size.
    assert sizes["adapter"] == sizes["gradients"] == 0.34
    assert sizes["optimizer"] == 0.67


def test_tokens_of_an_epoch(plan):
    """By hand: padded chats are computed whole. Packed, the prefix counts once per micro-batch."""
    rows = [match.groups() for match in map(ROW.match, plan) if match]
    assert len(rows) == 3 * 2 * 3
    for batch_size, accumulation, sequences, _, _, tokens in rows:
        size = int(batch_size)
        assert size * int(accumulation) == 16
        expected = CHATS * 149 if sequences == "padded" else CHATS * (85 / size + 149 - 85)
        assert float(tokens) == pytest.approx(expected / 1e6, abs=0.005)


def test_checkpointing_saves_memory(plan):
    rows = [match.groups() for match in map(ROW.match, plan) if match]
    for start in range(0, len(rows), 3):
        sizes = [float(row[4]) for row in rows[start : start + 3]]
        assert sizes == sorted(sizes)
        checkpointing = [row[3] for row in rows[start : start + 3]]
        assert checkpointing == ["one layer in 1", "one layer in 2", "none"]


def test_advice_fits_the_card_and_keeps_the_steps(plan):
    advice = [line for line in plan if line.startswith(("24 GB", "16 GB", "12 GB"))]
    assert len(advice) == 6
    for line in advice:
        card, flags, memory = re.fullmatch(r"(\d+) GB: (.*)  \(([\d.]+) GB and .*\)", line).groups()
        settings = make_settings(*flags.split())
        assert settings.chats_per_step == 16
        assert format_flags(settings) == flags
        assert float(memory) * 1.15 <= int(card)


def test_plan_is_for_the_chats_in_data(stand_in, chats_file, capsys):
    train.main(["--plan", "--model", str(stand_in), "--data", str(chats_file)])
    printed = capsys.readouterr().out
    assert "chats: 24 of " in printed
    assert f"({chats_file})" in printed


def test_whole_chat_under_the_loss_shares_no_prefix(tmp_path, capsys):
    train.main(["--plan", "--loss", "chat", "--data", str(tmp_path / "train.jsonl")])
    printed = capsys.readouterr().out
    assert "of 149 tokens, 0 the same in all, 149 under the loss" in printed
    assert "batch 16 x 1 padded" in printed


def test_name_that_is_neither_a_folder_nor_a_repository(tmp_path):
    with pytest.raises(InputError, match="no/such/folder"):
        train.main(["--plan", "--model", "no/such/folder", "--data", str(tmp_path / "train.jsonl")])
