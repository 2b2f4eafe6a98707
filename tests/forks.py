"""Scripts in processes of their own, whose output goes to a file.

The processes are forks of a server that has imported this module, so each starts in milliseconds.
"""

import functools
import multiprocessing
import multiprocessing.forkserver
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import evaluate_hub  # noqa: F401
import ner.evaluation.answering
import ner.inference.recognizer
import ner.training.faults
import ner.training.machine
import ner.training.packing_check
import ner.training.saving
import ner.training.validation  # noqa: F401 -- all that the scripts import
import train  # noqa: F401

SECONDS_TO_FINISH = 120


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


def run(log: Path, environment: dict[str, str], target: Callable, arguments: tuple) -> None:
    """Run `target` and append its output to `log`."""
    with log.open("a") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    sys.stdout.reconfigure(line_buffering=True)
    os.environ.update(environment)
    target(*arguments)


def start(
    log: Path, target: Callable, *arguments: object, **environment: str
) -> multiprocessing.Process:
    """Start a function of a module in a process of its own."""
    process = start_server().Process(target=run, args=(log, environment, target, arguments))
    process.start()
    return process


def finish(process: multiprocessing.Process) -> int:
    """Wait for a process. Returns its exit code."""
    process.join(SECONDS_TO_FINISH)
    if process.is_alive():
        process.kill()
        pytest.fail("the run does not end")
    return process.exitcode


def run_in_two(folder: Path, target: Callable, *arguments: object) -> str:
    """Run a function in two processes that know of each other, as `accelerate launch` does.

    Returns what they print. Their logs are in `folder`.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    logs, processes = [], []
    for rank in range(2):
        environment = {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "WORLD_SIZE": "2",
            "LOCAL_WORLD_SIZE": "2",
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
        }
        logs.append(folder / f"log-{rank}")
        processes.append(start(logs[rank], target, *arguments, **environment))
    printed = [
        log.read_text() if finish(process) == 0 else pytest.fail(log.read_text())
        for process, log in zip(processes, logs, strict=True)
    ]
    return "".join(printed)
