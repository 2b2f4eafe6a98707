import json
import shutil

import pytest
from transformers.trainer_utils import SchedulerType
from transformers.training_args import OptimizerNames

import train
from ner.cli import InputError
from ner.training.settings import (
    OPTIMIZERS,
    SCHEDULERS,
    TARGETS,
    complete_settings,
    inherit_settings,
    split_batch,
)
from tests.training.helpers import make_settings


@pytest.fixture
def changed_adapter(adapter, tmp_path):
    """A function that writes a copy of the adapter with other fields in its configuration."""

    def change(**fields):
        folder = tmp_path / "adapter"
        shutil.copytree(adapter, folder)
        config = json.loads((adapter / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps(config | fields))
        return folder

    return change


def test_offered_optimizers_and_schedulers_are_those_of_transformers():
    assert set(OPTIMIZERS) <= {name.value for name in OptimizerNames}
    assert set(SCHEDULERS) <= {name.value for name in SchedulerType}
    assert len(set(OPTIMIZERS)) == len(OPTIMIZERS)
    assert len(set(SCHEDULERS)) == len(SCHEDULERS)


def test_the_machine_decides_optimizer_and_checkpointing():
    on_gpu, on_cpu = make_settings(cuda=True), make_settings(cuda=False)
    assert (on_gpu.optim, on_gpu.activation_checkpointing) == ("paged_adamw_32bit", True)
    assert (on_cpu.optim, on_cpu.activation_checkpointing) == ("adamw_torch", False)


def test_a_flag_overrules_the_machine():
    settings = make_settings("--optim", "sgd", "--no-activation_checkpointing", cuda=True)
    assert (settings.optim, settings.activation_checkpointing) == ("sgd", False)


@pytest.mark.parametrize(
    ("flags", "pack"),
    [([], True), (["--loss", "chat"], False), (["--loss", "chat", "--pack"], True)],
)
def test_chats_are_packed_unless_the_whole_chat_is_learned(flags, pack):
    assert make_settings(*flags).pack is pack


@pytest.mark.parametrize(
    ("flags", "batch", "chats"),
    [
        ([], (16, 1), 16),
        (["--batch_size", "2"], (2, 8), 16),
        (["--batch_size", "3", "--gradient_accumulation", "5"], (3, 5), 15),
    ],
)
def test_a_step_takes_16_chats_by_default(flags, batch, chats):
    settings = make_settings(*flags)
    assert (settings.batch_size, settings.gradient_accumulation) == batch
    assert settings.chats_per_step == chats


def test_recipe_leaves_out_places_and_intervals():
    """It is what a run records, and what a resumed run must not change."""
    settings = make_settings("--data", "a.jsonl", "--seed", "7", "--save_steps", "3")
    flags = set(vars(train.parse_args([])))
    places = {"data", "output_dir", "checkpoint_dir", "model", "revision", "adapter"}
    recipe = settings.recipe()
    assert set(recipe) == flags - places - {"save_steps", "logging_steps", "resume", "plan"}
    assert list(recipe) == sorted(recipe)
    assert recipe["seed"] == 7
    assert recipe["lora_targets"] in TARGETS


def test_adapter_decides_what_no_flag_decides(changed_adapter, stand_in):
    folder = changed_adapter(r=8, lora_alpha=4, revision="f00d")
    settings = make_settings("--adapter", str(folder), "--lora_r", "8")
    assert (settings.lora_r, settings.lora_alpha, settings.lora_dropout) == (8, 4, 0.05)
    assert (settings.model, settings.revision) == (str(stand_in), "f00d")
    assert settings.lora_targets is None
    settings = make_settings("--adapter", str(folder), "--revision", "beef")
    assert (settings.model, settings.revision) == (str(stand_in), "beef")
    settings = make_settings("--adapter", str(folder), "--model", "alice/copy")
    assert (settings.model, settings.revision) == ("alice/copy", None)


def test_other_kinds_of_adapters_are_refused(changed_adapter):
    args = train.parse_args(["--adapter", "x"])
    folder = changed_adapter(peft_type="IA3")
    for decide in (inherit_settings, lambda *known: complete_settings(*known, cuda=False)):
        with pytest.raises(InputError, match=r"--adapter x: this is a IA3 adapter\. Only LoRA"):
            decide(args, folder)


@pytest.mark.parametrize(
    ("processes", "shares"), [(1, (8, 2)), (2, (8, 1)), (4, (2, 2)), (8, (1, 2))]
)
def test_processes_share_the_chats_of_a_step(processes, shares):
    assert split_batch(8, 2, processes) == shares


def test_chats_that_cannot_be_shared():
    with pytest.raises(InputError, match="8 x 2 chats cannot be divided among 3 processes"):
        split_batch(8, 2, 3)
