from dataclasses import replace

import pytest
import torch
from accelerate.data_loader import BatchSamplerShard
from torch.utils.data import BatchSampler

from ner.cli import InputError
from ner.model.hub import Base
from ner.text.chats import load_chats
from ner.training.run import split_batch
from ner.training.trainer import (
    EpochOrder,
    build_config,
    build_lora,
    prepare_lora,
)
from tests.training.helpers import build_command, make_settings, make_trainer


def test_loss_covers_the_answer_and_its_end_marker(trainer, chats_file):
    """The batches are those that the model gets, after everything TRL does to a data set."""
    tokenizer = trainer.processing_class
    assert tokenizer.pad_token == "[PAD]"
    chats = {chat[1]["content"]: chat for chat in load_chats(chats_file)}
    chats_in_batches = 0
    for batch in trainer.get_train_dataloader():
        for input_ids, labels, mask in zip(
            batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True
        ):
            length = mask.sum()
            text = tokenizer.decode(input_ids[:length])
            sentence = text.split("[|user|]")[1].split("\n[|assistant|]")[0]
            system, user, assistant = (message["content"] for message in chats[sentence])
            answer = f"{assistant}[|endofturn|]"
            assert text == (
                f"[|system|]{system}[|endofturn|]\n[|user|]{user}\n[|assistant|]{answer}"
            )
            under_loss = labels != -100
            assert tokenizer.decode(labels[under_loss]) == answer
            assert torch.equal(labels[under_loss], input_ids[under_loss])
            assert labels[length - 1] == tokenizer.eos_token_id
            assert not under_loss[length:].any()
            assert (input_ids[length:] == tokenizer.pad_token_id).all()
            chats_in_batches += 1
    assert chats_in_batches == 24


def test_adapter_is_float32(trainer):
    adapter = [p for p in trainer.model.parameters() if p.requires_grad]
    assert len(adapter) == 28
    assert {parameter.dtype for parameter in adapter} == {torch.float32}


def test_trained_adapter_is_not_expected_to_improve(stand_in, chats_file, tmp_path):
    """The trainer of a trained adapter does not warn of a loss that has not fallen."""
    settings = make_settings(*build_command(stand_in, chats_file, tmp_path))
    assert make_trainer(settings).loss_watch.warn
    assert not make_trainer(replace(settings, adapter="alice/adapter")).loss_watch.warn


def test_order_follows_from_seed_and_epoch(trainer):
    lengths = [len(row["input_ids"]) for row in trainer.train_dataset]
    order = EpochOrder(lengths, 4, seed=42)
    orders = []
    for epoch in (0, 1):
        order.set_epoch(epoch)
        torch.rand(1)  # moves the global generator, as dropout does
        orders.append(list(order))
        assert orders[-1] == list(order)
        assert sorted(orders[-1]) == list(range(24))
    assert orders[0] != orders[1]
    assert list(EpochOrder(lengths, 4, seed=43)) != orders[0]


def test_batches_hold_chats_of_similar_length():
    lengths = [50 + 37 * i % 151 for i in range(400)]

    def spread(order: list[int]) -> int:
        batches = [[lengths[i] for i in order[start : start + 4]] for start in range(0, 400, 4)]
        return sum(max(batch) - min(batch) for batch in batches)

    grouped, plain = (list(EpochOrder(lengths, size, seed=42)) for size in (16, None))
    assert sorted(grouped) == sorted(plain) == list(range(400))
    assert spread(grouped) < 0.2 * spread(plain)


def list_steps(processes: int) -> list[list[int]]:
    """The chats of each step of 8 x 2, shared among processes as Accelerate does."""
    batch_size, accumulation = split_batch(8, 2, processes)
    lengths = [50 + 37 * i % 151 for i in range(48)]
    batches = BatchSampler(EpochOrder(lengths, 16, seed=1), batch_size, drop_last=False)
    shards = [list(BatchSamplerShard(batches, processes, i)) for i in range(processes)]
    steps = []
    for start in range(0, len(shards[0]), accumulation):
        micro_batches = [batch for shard in shards for batch in shard[start : start + accumulation]]
        steps.append(sorted(i for batch in micro_batches for i in batch))
    return steps


def test_a_step_takes_the_same_chats_with_any_number_of_processes():
    steps = list_steps(1)
    assert steps == list_steps(2) == list_steps(4)
    order = [i for step in steps for i in step]
    assert order != list(range(48))
    assert sorted(order) == list(range(48))


def test_hyperparameters_of_the_post_are_the_defaults(trainer):
    config, lora = trainer.args, trainer.model.peft_config["default"]
    assert (lora.r, lora.lora_alpha, lora.lora_dropout) == (32, 16, 0.05)
    assert config.per_device_train_batch_size * config.gradient_accumulation_steps == 4 * 4
    assert (config.learning_rate, config.lr_scheduler_type) == (2e-4, "cosine")
    assert (config.warmup_steps, config.num_train_epochs) == (0.03, 1)
    assert (config.save_steps, config.logging_steps) == (500, 50)
    assert (config.weight_decay, config.max_grad_norm, config.bf16) == (0.001, 0.3, True)
    assert trainer.group_by_length
    # The fixture decides its settings for a CPU.
    assert config.optim == "adamw_torch"
    assert config.activation_checkpointing is False


def test_every_flag_of_the_recipe_reaches_the_trainer(tmp_path):
    settings = make_settings(
        *("--lora_r", "3", "--lora_alpha", "5", "--lora_dropout", "0.25"),
        *("--batch_size", "6", "--gradient_accumulation", "7", "--learning_rate", "0.125"),
        *("--lr_scheduler", "linear", "--warmup", "11", "--epochs", "2.5", "--max_steps", "13"),
        *("--optim", "sgd", "--weight_decay", "0.5", "--max_grad_norm", "0.75", "--seed", "17"),
        *("--activation_checkpointing", "--checkpoint_every", "29", "--save_steps", "19"),
        *("--logging_steps", "23", "--precision", "float32", "--checkpoint_dir", str(tmp_path)),
    )
    config, lora = build_config(settings), build_lora(settings, Base("alice/base", "c0ffee"))
    assert (lora.r, lora.lora_alpha, lora.lora_dropout) == (3, 5, 0.25)
    assert lora.revision == "c0ffee"
    assert (config.per_device_train_batch_size, config.gradient_accumulation_steps) == (6, 7)
    assert (config.learning_rate, config.lr_scheduler_type) == (0.125, "linear")
    assert (config.warmup_steps, config.num_train_epochs, config.max_steps) == (11, 2.5, 13)
    assert (config.optim, config.weight_decay, config.max_grad_norm) == ("sgd", 0.5, 0.75)
    assert (config.seed, config.save_steps, config.logging_steps) == (17, 19, 23)
    assert (config.bf16, config.output_dir) == (False, str(tmp_path))
    assert config.activation_checkpointing
    assert config.activation_checkpointing_kwargs == {"every_n_layers": 29}


@pytest.mark.parametrize(
    ("targets", "modules"), [("all", "all-linear"), ("qkv", {"q_proj", "k_proj", "v_proj"})]
)
def test_targets_of_a_new_adapter(targets, modules):
    settings = make_settings("--lora_targets", targets)
    lora, tensors = prepare_lora(settings, Base("alice/base"), None, "exaone")
    assert lora.target_modules == modules
    assert tensors is None


@pytest.mark.parametrize("name", ["lr_scheduler", "optim"])
def test_setting_that_trl_does_not_know(name, tmp_path):
    settings = replace(make_settings("--checkpoint_dir", str(tmp_path)), **{name: "foo"})
    with pytest.raises(InputError, match=r"TRL rejects a setting: .*foo"):
        build_config(settings)
