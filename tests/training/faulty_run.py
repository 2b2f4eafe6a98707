"""train.py in a process of its own, with a fault at one step.

The processes are forks of a server that has imported this module, so each starts in milliseconds.
"""

import functools
import multiprocessing
import multiprocessing.forkserver
import os
import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

import ner.training.faults
import ner.training.machine
import ner.training.packing_check
import ner.training.saving
import ner.training.validation  # noqa: F401 -- all that train.main imports
import train
from ner.cli import run_script
from ner.training.trainer import ChatTrainer

SECONDS_TO_FINISH = 120


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


def run_train(
    command: list[str], log: Path, step: int, fault: Callable | None, environment: dict[str, str]
) -> None:
    """Run train.py and append its output to `log`."""
    with log.open("a") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    sys.stdout.reconfigure(line_buffering=True)
    os.environ.update(environment)
    if fault:
        ChatTrainer.compute_loss = inject_fault(step, fault)
    run_script(lambda: train.main(command))


@functools.cache
def start_server():
    """The server to fork from, started once for all tests of a process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # a fork has only the thread that forked
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        # Killed processes leave shared resources behind.
        patch.setenv("PYTHONWARNINGS", "ignore:resource_tracker")
        multiprocessing.forkserver.ensure_running()
    return context


def start_run(
    command: list[str],
    log: Path,
    step: int = 0,
    fault: Callable | None = None,
    environment: dict[str, str] | None = None,
) -> multiprocessing.Process:
    """Start train.py in a process of its own. `fault` happens at `step`."""
    arguments = (command, log, step, fault, environment or {})
    process = start_server().Process(target=run_train, args=arguments)
    process.start()
    return process


def finish(process: multiprocessing.Process) -> int:
    """Wait for a process. Returns its exit code."""
    process.join(SECONDS_TO_FINISH)
    if process.is_alive():
        process.kill()
        pytest.fail("the run does not end")
    return process.exitcode
