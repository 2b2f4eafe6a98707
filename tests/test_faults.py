"""What befalls a run: killed, out of memory or disk, a loss that is not a number, a damaged checkpoint, nothing learnt."""
import collections
import math
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import torch

import data_processing
import train
from data_processing import InputError

SHORT = ["--batch_size", "4", "--gradient_accumulation", "1", "--logging_steps", "1", "--save_steps", "1"]
ADAPTER = "adapter/adapter_model.safetensors"


def arguments(stand_in, chats_file, folder, *more) -> list[str]:
    return ["--model", str(stand_in), "--data", str(chats_file), "--output_dir", str(folder / "adapter"),
            "--checkpoint_dir", str(folder / "results"), *SHORT, *more]


def at_step(step: int, fault: Callable) -> Callable:
    """A compute_loss that passes the loss of one step, the first being 1, through `fault`."""
    def compute_loss(self, *args, **kwargs):
        loss = original(self, *args, **kwargs)
        return fault(loss) if self.state.global_step + 1 == step else loss

    original = train.ChatTrainer.compute_loss
    return compute_loss


def limit_files(size: int, loss):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    return loss


def fill_disk(folder: Path, loss):
    with (folder / "ballast").open("wb", buffering=0) as file:
        for size in (2 ** 20, 2 ** 12):
            with suppress(OSError):
                while file.write(bytes(size)):
                    pass
    return loss


def run_apart(command: list[str], log: Path, step: int = 0, fault: Callable | None = None) -> None:
    """train.py as a process of its own runs it, with a fault at one step."""
    with log.open("a") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    sys.stdout.reconfigure(line_buffering=True)
    train.ChatTrainer.compute_loss = at_step(step, fault)
    data_processing.run_script(lambda: train.main(command))


@pytest.fixture(scope="module")
def start():
    """Start `run_apart` in a fork of one process that has done the imports: seconds less for each."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["test_faults"])

    def start(*args) -> multiprocessing.Process:
        process = context.Process(target=run_apart, args=args)
        process.start()
        return process

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # a fork has no threads but the one that forked
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        patch.setenv("PYTHONWARNINGS", "ignore:resource_tracker")  # what killed processes leave
        yield start


def finish(process: multiprocessing.Process) -> int:
    process.join(120)
    if process.is_alive():
        process.kill()
        pytest.fail("hangs")
    return process.exitcode


def last_step(results: Path) -> int:
    return max((train.count_steps(path) for path in results.glob("checkpoint-*")), default=0)


def test_ten_times_killed_and_the_same_adapter(stand_in, chats_file, tmp_path, start):
    """SIGKILL at ten random moments, within steps and within the writing of checkpoints; equal to the bit."""
    whole, killed, results, draw = tmp_path / "whole", tmp_path / "killed", tmp_path / "killed" / "results", random.Random(42)
    assert finish(start(arguments(stand_in, chats_file, whole, "--max_steps", "60"), tmp_path / "log")) == 0
    command = arguments(stand_in, chats_file, killed, "--max_steps", "60")
    reached = []
    for attempt in range(10):
        log = tmp_path / f"log-{attempt}"
        goal = last_step(results) + draw.randint(1, 3)
        process = start([*command, "--resume"], log)
        deadline = time.monotonic() + 60
        while last_step(results) < goal and process.is_alive() and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.15))
        process.kill()
        assert finish(process) == -signal.SIGKILL, log.read_text()
        assert ("resuming from" in log.read_text()) == (attempt > 0)
        assert log.read_text().count("'loss'") >= 1
        reached.append(last_step(results))
    assert reached == sorted(reached) and 0 < reached[0] and reached[-1] < 60 and not (killed / "adapter").exists()
    assert finish(start([*command, "--resume"], tmp_path / "log")) == 0, (tmp_path / "log").read_text()
    assert (killed / ADAPTER).read_bytes() == (whole / ADAPTER).read_bytes()


@pytest.fixture(scope="module")
def unbroken(stand_in, chats_file, tmp_path_factory) -> Path:
    """A run of six steps, with its last two checkpoints."""
    folder = tmp_path_factory.mktemp("unbroken")
    train.main(arguments(stand_in, chats_file, folder))
    return folder


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "optimizer.pt", "trainer_state.json", "scheduler.pt",
                                  "rng_state.pth", "files.json"])
@pytest.mark.parametrize("fault", ["missing", "cut in half", "empty"])
def test_damaged_checkpoint_is_seen(unbroken, tmp_path, name, fault, capfd):
    """That a run goes on from the one before, and to the same adapter, is in test_train.py."""
    shutil.copytree(unbroken / "results", tmp_path / "results")
    path = tmp_path / "results" / "checkpoint-6" / name
    content = path.read_bytes()
    path.unlink() if fault == "missing" else path.write_bytes(content[:len(content) // 2 if fault == "cut in half" else 0])
    found = train.find_checkpoint(tmp_path / "results", train.read_record(tmp_path / "results"), resume=True)
    assert found.name == "checkpoint-5"
    out = capfd.readouterr().out
    assert "checkpoint-6 is not whole; looking at the one before" in out and f"resuming from {found}" in out


def test_half_a_checkpoint_takes_no_whole_one_s_place(stand_in, chats_file, unbroken, tmp_path, monkeypatch):
    """Ended again before the first new one is whole, while the half one is the younger of the two that are kept."""
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    shutil.copytree(unbroken / "results", tmp_path / "results")
    os.utime(tmp_path / "results" / "checkpoint-5", (0, 0))
    (tmp_path / "results" / "checkpoint-6").rename(tmp_path / "results" / "checkpoint-7")
    (tmp_path / "results" / "checkpoint-7" / "files.json").unlink()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(train.SealCheckpoint, "on_save", stop)
        train.main([*arguments(stand_in, chats_file, tmp_path), "--resume"])
    assert train.is_whole(tmp_path / "results" / "checkpoint-5")
    train.main([*arguments(stand_in, chats_file, tmp_path), "--resume"])
    assert (tmp_path / ADAPTER).read_bytes() == (unbroken / ADAPTER).read_bytes()


@pytest.mark.parametrize("fault, message", [
    (lambda loss: loss * math.nan, "the loss is nan, the norm of its gradient nan"),
    (lambda loss: loss + (loss - loss.detach()) * 1e38 * 1e3, r"the loss is \d.*, the norm of its gradient (inf|nan)"),
], ids=["loss", "gradient"])
def test_loss_that_is_not_a_number(stand_in, chats_file, unbroken, tmp_path, fault, message, monkeypatch):
    command = arguments(stand_in, chats_file, tmp_path)
    message = f"step 4: {message}.*\n--resume goes on from .*checkpoint-3$"
    with monkeypatch.context() as patch, pytest.raises(InputError, match=message):
        patch.setattr(train.ChatTrainer, "compute_loss", at_step(4, fault))
        train.main(command)
    assert last_step(tmp_path / "results") == 3 and not (tmp_path / "adapter").exists()
    train.main([*command, "--resume"])
    assert (tmp_path / ADAPTER).read_bytes() == (unbroken / ADAPTER).read_bytes()


def test_out_of_memory_goes_on_with_smaller_micro_batches(stand_in, chats_file, tmp_path, monkeypatch):
    """What PyTorch itself raises, in the second epoch; the steps that follow see the same chats in the same order."""
    seen = collections.defaultdict(list)
    command = arguments(stand_in, chats_file, tmp_path, "--max_steps", "9", "--no-pack", "--precision", "float32")

    def note(self, model, inputs, **kwargs):
        seen[self.state.global_step + 1] += [row[attended].tolist() for row, attended in
                                             zip(inputs["input_ids"], inputs["attention_mask"].bool(), strict=True)]
        return original(self, model, inputs, **kwargs)

    original = train.ChatTrainer.compute_loss
    monkeypatch.setattr(train.ChatTrainer, "compute_loss", note)
    train.main(command)
    whole, folder = dict(seen), tmp_path / "results"
    seen.clear()
    shutil.rmtree(folder)
    shutil.rmtree(tmp_path / "adapter")

    with monkeypatch.context() as patch, pytest.raises(InputError, match=(
            r"step 8: out of memory \(.*can't allocate memory.*Give --batch_size 2 --gradient_accumulation 2 or "
            "--activation_checkpointing --checkpoint_every 1.*\n--resume goes on from .*checkpoint-7$")):
        patch.setattr(train.ChatTrainer, "compute_loss", at_step(8, lambda _: torch.empty(2 ** 50)))
        train.main(command)
    seen.clear()
    with pytest.raises(InputError, match="begun otherwise.*\n  settings.chats a step: 4 then, 8 now"):
        train.main([*command, "--resume", "--batch_size", "8"])
    train.main([*command, "--resume", "--batch_size", "2", "--gradient_accumulation", "2", "--activation_checkpointing"])
    assert seen == {step: whole[step] for step in (8, 9)} and len(whole[8]) == 4


@pytest.mark.parametrize("flags, processes, advice", [
    ([], 1, "Give --batch_size 8 --gradient_accumulation 2 or --activation_checkpointing --checkpoint_every 1, which"),
    (["--activation_checkpointing"], 2, "Give --batch_size 4 --gradient_accumulation 4, which"),  # 8 x 2 would be 8 chats each, as now
    (["--batch_size", "1", "--activation_checkpointing"], 1, "A lower --max_length"),
])
def test_advice_where_memory_is_short_helps(flags, processes, advice):
    assert train.advise_on_memory(train.parse_args(flags), processes).startswith(advice)


@pytest.mark.parametrize("size, name", [(700_000, "optimizer.pt"), (100_000, "adapter_model.safetensors")])
def test_file_that_cannot_be_written_to_its_end(stand_in, chats_file, unbroken, tmp_path, start, size, name):
    """A quota on each file's size, as a full disk stops PyTorch's writer and Safetensors'."""
    assert (unbroken / "results" / "checkpoint-6" / name).stat().st_size > size
    command, log = arguments(stand_in, chats_file, tmp_path), tmp_path / "log"
    assert finish(start(command, log, 4, partial(limit_files, size))) == 1
    out = log.read_text()
    assert "error: step 4: the disk is full, or a file too large for it" in out
    assert "results has " in out and f"\n--resume goes on from {tmp_path / 'results' / 'checkpoint-3'}\n" in out
    assert last_step(tmp_path / "results") == 3 and not (tmp_path / "adapter").exists()
    train.main([*command, "--resume"])
    assert (tmp_path / ADAPTER).read_bytes() == (unbroken / ADAPTER).read_bytes()


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of 8 MB, where one may be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("no right to mount a disk")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("full", ["--checkpoint_dir", "--output_dir"])
def test_full_disk(stand_in, chats_file, unbroken, tmp_path, small_disk, start, full):
    """Full from step 4 on: for the checkpoint then, or for the adapter in the end."""
    command, log = [*arguments(stand_in, chats_file, tmp_path), full, str(small_disk / "folder")], tmp_path / "log"
    results, step = (small_disk / "folder", 4) if full == "--checkpoint_dir" else (tmp_path / "results", 6)
    assert finish(start(command, log, 4, partial(fill_disk, small_disk))) == 1
    out = log.read_text()
    assert f"error: step {step}: the disk is full" in out and f"{small_disk / 'folder'} has 0.0 MB free" in out
    last = 3 if full == "--checkpoint_dir" else 6
    assert last_step(results) == last and f"\n--resume goes on from {results / f'checkpoint-{last}'}\n" in out
    assert not (tmp_path / "adapter").exists() and {path.name for path in small_disk.iterdir()} <= {"ballast", "folder"}
    (small_disk / "ballast").unlink()
    train.main([*command, "--resume"])
    adapter = (small_disk / "folder" if full == "--output_dir" else tmp_path / "adapter") / "adapter_model.safetensors"
    assert adapter.read_bytes() == (unbroken / ADAPTER).read_bytes()


def test_disk_too_small_is_told_before_any_model_loads(stand_in, chats_file, unbroken, tmp_path, monkeypatch):
    command, usage = arguments(stand_in, chats_file, tmp_path), collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(train, "load_model", lambda *_: (_ for _ in ()).throw(NotImplementedError))
    for room, error, message in ((4e6, InputError, r"results: up to 5.2 MB will be written, but its disk has 4.0 MB for it"),
                                 (6e6, NotImplementedError, None)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(9e9, 9e9, room))
        with pytest.raises(error, match=message):
            train.main(command)
    # Two of the three checkpoints are there already.
    shutil.copytree(unbroken / "results", tmp_path / "results", dirs_exist_ok=True)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(9e9, 9e9, 4e6))
    with pytest.raises(NotImplementedError):
        train.main([*command, "--resume"])


@pytest.mark.parametrize("losses, warmup, warns", [
    ([2.3] * 29, 0, False),
    ([2.3] * 30, 0, True),
    ([2.3] * 119, 40, False),
    ([2.3] * 120, 40, True),
    ([2.0] * 5 + [1.7] * 25, 0, True),
    ([2.0] * 5 + [1.5] * 25, 0, False),
    ([2.857] * 5 + [1.849] * 5 + [1.159] * 5 + [0.77] * 5 + [0.758] * 5 + [0.623] * 5, 1, False),  # Gemma's, as measured
    ([2.0] * 10 + [0.5] * 50 + [9.0] * 20, 0, True),
])
def test_standstill(losses, warmup, warns):
    assert bool(train.tell_standstill(losses, warmup)) == warns


def test_run_that_learns_nothing_is_noticed(stand_in, chats_file, tmp_path, capfd):
    """Nothing at a rate of 0, told once and not by a resumed run, which has not seen the first steps; something at 5e-3."""
    command = arguments(stand_in, chats_file, tmp_path, "--max_steps", "64", "--save_steps", "32", "--logging_steps", "64",
                        "--precision", "float32")
    with pytest.raises(RuntimeError, match="the adapter is empty"):
        train.main([*command, "--learning_rate", "0"])
    out = capfd.readouterr().out
    assert out.count("warning: the loss has not fallen: ") == 1 and "the 20 up to step 30. Is --learning_rate too low" in out
    shutil.rmtree(tmp_path / "results" / "checkpoint-64")
    with pytest.raises(RuntimeError, match="the adapter is empty"):
        train.main([*command, "--learning_rate", "0", "--resume"])
    assert "warning: the loss" not in capfd.readouterr().out

    train.main(arguments(stand_in, chats_file, tmp_path / "learns", "--max_steps", "30", "--save_steps", "30",
                         "--precision", "float32", "--learning_rate", "5e-3"))
    assert "warning: the loss" not in capfd.readouterr().out
