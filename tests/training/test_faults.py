import collections
import errno
import math
import os
import re
import shutil
import subprocess
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

import train
from ner.cli import InputError
from ner.training.checkpoint_hashes import HashCheckpoint
from ner.training.checkpoints import count_steps, is_complete, list_checkpoints
from ner.training.faults import advise_on_memory, explain_failures, is_disk_full
from ner.training.trainer import ChatTrainer
from tests.forks import finish
from tests.training.faulty_run import fill_disk, inject_fault, limit_files, start_run
from tests.training.helpers import SAVE_EVERY_STEP, WEIGHTS, build_command, make_settings


@pytest.fixture
def command(stand_in, chats_file, tmp_path) -> list[str]:
    """A run of six steps like that of `six_steps`."""
    return build_command(stand_in, chats_file, tmp_path, *SAVE_EVERY_STEP)


def find_last_step(results: Path) -> int:
    return max(map(count_steps, list_checkpoints(results)), default=0)


def test_incomplete_checkpoint_does_not_push_out_a_complete_one(
    command, six_steps, tmp_path, monkeypatch
):
    """Trainer keeps two checkpoints and drops the older one, which here is the complete one.

    The run is interrupted again before its next checkpoint is complete.
    """

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    results = tmp_path / "results"
    shutil.copytree(six_steps / "results", results)
    os.utime(results / "checkpoint-5", (0, 0))
    (results / "checkpoint-6").rename(results / "checkpoint-7")
    (results / "checkpoint-7" / "files.json").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(HashCheckpoint, "on_save", interrupt)
        with pytest.raises(KeyboardInterrupt, match="continue from the last checkpoint"):
            train.main([*command, "--resume"])
    assert is_complete(results / "checkpoint-5")
    train.main([*command, "--resume"])
    assert (tmp_path / WEIGHTS).read_bytes() == (six_steps / WEIGHTS).read_bytes()


def make_loss_nan(loss):
    return loss * math.nan


def make_gradient_infinite(loss):
    return loss + (loss - loss.detach()) * 1e38 * 1e3


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (make_loss_nan, "the loss is nan, the norm of its gradient nan"),
        (make_gradient_infinite, r"the loss is \d.*, the norm of its gradient (inf|nan)"),
    ],
    ids=["loss", "gradient"],
)
def test_loss_that_is_not_a_number(command, six_steps, tmp_path, fault, reason, monkeypatch):
    message = f"step 4: {reason}.*\n--resume continues from .*checkpoint-3$"
    with monkeypatch.context() as patch:
        patch.setattr(ChatTrainer, "compute_loss", inject_fault(4, fault))
        with pytest.raises(InputError, match=message):
            train.main(command)
    assert find_last_step(tmp_path / "results") == 3
    assert not (tmp_path / "adapter").exists()
    train.main([*command, "--resume"])
    assert (tmp_path / WEIGHTS).read_bytes() == (six_steps / WEIGHTS).read_bytes()


@pytest.fixture
def chats_by_step(monkeypatch) -> dict[int, list[list[int]]]:
    """The token ids of each step's chats, in order, recorded while a model trains unpacked."""
    chats = collections.defaultdict(list)
    original = ChatTrainer.compute_loss

    def compute_loss(self, model, inputs, **kwargs):
        step = self.state.global_step + 1
        masks = inputs["attention_mask"].bool()
        for row, mask in zip(inputs["input_ids"], masks, strict=True):
            chats[step].append(row[mask].tolist())
        return original(self, model, inputs, **kwargs)

    monkeypatch.setattr(ChatTrainer, "compute_loss", compute_loss)
    return chats


def test_run_out_of_memory_continues_with_smaller_micro_batches(
    command, tmp_path, monkeypatch, chats_by_step
):
    """PyTorch's own error in the second epoch. The remaining steps get the same chats in order."""
    command += ["--max_steps", "9", "--no-pack", "--precision", "float32"]
    train.main(command)
    expected = dict(chats_by_step)
    chats_by_step.clear()
    shutil.rmtree(tmp_path / "results")
    shutil.rmtree(tmp_path / "adapter")

    message = (
        r"step 8: out of memory \(.*can't allocate memory.*"
        r"Add --batch_size 2 --gradient_accumulation 2 or --activation_checkpointing "
        r"--checkpoint_every 1.*\n--resume continues from .*checkpoint-7$"
    )
    with monkeypatch.context() as patch:
        fault = inject_fault(8, lambda _: torch.empty(2**50))
        patch.setattr(ChatTrainer, "compute_loss", fault)
        with pytest.raises(InputError, match=message):
            train.main(command)
    with pytest.raises(
        InputError, match=r"with other settings.*\n  settings\.chats per step: was 4, now 8"
    ):
        train.main([*command, "--resume", "--batch_size", "8"])

    chats_by_step.clear()
    smaller = ["--batch_size", "2", "--gradient_accumulation", "2", "--activation_checkpointing"]
    train.main([*command, "--resume", *smaller])
    assert chats_by_step == {step: expected[step] for step in (8, 9)}
    assert len(expected[8]) == 4


@pytest.mark.parametrize(
    ("flags", "processes", "advice"),
    [
        (
            [],
            1,
            "Add --batch_size 8 --gradient_accumulation 2 or --activation_checkpointing "
            "--checkpoint_every 1, which",
        ),
        # 8 x 2 would give each process 8 chats, as now.
        (
            ["--activation_checkpointing"],
            2,
            "Add --batch_size 4 --gradient_accumulation 4, which",
        ),
        (["--batch_size", "1", "--activation_checkpointing"], 1, "A lower --max_length"),
        (
            ["--batch_size", "1", "--activation_checkpointing", "--checkpoint_every", "2"],
            1,
            "Add --activation_checkpointing --checkpoint_every 1, which",
        ),
    ],
)
def test_advice_for_a_run_out_of_memory(flags, processes, advice):
    assert advise_on_memory(make_settings(*flags), processes).startswith(advice)


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "no space"), True),
        (OSError(errno.EFBIG, "too large"), True),
        (OSError(errno.EACCES, "not allowed"), False),
        (SafetensorError(f"I/O error (os error {errno.ENOSPC})"), True),
        (SafetensorError("invalid header"), False),
        (RuntimeError("[enforce fail at inline_container.cc:672] unexpected pos 64 vs 0"), True),
        (RuntimeError("inline_container.cc:862: PytorchStreamWriter failed writing file"), True),
        (RuntimeError("shapes cannot be multiplied"), False),
    ],
)
def test_errors_of_a_full_disk(error, full):
    assert is_disk_full(error) is full


def test_other_errors_stay_as_they_are(trainer):
    error = RuntimeError("shapes cannot be multiplied")
    with pytest.raises(RuntimeError) as raised, explain_failures(trainer, make_settings()):
        raise error
    assert raised.value is error


@pytest.mark.parametrize(
    ("size", "name"), [(700_000, "optimizer.pt"), (100_000, "adapter_model.safetensors")]
)
def test_file_that_cannot_be_written_to_its_end(command, six_steps, tmp_path, size, name):
    """A limit on file size stops PyTorch's and Safetensors' writers, as a full disk does."""
    results, log = tmp_path / "results", tmp_path / "log"
    assert (six_steps / "results" / "checkpoint-6" / name).stat().st_size > size
    assert finish(start_run(command, log, 4, partial(limit_files, size))) == 1
    printed = log.read_text()
    assert "error: step 4: the disk is full, or a file is too large for it" in printed
    assert "results has " in printed
    assert f"\n--resume continues from {results / 'checkpoint-3'}\n" in printed
    assert find_last_step(results) == 3
    assert not (tmp_path / "adapter").exists()
    train.main([*command, "--resume"])
    assert (tmp_path / WEIGHTS).read_bytes() == (six_steps / WEIGHTS).read_bytes()


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of 8 MB. Skips the test if such a disk cannot be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no right to mount a disk")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize(
    ("flag", "failed_step", "last_step"), [("--checkpoint_dir", 4, 3), ("--output_dir", 6, 6)]
)
def test_full_disk(command, six_steps, tmp_path, small_disk, flag, failed_step, last_step):
    """The disk is full from step 4 on. A checkpoint fails then, the adapter at the end."""
    folder, log = small_disk / "folder", tmp_path / "log"
    command += [flag, str(folder)]
    settings = make_settings(*command)
    assert finish(start_run(command, log, 4, partial(fill_disk, small_disk))) == 1
    printed = log.read_text()
    assert f"error: step {failed_step}: the disk is full" in printed
    assert f"{folder} has 0.0 MB free" in printed
    assert find_last_step(settings.checkpoint_dir) == last_step
    last = settings.checkpoint_dir / f"checkpoint-{last_step}"
    assert f"\n--resume continues from {last}\n" in printed
    assert not (tmp_path / "adapter").exists()
    assert {path.name for path in small_disk.iterdir()} <= {"ballast", "folder"}

    (small_disk / "ballast").unlink()
    train.main([*command, "--resume"])
    adapter = (settings.output_dir / "adapter_model.safetensors").read_bytes()
    assert adapter == (six_steps / WEIGHTS).read_bytes()


def test_failure_before_the_first_checkpoint(trainer, tmp_path):
    settings = make_settings("--checkpoint_dir", str(tmp_path))
    message = re.escape(
        "--resume continues from the first step, because there is no checkpoint yet"
    )
    with pytest.raises(InputError, match=message), explain_failures(trainer, settings):
        raise MemoryError
