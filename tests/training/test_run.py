import json
import shutil

import pytest
from transformers.trainer_utils import SchedulerType
from transformers.training_args import OptimizerNames

import train
from ner.cli import InputError
from ner.files import write_json
from ner.model.adapter import RECORD
from ner.model.hub import Base
from ner.model.tensors import hash_adapter
from ner.text.chats import describe_chats, find_task, write_chats
from ner.text.prompts import build_prompt
from ner.text.task import build_task
from ner.training.run import (
    OPTIMIZERS,
    PACKAGES,
    SCHEDULERS,
    TARGETS,
    TrainingSettings,
    check_steps,
    check_task,
    complete_settings,
    describe_run,
    find_run_base,
    flatten_run,
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
    assert (on_gpu.optim, on_gpu.activation_checkpointing) == ("adamw_torch_fused", True)
    assert (on_cpu.optim, on_cpu.activation_checkpointing) == ("adamw_torch", False)


@pytest.mark.parametrize("cuda", [True, False])
def test_resumed_run_keeps_its_optimizer(tmp_path, cuda):
    write_json(tmp_path / RECORD, {"settings": {"optim": "paged_adamw_32bit"}})
    command = ["--checkpoint_dir", str(tmp_path)]
    assert make_settings(*command, "--resume", cuda=cuda).optim == "paged_adamw_32bit"
    assert make_settings(*command, "--resume", "--optim", "sgd", cuda=cuda).optim == "sgd"
    assert make_settings(*command, cuda=cuda).optim.startswith("adamw_torch")


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
    """The recipe has all settings that a run records and a resumed run must not change."""
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
        with pytest.raises(InputError, match=r"--adapter x: its type is IA3\. Only LoRA"):
            decide(args, folder)


@pytest.mark.parametrize(
    ("processes", "shares"), [(1, (8, 2)), (2, (8, 1)), (4, (2, 2)), (8, (1, 2))]
)
def test_processes_share_the_chats_of_a_step(processes, shares):
    assert split_batch(8, 2, processes) == shares


def test_chats_that_cannot_be_shared():
    with pytest.raises(InputError, match="8 x 2 chats cannot be divided among 3 processes"):
        split_batch(8, 2, 3)


def test_run_records_everything_that_decides_its_result(run, chats_file):
    source = json.loads(chats_file.with_name("train.source.json").read_text(encoding="utf-8"))
    settings = make_settings("--data", str(chats_file))
    assert run["base"] == {"name": "alice/base", "revision": "c0ffee"}
    assert run["data"] == {"sha256": source["sha256"], "source": source}
    assert run["settings"] == settings.recipe() | {"processes": 1}
    assert run["versions"].keys() == {"python", *PACKAGES}
    assert "adapter" not in run


def test_further_training_records_the_adapter_it_began_with(adapter, chats_file):
    settings = make_settings("--data", str(chats_file), "--adapter", str(adapter))
    run = describe_run(settings, Base("alice/base"), adapter)
    assert run["adapter"] == {"source": str(adapter), "sha256": hash_adapter(adapter)}


def test_further_training_keeps_the_labels_of_the_adapter(adapter, tmp_path):
    chats = tmp_path / "train.jsonl"
    task = build_task("basic", {"상품": "", "PS": "사람"})
    answer = {"role": "assistant", "content": "{}"}
    messages = [*build_prompt("봄", task.system_prompt), answer]
    write_chats(chats, [{"messages": messages}], task.record)
    settings = make_settings("--data", str(chats), "--adapter", str(adapter))
    with pytest.raises(InputError, match=r"train\.jsonl has labels .* not trained for: 상품\. It"):
        describe_run(settings, Base("alice/base"), adapter)
    assert find_task(describe_run(settings, Base("alice/base"))["data"]) == task


def test_chats_without_a_record_of_their_labels(tmp_path, capsys):
    def check(settings: TrainingSettings) -> None:
        check_task(settings, describe_chats(settings.data))

    chats = tmp_path / "train.jsonl"
    task = build_task("basic", {"상품": ""})
    answer = {"role": "assistant", "content": "{}"}
    messages = [*build_prompt("봄", task.system_prompt), answer]
    write_chats(chats, [{"messages": messages}], task.record)
    check(make_settings("--data", str(chats), "--validation", "1"))
    assert not capsys.readouterr().out
    chats.with_suffix(".source.json").unlink()
    check(make_settings("--data", str(chats)))
    assert "later steps will assume KLUE's. Copy train.source.json" in capsys.readouterr().out
    with pytest.raises(InputError, match="--validation cannot score the answers"):
        check(make_settings("--data", str(chats), "--validation", "1"))


def test_resumed_run_may_change_how_it_computes_the_same_numbers(chats_file):
    def flatten(*flags: str) -> dict:
        settings = make_settings("--data", str(chats_file), *flags)
        return flatten_run(describe_run(settings, Base("alice/base")))

    others = [
        *("--batch_size", "2", "--gradient_accumulation", "8", "--activation_checkpointing"),
        *("--checkpoint_every", "2", "--save_steps", "3", "--output_dir", "elsewhere"),
    ]
    assert flatten(*others) == flatten()
    assert flatten("--learning_rate", "1e-3") != flatten()
    assert flatten("--batch_size", "8", "--gradient_accumulation", "1") != flatten()
    assert flatten("--no-pack") != flatten()
    assert flatten()["settings.chats per step"] == 16


def test_fingerprints_decide_and_not_where_data_and_adapter_came_from(run):
    adapter = {"source": "alice/adapter", "sha256": "ab12"}
    moved = {
        "data": run["data"] | {"source": None},
        "adapter": adapter | {"source": "/mnt/adapter"},
    }
    fields = flatten_run(run | {"adapter": adapter})
    assert flatten_run(run | moved) == fields
    assert fields["adapter.sha256"] == "ab12"
    assert fields["data.sha256"] == run["data"]["sha256"]


def test_resumed_run_keeps_the_commit_of_its_base(stand_in, tmp_path, monkeypatch):
    """The flag --revision overrules the record. A new run does not read the record."""
    monkeypatch.setattr("ner.training.run.find_base", Base)
    base = {"name": "alice/base", "revision": "c0ffee"}
    (tmp_path / "training.json").write_text(json.dumps({"base": base}))
    command = ["--model", "alice/base", "--checkpoint_dir", str(tmp_path)]
    settings = make_settings(*command)
    assert find_run_base(settings, resume=True) == Base("alice/base", "c0ffee")
    assert find_run_base(settings, resume=False) == Base("alice/base", None)
    settings = make_settings(*command, "--revision", "beef")
    assert find_run_base(settings, resume=True) == Base("alice/base", "beef")
    # Another base has other commits. The record of the run is compared later.
    settings = make_settings(*command, "--model", "alice/other")
    assert find_run_base(settings, resume=True) == Base("alice/other", None)


@pytest.mark.parametrize(
    ("flags", "chats", "learns"),
    [
        ([], 17, True),
        ([], 16, False),
        (["--epochs", "2"], 16, True),
        (["--max_steps", "1"], 100, False),
        (["--max_steps", "1", "--warmup", "0"], 100, True),
        (["--max_steps", "1", "--lr_scheduler", "constant"], 100, True),
        (["--max_steps", "1", "--learning_rate", "0"], 100, True),  # as the user wants it
    ],
)
def test_one_step_does_not_learn_in_warmup(flags, chats, learns):
    settings = make_settings(*flags)
    if learns:
        check_steps(settings, chats)
    else:
        with pytest.raises(InputError, match=r"is one step, whose learning rate is 0.*--warmup 0"):
            check_steps(settings, chats)
