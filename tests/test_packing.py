"""A packed micro-batch and a second process change how fast a step is, and nothing of what it learns."""
import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from accelerate.data_loader import BatchSamplerShard
from safetensors.torch import load_file
from torch.utils.data import BatchSampler
from transformers import (Gemma2Config, Gemma3TextConfig, GptOssConfig, Lfm2Config, LlamaConfig, Qwen3Config,
                          TrainerCallback)
from transformers.integrations.sdpa_attention import sdpa_attention_forward

import train
from conftest import ROOT
from data_processing import InputError
from exaone import ExaoneConfig, build_empty, find_end_tokens, load_model, load_tokenizer

EXACT = ["--precision", "float32", "--lora_dropout", "0", "--optim", "sgd", "--learning_rate", "1", "--warmup", "0",
         "--max_grad_norm", "1e9", "--logging_steps", "1"]


@pytest.fixture(scope="module")
def uneven_chats(chats_file, tmp_path_factory):
    """24 chats, of which some are ten times as long as others."""
    path = tmp_path_factory.mktemp("uneven") / "train.jsonl"
    lines = []
    for number, line in enumerate(chats_file.read_text(encoding="utf-8").splitlines()):
        chat = json.loads(line)
        chat["messages"][1]["content"] *= 1 + 15 * (number % 5 == 0)
        lines.append(json.dumps(chat, ensure_ascii=False) + "\n")
    path.write_text("".join(lines), encoding="utf-8")
    return path


class KeepGradients(TrainerCallback):
    """What the optimizer is given, step by step."""

    def __init__(self):
        self.steps = []

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        self.steps.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()
                           if parameter.requires_grad})


def train_exactly(stand_in, data, folder, pack: bool, *more) -> tuple[list[dict], list[float], list[int]]:
    """Gradients, losses and widths of the batches of three steps."""
    args = train.parse_args(["--model", str(stand_in), "--data", str(data), "--checkpoint_dir", str(folder), "--max_steps", "3",
                             *EXACT, *more])
    tokenizer = load_tokenizer(args.model)
    dataset = train.encode_chats(train.load_chats(args.data), tokenizer, find_end_tokens(args.model, tokenizer), 1024, args.loss)
    trainer = train.build_trainer(load_model(args.model, None, args.precision), tokenizer, dataset,
                                  *train.build_configs(args, None), True, pack)
    keep, widths, collate = KeepGradients(), [], trainer.data_collator
    trainer.add_callback(keep)
    trainer.data_collator = lambda rows: note_width(collate(rows), widths)
    trainer.train()
    return keep.steps, [line["loss"] for line in trainer.state.log_history if "loss" in line], widths


def note_width(batch: dict, widths: list[int]) -> dict:
    widths.append(batch["input_ids"].numel())
    return batch


@pytest.mark.parametrize("more", [["--batch_size", "16", "--gradient_accumulation", "1"],
                                  ["--batch_size", "4", "--gradient_accumulation", "3"],
                                  ["--batch_size", "8", "--gradient_accumulation", "1", "--activation_checkpointing"],
                                  ["--batch_size", "8", "--gradient_accumulation", "1", "--loss", "chat"]])
def test_packed_gradients_are_the_padded_batch_s(stand_in, uneven_chats, tmp_path, more):
    """Through TRL's loss, float32, without dropout: every LoRA matrix of every step, and the loss."""
    padded, padded_losses, padded_widths = train_exactly(stand_in, uneven_chats, tmp_path / "padded", False, *more)
    packed, packed_losses, packed_widths = train_exactly(stand_in, uneven_chats, tmp_path / "packed", True, *more)
    assert len(padded) == len(packed) == 3 and len(padded[0]) == 28
    for before, after in zip(padded[1:], packed[1:], strict=True):  # at the first step the B matrices are 0, and so are A's gradients
        for name, gradient in before.items():
            assert gradient.norm() > 0 and (gradient - after[name]).norm() < 1e-4 * gradient.norm(), name
    assert packed_losses == pytest.approx(padded_losses, rel=1e-5)
    assert sum(packed_widths) < sum(padded_widths) / (1.2 if "chat" in more else 2)


def test_packed_chats_share_what_all_begin_with():
    """Three tokens shared; a fourth is common to the first two alone, and the answers' own first tokens are predicted by their chats."""
    rows = [{"input_ids": [1, 2, 3, 4, 5, 6], "labels": [-100, -100, -100, -100, 5, 6]},
            {"input_ids": [1, 2, 3, 4, 7], "labels": [-100, -100, -100, -100, 7]},
            {"input_ids": [1, 2, 3, 8, 9], "labels": [-100, -100, -100, -100, 9]}]
    batch = train.pack_chats(rows)
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4, 5, 6, 4, 7, 8, 9]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 4, 5, 3, 4, 3, 4]]
    assert batch["labels"].tolist() == [[-100, -100, -100, -100, 5, 6, -100, 7, -100, 9]]
    assert batch["chat_lengths"] == [3, 2, 2]
    assert batch["attention_mask"].int().tolist() == [[[[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1]]]]


@pytest.mark.parametrize("shared", [0, 1, 5])
def test_packed_attention_lets_a_chat_see_the_prefix_and_itself(shared):
    """What attention under a mask over the whole sequence gives, and its gradients, with two heads to each pair of key and value."""
    lengths, module = [1, 7, 3], torch.nn.Module()
    module.num_key_value_groups, width = 2, shared + 11
    owners = torch.tensor([0] * shared + [1] + [2] * 7 + [3] * 3)
    whole = ((owners[:, None] == owners) | (owners == 0)).tril()[None, None]
    generator = torch.Generator().manual_seed(1)
    states = [torch.randn(1, heads, width, 8, generator=generator, requires_grad=True) for heads in (4, 2, 2)]
    weights = torch.randn(1, width, 4, 8, generator=generator)
    results = []
    for mask, more in ((whole, {}), (torch.ones(1, 1, 7, shared + 7, dtype=torch.bool).tril(shared), {"chat_lengths": lengths})):
        attended, _ = train.attend_packed(module, *states, mask, scaling=0.3, **more)
        results.append([attended, *torch.autograd.grad((attended * weights).sum(), states)])
    for expected, found in zip(*results, strict=True):
        assert found.shape == expected.shape and (found - expected).norm() < 1e-6 * expected.norm()


def test_equal_chats_share_no_token_that_predicts_an_answer():
    row = {"input_ids": [1, 2, 3, 4], "labels": [-100, -100, 3, 4]}
    assert train.pack_chats([row, row])["input_ids"].tolist() == [[1, 2, 3, 4, 2, 3, 4]]
    whole = {"input_ids": [1, 2, 3], "labels": [1, 2, 3]}
    assert train.pack_chats([whole, whole])["labels"].tolist() == [[-100, 2, 3, -100, 2, 3]]


def test_model_that_cannot_read_packed_chats_is_refused(stand_in, uneven_chats, tmp_path, monkeypatch):
    """One that keeps the lengths from its attention; one whose chats see each other."""
    command = ["--model", str(stand_in), "--data", str(uneven_chats), "--checkpoint_dir", str(tmp_path / "results"), "--output_dir",
               str(tmp_path / "adapter"), "--max_steps", "1"]
    monkeypatch.setattr(train, "run_training", lambda *_: pytest.fail("was trained"))
    pack = train.pack_chats
    with monkeypatch.context() as patch:
        patch.setattr(train, "pack_chats", lambda rows: {**pack(rows), "chat_lengths": None})
        with pytest.raises(InputError, match="does not read packed chats as it reads them one by one.*must match.*--no-pack"):
            train.main(command)
    monkeypatch.setattr(train, "attend_packed", lambda module, query, key, value, mask, chat_lengths=None, **kwargs:
                        sdpa_attention_forward(module, query, key, value, None if chat_lengths else mask, **kwargs))
    with pytest.raises(InputError, match="does not read packed chats as it reads them one by one.*nats.*--no-pack"):
        train.main(command)


@pytest.mark.parametrize("config, told", [
    (LlamaConfig(sliding_window=100), "its attention sees 100 tokens, and there are chats of 101: --max_length 100 leaves those out"),
    (Lfm2Config(num_hidden_layers=2, layer_types=["conv", "full_attention"]), "it has layers of conv"),
    (GptOssConfig(), "its attention is eager, not sdpa"),
    (Gemma2Config(), "its attention is eager, not sdpa"),
])
def test_model_whose_layers_are_no_plain_attention_is_refused_without_weights(config, told):
    with pytest.raises(InputError, match=rf"^Mine does not read packed chats as it reads them one by one \({told}\). Add --no-pack$"):
        train.check_packable("Mine", build_empty(config), 101)


def test_plain_models_read_packed_chats():
    for config in (ExaoneConfig(), LlamaConfig(), Qwen3Config(), Gemma3TextConfig()):
        train.check_packable("Mine", build_empty(config), 300)


def test_step_takes_the_same_chats_however_many_processes():
    lengths = [50 + 37 * i % 151 for i in range(48)]

    def list_steps(processes: int) -> list[list[int]]:
        batch_size, accumulation = train.split_batch(8, 2, processes)
        shards = [list(BatchSamplerShard(BatchSampler(train.EpochOrder(lengths, 16, seed=1), batch_size, False), processes, i))
                  for i in range(processes)]
        return [sorted(i for shard in shards for batch in shard[step:step + accumulation] for i in batch)
                for step in range(0, len(shards[0]), accumulation)]

    assert list_steps(1) == list_steps(2) == list_steps(4) and sum(list_steps(4), []) != list(range(48))
    with pytest.raises(InputError, match="8 x 2 chats cannot be divided among 3 processes"):
        train.split_batch(8, 2, 3)


def test_two_processes_train_as_one(stand_in, uneven_chats, tmp_path):
    """Two epochs in float32 without dropout: what differs is the order of sums, 1e-7 a number, 1e-5 after the steps of a run.

    One process pads, two pack: that is exact there too.
    """
    def command(name: str, *more: str) -> list[str]:
        return [str(ROOT / "train.py"), "--model", str(stand_in), "--data", str(uneven_chats), "--output_dir", str(tmp_path / name),
                "--checkpoint_dir", str(tmp_path / f"{name}-results"), "--batch_size", "2", "--gradient_accumulation", "4",
                "--epochs", "2", "--save_steps", "2", *EXACT, *more]

    train.main(command("one", "--no-pack")[1:])
    def launch(name: str, *more: str) -> subprocess.CompletedProcess:
        done = subprocess.run([sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--multi_gpu", "--num_processes",
                               "2", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", *command(name, *more)],
                              capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        assert done.returncode == 0, done.stderr
        return done

    done = launch("two")
    one, two = (json.loads((tmp_path / name / "training.json").read_text()) for name in ("one", "two"))
    assert (one["settings"]["processes"], two["settings"]["processes"]) == (1, 2)
    assert done.stdout.count("chats: 24") == done.stdout.count("saved: ") == 1
    curves = [[(line["step"], line["loss"], line["grad_norm"]) for line in run["log"] if "loss" in line] for run in (one, two)]
    assert [step for step, *_ in curves[1]] == [1, 2, 3, 4, 5, 6]
    for before, after in zip(*curves, strict=True):
        assert after == pytest.approx(before, rel=1e-4)
    # At a rate of 1 a B matrix, 0 at first, is what its gradients sum up to.
    sums, found = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("one", "two"))
    for name in sums:
        if "lora_B" in name:
            assert (found[name] - sums[name]).norm() < 1e-4 * sums[name].norm() > 0, name
    assert all(train.is_whole(folder) for folder in (tmp_path / "two-results").glob("checkpoint-*"))
    assert (tmp_path / "two-results" / "checkpoint-6" / "rng_state_1.pth").is_file()
    shutil.rmtree(tmp_path / "two")
    shutil.rmtree(tmp_path / "two-results" / "checkpoint-6")
    again = launch("two", "--resume")
    assert "resuming from" in again.stdout and "checkpoint-4" in again.stdout  # in the middle of the second epoch
    resumed = json.loads((tmp_path / "two" / "training.json").read_text())["log"]
    assert [line["loss"] for line in resumed if "loss" in line] == [loss for _, loss, _ in curves[1]]
