"""train.py as a whole: its flags, killed and resumed runs, further training, two processes."""

import collections
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import train
from ner.cli import InputError
from ner.model.tensors import hash_adapter
from ner.publishing.contents import collect_files
from ner.training.checkpoints import count_steps, is_complete, list_checkpoints
from tests.forks import finish, run_in_two
from tests.helpers import ROOT
from tests.training.faulty_run import run_train, start_run
from tests.training.helpers import (
    EXACT,
    SAVE_EVERY_STEP,
    SMALL_STEPS,
    WEIGHTS,
    build_command,
    write_uneven_chats,
)

TWO_EPOCHS = [*SMALL_STEPS, "--epochs", "2", "--save_steps", "4", "--logging_steps", "1"]


@pytest.fixture
def command(stand_in, chats_file, tmp_path) -> list[str]:
    return build_command(stand_in, chats_file, tmp_path)


@pytest.fixture
def no_model(monkeypatch) -> None:
    """Fail the test if a model is loaded."""
    monkeypatch.setattr(
        "ner.model.loading.load_model", lambda *_: pytest.fail("a model was loaded")
    )


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--batch_size", "0"),
        ("--gradient_accumulation", "0"),
        ("--lora_r", "-1"),
        ("--lora_dropout", "2"),
        ("--warmup", "-1"),
        ("--logging_steps", "0"),
    ],
)
def test_impossible_number(flag, value, capsys):
    with pytest.raises(SystemExit):
        train.parse_args([flag, value])
    assert f"argument {flag}" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--lr_scheduler", "--optim"])
def test_unknown_name(flag, capsys):
    with pytest.raises(SystemExit):
        train.parse_args([flag, "foo"])
    assert f"argument {flag}: invalid choice: 'foo'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--batch_size", "3"], "--batch_size 3 does not divide the 16 chats of a step"),
        (["--epochs", "0"], "--epochs 0 trains nothing"),
        (["--plan", "--adapter", "x"], "--plan is for a new adapter"),
    ],
)
def test_flags_that_do_not_fit_together(flags, message, capsys):
    with pytest.raises(SystemExit):
        train.parse_args(flags)
    assert message in capsys.readouterr().err


# The messages about malformed chats are in tests/text/test_chats.py.
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "train.jsonl: not found"),
        ("", "train.jsonl: no chats"),
        ('{"messages": [{"role": "user"\n', "train.jsonl:1: expected .*JSONDecodeError"),
    ],
)
@pytest.mark.usefixtures("no_model")
def test_bad_chats_are_reported_before_a_model_loads(tmp_path, content, message):
    path = tmp_path / "train.jsonl"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        train.main(["--data", str(path), "--output_dir", str(tmp_path / "adapter")])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "holds other files"),
        (["--output_dir", "/proc/adapter"], "cannot be written"),
        (["--output_dir", "new", "--checkpoint_dir", "/proc/results"], "cannot be written"),
        (["--output_dir", "new", "--max_length", "10"], "longer than --max_length 10 tokens"),
    ],
)
@pytest.mark.usefixtures("no_model")
def test_bad_places_and_limits_are_reported_before_a_model_loads(
    command, tmp_path, flags, message, monkeypatch
):
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "thesis.txt").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        train.main([*command, *flags])
    assert (tmp_path / "adapter" / "thesis.txt").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="reports a missing GPU")
@pytest.mark.usefixtures("no_model")
def test_large_model_without_a_gpu_is_reported_before_it_loads(
    stand_in, chats_file, tmp_path, monkeypatch
):
    """On a machine with 4 GB of memory."""
    monkeypatch.setattr("ner.model.device.measure_ram", lambda: 4e9)
    large = tmp_path / "EXAONE-large"
    shutil.copytree(stand_in, large)
    config = json.loads((large / "config.json").read_text())
    config |= {"hidden_size": 4096, "intermediate_size": 14336, "num_layers": 32, "head_dim": 128}
    (large / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"finds no GPU.*this machine has 4 GB"):
        train.main(build_command(large, chats_file, tmp_path))


@pytest.mark.usefixtures("no_model")
def test_small_disk_is_reported_before_a_model_loads(command, monkeypatch):
    usage = collections.namedtuple("usage", "total used free")(9e9, 9e9, 4e6)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(InputError, match=r"the run writes up to 5\.8 MB"):
        train.main(command)


@pytest.mark.usefixtures("no_model")
def test_rejected_recipe_is_reported_before_a_model_loads(command, monkeypatch):
    """With any flags, TRL rejects bfloat16 on a GPU that lacks it."""

    def reject(*args, **kwargs):
        raise ValueError("Your setup doesn't support bf16/gpu.")

    monkeypatch.setattr("ner.training.trainer.SFTConfig", reject)
    with pytest.raises(InputError, match="bf16"):
        train.main(command)


def test_checkpointing_gives_the_same_adapter(stand_in, chats_file, tmp_path):
    adapters = set()
    for name, flags in {
        "every layer": ["--activation_checkpointing"],
        "no layer": ["--no-activation_checkpointing"],
        "every other layer": ["--activation_checkpointing", "--checkpoint_every", "2"],
    }.items():
        folder = tmp_path / name
        steps = [*SMALL_STEPS, "--max_steps", "3"]
        train.main([*build_command(stand_in, chats_file, folder), *steps, *flags])
        adapters.add((folder / WEIGHTS).read_bytes())
    assert len(adapters) == 1


@pytest.fixture(scope="module")
def two_epochs(stand_in, chats_file, tmp_path_factory) -> bytes:
    """The adapter of an undisturbed run of 12 steps, 6 per epoch."""
    folder = tmp_path_factory.mktemp("two-epochs")
    train.main(build_command(stand_in, chats_file, folder, *TWO_EPOCHS))
    return (folder / WEIGHTS).read_bytes()


def kill_when(process, reached: Callable[[], bool], log: Path, pause: float = 0) -> None:
    """Kill a run `pause` seconds after it has `reached` a moment."""
    deadline = time.monotonic() + 120
    while not reached() and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(pause)
    process.kill()
    assert finish(process) == -signal.SIGKILL, log.read_text()


@pytest.mark.parametrize("moment", ["before the first checkpoint", "in the second epoch"])
def test_killed_run_resumes_to_the_same_adapter(command, tmp_path, two_epochs, moment, capfd):
    """With dropout and grouping by length, the adapters are bit-for-bit identical.

    The resumed run saves more often.
    """
    log, hashes = tmp_path / "log", tmp_path / "results" / "checkpoint-8" / "files.json"
    log.touch()
    reached = {
        "before the first checkpoint": lambda: "'loss'" in log.read_text(),
        "in the second epoch": hashes.exists,
    }[moment]
    process = start_run([*command, *TWO_EPOCHS], log)
    kill_when(process, reached, log)
    assert not (tmp_path / "adapter").exists()

    train.main([*command, *TWO_EPOCHS, "--resume", "--save_steps", "3"])
    resumed = "resuming from" in capfd.readouterr().out
    assert resumed == (moment == "in the second epoch")
    assert (tmp_path / WEIGHTS).read_bytes() == two_epochs
    assert sorted(map(count_steps, list_checkpoints(tmp_path / "results"))) == [9, 12]


def test_run_killed_four_times_gives_the_same_adapter(stand_in, chats_file, tmp_path):
    """At random moments, within steps and while checkpoints are written."""
    flags = [*SAVE_EVERY_STEP, "--max_steps", "24"]
    undisturbed = build_command(stand_in, chats_file, tmp_path / "undisturbed", *flags)
    killed = [*build_command(stand_in, chats_file, tmp_path / "killed", *flags), "--resume"]
    results, log = tmp_path / "killed" / "results", tmp_path / "log"
    assert finish(start_run(undisturbed, log)) == 0, log.read_text()

    def find_last_step() -> int:
        return max(map(count_steps, list_checkpoints(results)), default=0)

    random_numbers = random.Random(42)
    last_steps = []
    for attempt in range(4):
        log = tmp_path / f"log-{attempt}"
        goal = find_last_step() + random_numbers.randint(1, 3)
        process = start_run(killed, log)
        pause = random_numbers.uniform(0, 0.15)
        kill_when(process, lambda goal=goal: find_last_step() >= goal, log, pause)
        assert ("resuming from" in log.read_text()) == (attempt > 0)
        assert "'loss'" in log.read_text()
        last_steps.append(find_last_step())
    assert last_steps == sorted(last_steps)
    assert last_steps[0] > 0
    assert last_steps[-1] < 24
    assert not (tmp_path / "killed" / "adapter").exists()

    assert finish(start_run(killed, log)) == 0, log.read_text()
    adapters = [(tmp_path / name / WEIGHTS).read_bytes() for name in ("killed", "undisturbed")]
    assert adapters[0] == adapters[1]


def test_finished_run_is_not_trained_further(command, tmp_path):
    """As if killed while it saved the adapter. Five steps end in the middle of an epoch."""
    command += [*SMALL_STEPS, "--max_steps", "5", "--save_steps", "5", "--lr_scheduler", "constant"]
    train.main(command)
    adapter = (tmp_path / WEIGHTS).read_bytes()
    for _ in range(2):
        shutil.rmtree(tmp_path / "adapter")
        train.main([*command, "--resume"])
        assert (tmp_path / WEIGHTS).read_bytes() == adapter
        assert json.loads((tmp_path / "adapter" / "training.json").read_text())["steps"] == 5


def test_damaged_checkpoint_is_passed_over(command, tmp_path, two_epochs, capfd):
    train.main([*command, *TWO_EPOCHS])
    (tmp_path / WEIGHTS).unlink()
    last = list_checkpoints(tmp_path / "results")[0]
    with (last / "optimizer.pt").open("r+b") as file:
        file.truncate(1000)
    train.main([*command, *TWO_EPOCHS, "--resume"])
    printed = capfd.readouterr().out
    assert "checkpoint-12 is incomplete" in printed
    assert f"resuming from {tmp_path / 'results' / 'checkpoint-8'}" in printed
    assert (tmp_path / WEIGHTS).read_bytes() == two_epochs


def test_runs_are_not_mixed(command, tmp_path):
    command += ["--max_steps", "1", "--save_steps", "1", "--warmup", "0"]
    train.main(command)
    with pytest.raises(
        InputError, match=r"holds checkpoint-1 of an earlier run\. To continue it, add --resume"
    ):
        train.main(command)
    with pytest.raises(
        InputError, match=r"other settings.*\n  settings\.learning_rate: was 0\.0002, now 0\.001"
    ):
        train.main([*command, "--resume", "--learning_rate", "1e-3"])
    (tmp_path / "results" / "training.json").unlink()
    with pytest.raises(InputError, match=r"no training\.json, which describes their run"):
        train.main([*command, "--resume"])


def test_machine_chooses_the_optimizer_of_a_new_run_only(command, tmp_path, monkeypatch):
    """The trainer and the record use it. A resumed run keeps it, bit for bit."""
    command += [*SMALL_STEPS, "--max_steps", "4", "--save_steps", "2"]
    train.main([*command, "--optim", "adamw_torch_fused"])
    expected = (tmp_path / WEIGHTS).read_bytes()
    shutil.rmtree(tmp_path / "results")

    def choose(settings, needed):
        assert needed < 2e9
        return replace(settings, optim="adamw_torch_fused")

    monkeypatch.setattr("ner.training.machine.choose_optimizer", choose)
    train.main(command)
    assert (tmp_path / WEIGHTS).read_bytes() == expected

    monkeypatch.setattr(
        "ner.training.machine.choose_optimizer", lambda *_: pytest.fail("chosen again")
    )
    shutil.rmtree(tmp_path / "results" / "checkpoint-4")
    train.main([*command, "--resume"])
    assert (tmp_path / WEIGHTS).read_bytes() == expected
    record = json.loads((tmp_path / "adapter" / "training.json").read_text())
    assert record["settings"]["optim"] == "adamw_torch_fused"
    with pytest.raises(InputError, match=r"optim: was adamw_torch_fused, now sgd"):
        train.main([*command, "--resume", "--optim", "sgd"])


def test_run_that_learns_nothing_is_noticed(stand_in, chats_file, tmp_path, capfd):
    """At a rate of 0 it is reported once, and not by a resumed run. At 5e-3 the model learns."""
    flags = [*SMALL_STEPS, "--precision", "float32", "--logging_steps", "64"]
    stalled = build_command(stand_in, chats_file, tmp_path, *flags, "--learning_rate", "0")
    stalled += ["--max_steps", "64", "--save_steps", "32"]
    with pytest.raises(RuntimeError, match="the adapter is empty"):
        train.main(stalled)
    printed = capfd.readouterr().out
    assert printed.count("warning: the loss has not fallen: ") == 1
    assert "the 20 up to step 30. Check --learning_rate" in printed
    shutil.rmtree(tmp_path / "results" / "checkpoint-64")
    with pytest.raises(RuntimeError, match="the adapter is empty"):
        train.main([*stalled, "--resume"])
    assert "warning: the loss" not in capfd.readouterr().out

    learning = build_command(stand_in, chats_file, tmp_path / "learning", *flags)
    train.main([*learning, "--learning_rate", "5e-3", "--max_steps", "30", "--save_steps", "30"])
    assert "warning: the loss" not in capfd.readouterr().out


@pytest.fixture(params=["llama", "exaone"])
def named_adapter(adapter, tmp_path, request) -> Path:
    """The adapter under Llama's names, or published under EXAONE's."""
    if request.param == "llama":
        return adapter
    folder = tmp_path / "published"
    folder.mkdir()
    for name, content in collect_files(adapter, "alice/EXAONE-base", True).items():
        (folder / name).write_bytes(content)
    return folder


def read_config(folder: Path) -> dict:
    """An adapter's configuration, its targets in a fixed order."""
    config = json.loads((folder / "adapter_config.json").read_text())
    return config | {"target_modules": sorted(config["target_modules"])}


def test_further_training_starts_with_the_adapter(named_adapter, adapter, command, tmp_path):
    """At a learning rate of 0 it stays bit-for-bit identical, and is saved under Llama's names."""
    flags = ["--adapter", str(named_adapter), "--max_steps", "1", "--learning_rate", "0"]
    train.main([*command, *flags])
    before = adapter / "adapter_model.safetensors"
    assert (tmp_path / WEIGHTS).read_bytes() == before.read_bytes()
    assert read_config(tmp_path / "adapter") == read_config(adapter)
    run = json.loads((tmp_path / "adapter" / "training.json").read_text())
    assert run["adapter"] == {"source": str(named_adapter), "sha256": hash_adapter(adapter)}
    first = run["log"][0]
    assert first.get("loss", first.get("train_loss")) < 0.1


def test_further_training_changes_the_adapter_and_resumes(adapter, command, tmp_path):
    flags = [
        *("--max_steps", "2", "--save_steps", "1", "--lr_scheduler", "constant", "--warmup", "0"),
    ]
    further = [*command, "--adapter", str(adapter), *flags]
    train.main(further)
    trained = (tmp_path / WEIGHTS).read_bytes()
    assert trained != (adapter / "adapter_model.safetensors").read_bytes()
    shutil.rmtree(tmp_path / "results" / "checkpoint-2")
    train.main([*further, "--resume"])
    assert (tmp_path / WEIGHTS).read_bytes() == trained
    with pytest.raises(InputError, match=r"other settings.*\n  adapter\.sha256: was .*, now None"):
        train.main([*command, *flags, "--resume"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--lora_r", "8"], "--lora_r 8: the adapter .* has 32 and keeps it. Leave the flag out"),
        (["--lora_alpha", "32"], "--lora_alpha 32: .* has 16"),
        (["--lora_dropout", "0.0"], r"--lora_dropout 0\.0: .* has 0\.05"),
        (["--lora_targets", "all"], "--lora_targets all: .* keeps its own targets"),
    ],
)
@pytest.mark.usefixtures("no_model")
def test_flags_that_contradict_the_adapter(adapter, command, flags, message):
    command = [*command[2:], "--adapter", str(adapter), *flags]
    with pytest.raises(InputError, match=message):
        train.main(command)


def launch(command: list[str]) -> subprocess.CompletedProcess:
    """Run train.py in two processes, as the README does for several GPUs."""
    launcher = [
        *(sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--multi_gpu"),
        *("--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no"),
        *("--dynamo_backend", "no", str(ROOT / "train.py")),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.run([*launcher, *command], capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    return run


def read_curve(folder: Path) -> list[tuple[int, float, float]]:
    """Step, loss and norm of the gradient, step by step."""
    log = json.loads((folder / "adapter" / "training.json").read_text())["log"]
    return [(line["step"], line["loss"], line["grad_norm"]) for line in log if "loss" in line]


def test_two_processes_train_as_one(stand_in, chats_file, tmp_path):
    """Two epochs in float32 without dropout. One process pads its chats, two pack them.

    Sums are in another order. That changes a number by 1e-7, and by 1e-5 after a run.
    """
    flags = [*EXACT, "--batch_size", "2", "--gradient_accumulation", "4"]
    flags += ["--epochs", "2", "--save_steps", "2"]
    uneven_chats = write_uneven_chats(chats_file, tmp_path / "train.jsonl")
    one, two = tmp_path / "one", tmp_path / "two"
    train.main([*build_command(stand_in, uneven_chats, one, *flags), "--no-pack"])
    command = build_command(stand_in, uneven_chats, two, *flags)
    printed = launch(command).stdout
    assert printed.count("chats: 24") == printed.count("saved: ") == 1
    for folder, processes in ((one, 1), (two, 2)):
        run = json.loads((folder / "adapter" / "training.json").read_text())
        assert run["settings"]["processes"] == processes

    curve = read_curve(two)
    assert [step for step, *_ in curve] == [1, 2, 3, 4, 5, 6]
    for expected, found in zip(read_curve(one), curve, strict=True):
        assert found == pytest.approx(expected, rel=1e-4)
    # The B matrices begin at 0. At a rate of 1 they are the sums of their gradients.
    expected, found = (load_file(folder / WEIGHTS) for folder in (one, two))
    for name in expected:
        if "lora_B" in name:
            norm = expected[name].norm()
            assert norm > 0
            assert (found[name] - expected[name]).norm() < 1e-4 * norm, name
    assert all(is_complete(folder) for folder in (two / "results").glob("checkpoint-*"))
    assert (two / "results" / "checkpoint-6" / "rng_state_1.pth").is_file()

    shutil.rmtree(two / "adapter")
    shutil.rmtree(two / "results" / "checkpoint-6")
    printed = run_in_two(tmp_path, run_train, [*command, "--resume"])
    assert printed.count("resuming from") == 1
    assert "checkpoint-4" in printed  # in the middle of the second epoch
    assert [loss for _, loss, _ in read_curve(two)] == [loss for _, loss, _ in curve]
