"""Explain errors that stop a run: out of memory, disk full, loss not finite."""

import errno
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from safetensors import SafetensorError

from ner.cli import InputError
from ner.files import free_bytes
from ner.model.device import is_out_of_memory
from ner.model.process import get_process
from ner.training.checkpoints import is_complete, list_checkpoints
from ner.training.run import TrainingSettings, split_batch
from ner.training.trainer import ChatTrainer

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def explain_failures(trainer: ChatTrainer, settings: TrainingSettings) -> Iterator[None]:
    """Turn a run's failures into InputError with the way to continue."""
    try:
        yield
    except (FloatingPointError, MemoryError, OSError, RuntimeError, SafetensorError) as error:
        steps = trainer.state.global_step
        if isinstance(error, FloatingPointError):
            wait_for_main_process()
        elif is_disk_full(error):
            remove_incomplete(settings, steps)
        message = explain_failure(error, steps, settings)
        if message is None:
            raise
        checkpoints = list_checkpoints(settings.checkpoint_dir)
        place = next(
            filter(is_complete, checkpoints), "the first step, because there is no checkpoint yet"
        )
        raise InputError(f"{message}\n--resume continues from {place}") from error


def explain_failure(error: Exception, steps: int, settings: TrainingSettings) -> str | None:
    """The message for an error after `steps` steps, or None if it needs no explanation."""
    reason = str(error).partition("\n")[0]
    if isinstance(error, FloatingPointError):
        return (
            f"step {steps + 1}: {reason}. The adapter is unharmed. If it happens again after "
            "--resume, start again with a lower --learning_rate and another --checkpoint_dir"
        )
    if is_out_of_memory(error):
        advice = advise_on_memory(settings, get_process().num_processes)
        return f"step {steps + 1}: out of memory ({reason}). {advice}"
    if is_disk_full(error):
        room = ", ".join(
            f"{folder} has {free_bytes(folder) / 1e6:,.1f} MB free"
            for folder in (settings.checkpoint_dir, settings.output_dir)
        )
        return (
            f"step {steps}: the disk is full, or a file is too large for it ({reason}): {room}. "
            "Free some space"
        )
    return None


def wait_for_main_process() -> None:
    """Let the main process report an error that all processes have.

    The first process to exit stops the others.
    """
    if not get_process().is_main_process:
        time.sleep(60)
        sys.exit(1)


def remove_incomplete(settings: TrainingSettings, steps: int) -> None:
    """Remove the checkpoint that did not fit on the disk."""
    checkpoint = settings.checkpoint_dir / f"checkpoint-{steps}"
    if checkpoint.is_dir() and not is_complete(checkpoint):
        shutil.rmtree(checkpoint, ignore_errors=True)


def is_disk_full(error: Exception) -> bool:
    """Whether Python, Safetensors or PyTorch's writer had no room for a file."""
    message = str(error)
    if isinstance(error, OSError):
        return error.errno in DISK_FULL
    if isinstance(error, SafetensorError):
        return any(f"(os error {code})" in message for code in DISK_FULL)
    return "inline_container.cc" in message and (
        "unexpected pos" in message or "failed writing" in message
    )


def advise_on_memory(settings: TrainingSettings, processes: int) -> str:
    """Flags that need less memory and leave a run's steps as they are."""
    advice = []
    if batch := find_smaller_batch(settings, processes):
        size, accumulation = batch
        advice.append(f"--batch_size {size} --gradient_accumulation {accumulation}")
    if not settings.activation_checkpointing or settings.checkpoint_every > 1:
        advice.append("--activation_checkpointing --checkpoint_every 1")
    lower_length = "A lower --max_length needs a new run"
    if not advice:
        return lower_length
    return f"Add {' or '.join(advice)}, which change no step and work with --resume. {lower_length}"


def find_smaller_batch(settings: TrainingSettings, processes: int) -> tuple[int, int] | None:
    """The next smaller micro-batch of a process, as --batch_size and --gradient_accumulation."""
    step = settings.chats_per_step
    current, _ = split_batch(settings.batch_size, settings.gradient_accumulation, processes)
    for size in range(settings.batch_size - 1, 0, -1):
        if step % size:
            continue
        with suppress(InputError):
            if split_batch(size, step // size, processes)[0] < current:
                return size, step // size
    return None
