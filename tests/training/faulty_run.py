"""train.py in a process of its own, with a fault at one step."""

import multiprocessing
import resource
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import train
from ner.cli import run_script
from ner.training.trainer import ChatTrainer
from tests import forks


def inject_fault(step: int, fault: Callable) -> Callable:
    """A `compute_loss` that passes the loss of one step, counted from 1, through `fault`."""
    original = ChatTrainer.compute_loss

    def compute_loss(self, *args, **kwargs):
        loss = original(self, *args, **kwargs)
        return fault(loss) if self.state.global_step + 1 == step else loss

    return compute_loss


def limit_files(size: int, loss):
    """Let no file grow beyond `size` bytes from now on."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    return loss


def fill_disk(folder: Path, loss):
    """Fill the disk of a folder to its last block."""
    with (folder / "ballast").open("wb", buffering=0) as file:
        for size in (2**20, 2**12):
            with suppress(OSError):
                while file.write(bytes(size)):
                    pass
    return loss


def run_train(command: list[str], step: int = 0, fault: Callable | None = None) -> None:
    if fault:
        ChatTrainer.compute_loss = inject_fault(step, fault)
    run_script(lambda: train.main(command))


def start_run(
    command: list[str], log: Path, step: int = 0, fault: Callable | None = None
) -> multiprocessing.Process:
    """Start train.py in a process of its own. `fault` happens at `step`."""
    return forks.start(log, run_train, command, step, fault)
