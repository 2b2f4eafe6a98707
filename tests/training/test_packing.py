"""Packing changes the speed of a step but not its gradients."""

import functools
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    Gemma2Config,
    Gemma3TextConfig,
    GptOssConfig,
    Lfm2Config,
    LlamaConfig,
    Qwen3Config,
    TrainerCallback,
)
from transformers.integrations.sdpa_attention import sdpa_attention_forward

import train
from ner.cli import InputError
from ner.model.exaone import ExaoneConfig
from ner.model.loading import build_empty
from ner.training.packing import attend_packed, check_packable, pack_chats
from tests.training.helpers import (
    EXACT,
    build_command,
    make_settings,
    make_trainer,
    write_uneven_chats,
)

REFUSAL = "reads packed chats differently from single ones"


@pytest.fixture(scope="module")
def uneven_chats(chats_file, tmp_path_factory) -> Path:
    """24 chats, some of them ten times as long as others."""
    return write_uneven_chats(chats_file, tmp_path_factory.mktemp("uneven") / "train.jsonl")


class Recorder(TrainerCallback):
    """Records the gradients that the optimizer gets, step by step, and the sizes of batches."""

    def __init__(self):
        self.gradients, self.tokens = [], []

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.gradients.append({name: p.grad.clone() for name, p in trained.items()})

    def collate(self, collate, rows: list[dict]) -> dict:
        batch = collate(rows)
        self.tokens.append(batch["input_ids"].numel())
        return batch


def train_exactly(*flags: str) -> tuple[Recorder, list[float]]:
    """Train three steps. Returns what was recorded and the losses."""
    trainer = make_trainer(make_settings(*flags, *EXACT, "--max_steps", "3"))
    recorder = Recorder()
    trainer.add_callback(recorder)
    trainer.data_collator = functools.partial(recorder.collate, trainer.data_collator)
    trainer.train()
    return recorder, [line["loss"] for line in trainer.state.log_history if "loss" in line]


@pytest.mark.parametrize(
    ("flags", "saving"),
    [
        (["--batch_size", "16", "--gradient_accumulation", "1"], 2),
        (["--batch_size", "4", "--gradient_accumulation", "3"], 2),
        (
            [
                *("--batch_size", "8", "--gradient_accumulation", "1"),
                "--activation_checkpointing",
            ],
            2,
        ),
        (["--batch_size", "8", "--gradient_accumulation", "1", "--loss", "chat"], 1.2),
    ],
)
def test_packed_gradients_are_those_of_the_padded_batch(
    stand_in, uneven_chats, tmp_path, flags, saving
):
    """Loss and LoRA gradients agree at every step, in float32 without dropout.

    A packed batch has at least `saving` times fewer tokens.
    """
    command = [*build_command(stand_in, uneven_chats, tmp_path), *flags]
    padded, padded_losses = train_exactly(*command, "--no-pack")
    packed, packed_losses = train_exactly(*command, "--pack")
    assert len(padded.gradients) == len(packed.gradients) == 3
    assert len(padded.gradients[0]) == 28
    # At the first step the B matrices are 0, and so are the gradients of the A matrices.
    for expected, found in zip(padded.gradients[1:], packed.gradients[1:], strict=True):
        for name, gradient in expected.items():
            assert gradient.norm() > 0
            assert (gradient - found[name]).norm() < 1e-4 * gradient.norm(), name
    assert packed_losses == pytest.approx(padded_losses, rel=1e-5)
    assert sum(packed.tokens) < sum(padded.tokens) / saving


def test_packed_chats_share_the_tokens_that_all_begin_with():
    """All share three tokens. The first two share a fourth, which each keeps for itself."""
    rows = [
        {"input_ids": [1, 2, 3, 4, 5, 6], "labels": [-100, -100, -100, -100, 5, 6]},
        {"input_ids": [1, 2, 3, 4, 7], "labels": [-100, -100, -100, -100, 7]},
        {"input_ids": [1, 2, 3, 8, 9], "labels": [-100, -100, -100, -100, 9]},
    ]
    batch = pack_chats(rows)
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4, 5, 6, 4, 7, 8, 9]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 4, 5, 3, 4, 3, 4]]
    assert batch["labels"].tolist() == [[-100, -100, -100, -100, 5, 6, -100, 7, -100, 9]]
    assert batch["chat_slots"].tolist() == [0, 1, 2, 3, 4, 6, 7]
    assert batch["chat_count"] == 3
    assert batch["attention_mask"].int().tolist() == [
        [[[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1]]]
    ]
    assert rows[0]["input_ids"] == [1, 2, 3, 4, 5, 6]


def test_equal_chats_share_no_token_that_predicts_an_answer():
    row = {"input_ids": [1, 2, 3, 4], "labels": [-100, -100, 3, 4]}
    assert pack_chats([row, row])["input_ids"].tolist() == [[1, 2, 3, 4, 2, 3, 4]]
    whole = {"input_ids": [1, 2, 3], "labels": [1, 2, 3]}
    assert pack_chats([whole, whole])["labels"].tolist() == [[-100, 2, 3, -100, 2, 3]]


@pytest.mark.parametrize("prefix", [0, 1, 5])
def test_packed_attention_lets_a_chat_see_the_prefix_and_itself(prefix):
    """Values and gradients equal those under one mask over the whole sequence.

    The attention is grouped: two heads share a key and a value.
    """
    module = torch.nn.Module()
    module.num_key_value_groups = 2
    lengths = [1, 7, 3]
    tokens = prefix + sum(lengths)
    chat_of_token = torch.tensor([0] * prefix + [1] + [2] * 7 + [3] * 3)
    same_chat = chat_of_token[:, None] == chat_of_token
    whole_mask = (same_chat | (chat_of_token == 0)).tril()[None, None]
    chat_mask = torch.ones(1, 1, 7, prefix + 7, dtype=torch.bool).tril(prefix)

    generator = torch.Generator().manual_seed(1)
    states = [
        torch.randn(1, heads, tokens, 8, generator=generator, requires_grad=True)
        for heads in (4, 2, 2)
    ]
    weights = torch.randn(1, tokens, 4, 8, generator=generator)

    def attend(mask, **more) -> list[torch.Tensor]:
        attended, _ = attend_packed(module, *states, mask, scaling=0.3, **more)
        return [attended, *torch.autograd.grad((attended * weights).sum(), states)]

    slots = torch.tensor([0, *range(7, 14), *range(14, 17)])
    expected = attend(whole_mask)
    found = attend(chat_mask, chat_slots=slots, chat_count=3)
    for one, other in zip(expected, found, strict=True):
        assert one.shape == other.shape
        assert (one - other).norm() < 1e-6 * one.norm()


class OperationCounter(TorchDispatchMode):
    """Counts what PyTorch launches, one by one on a GPU, and views."""

    count = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.count += 1
        return operation(*args, **(kwargs or {}))


@pytest.mark.parametrize("chats", [2, 16])
def test_packed_attention_takes_no_operation_per_chat(chats):
    """On a GPU, each operation costs the host some microseconds in each layer."""
    module = torch.nn.Module()
    module.num_key_value_groups = 4
    rows = [
        {"input_ids": [0] * 9 + [1 + number] * (3 + number), "labels": [-100] * 10 + [1]}
        for number in range(chats)
    ]
    batch = pack_chats(rows)
    places = {name: batch[name] for name in ("attention_mask", "chat_slots", "chat_count")}
    tokens = batch["input_ids"].shape[1]
    states = [torch.randn(1, heads, tokens, 16, requires_grad=True) for heads in (8, 2, 2)]
    with OperationCounter() as forward:
        attended, _ = attend_packed(module, *states, **places)
    with OperationCounter() as backward:
        torch.autograd.grad(attended.sum(), states)
    assert forward.count <= 52
    assert backward.count <= 52


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (
            LlamaConfig(sliding_window=100),
            "its attention window is 100 tokens, and the longest chat has 101: --max_length 100 "
            "leaves such chats out",
        ),
        (
            Lfm2Config(num_hidden_layers=2, layer_types=["conv", "full_attention"]),
            "it has layers of conv",
        ),
        (GptOssConfig(), "its attention is eager, not sdpa"),
        (Gemma2Config(), "its attention is eager, not sdpa"),
    ],
)
def test_model_without_plain_attention_is_refused_before_its_weights_load(config, reason):
    with pytest.raises(InputError, match=rf"^Mine {REFUSAL} \({reason}\). Add --no-pack$"):
        check_packable("Mine", build_empty(config), 101)


@pytest.mark.parametrize(
    "config", [ExaoneConfig(), LlamaConfig(), Qwen3Config(), Gemma3TextConfig()]
)
def test_plain_models_can_read_packed_chats(config):
    check_packable("Mine", build_empty(config), 300)


@pytest.fixture
def command(stand_in, uneven_chats, tmp_path, monkeypatch) -> list[str]:
    """A run that must be refused before its first step."""
    monkeypatch.setattr(
        "ner.training.trainer.run_training", lambda *_: pytest.fail("the model was trained")
    )
    return [*build_command(stand_in, uneven_chats, tmp_path), "--max_steps", "1", "--warmup", "0"]


def test_model_that_loses_the_places_of_chats_is_refused(command, monkeypatch):
    def pack_without_places(rows):
        return pack_chats(rows) | {"chat_slots": None}

    monkeypatch.setattr("ner.training.packing_check.pack_chats", pack_without_places)
    with pytest.raises(InputError, match=f"{REFUSAL} .*must match.*--no-pack"):
        train.main(command)


def test_model_whose_chats_see_each_other_is_refused(command, monkeypatch):
    def attend_across_chats(module, query, key, value, mask, chat_slots=None, **kwargs):
        mask = mask if chat_slots is None else None
        return sdpa_attention_forward(module, query, key, value, mask, **kwargs)

    monkeypatch.setattr("ner.training.packing.attend_packed", attend_across_chats)
    with pytest.raises(InputError, match=f"{REFUSAL} .*nats.*--no-pack"):
        train.main(command)


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        ("an illegal memory access was encountered", torch.AcceleratorError, "illegal memory"),
        ("out of memory", InputError, r"step 1: out of memory .*--batch_size 8"),
    ],
    ids=["fault", "memory"],
)
def test_fault_of_the_card_is_not_the_models(command, monkeypatch, fault, error, message):
    def fail(rows):
        raise torch.AcceleratorError(f"CUDA error: {fault}")

    monkeypatch.setattr("ner.training.packing_check.pack_chats", fail)
    with pytest.raises(error, match=message):
        train.main(command)
