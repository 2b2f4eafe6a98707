"""A client process of a loopback hub, which runs scripts in forks of itself.

The hub's library reads its endpoint when it is imported. So the scripts cannot run in the tests'
own process, and a process for each one would import PyTorch again. A fork takes milliseconds.

    with HubClient(hub, home, "ner.training.faults") as client:
        done = client.run("hf_alice", tmp_path, "train.py", "--resume")

This file is also the client's program.
"""

import importlib
import json
import multiprocessing
import os
import runpy
import subprocess
import sys
from pathlib import Path

from tests.helpers import ROOT
from tests.loopback_hub import LoopbackHub

SECONDS_TO_FINISH = 600


class HubClient:
    """Runs scripts as clients of `hub` with their cache in `home`. Imports `modules` once."""

    def __init__(self, hub: LoopbackHub, home: Path, *modules: str) -> None:
        self.hub, self.home = hub, home
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.hub_client", *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            # A fork has only the thread that forked.
            env=hub.environment(home) | {"OMP_NUM_THREADS": "1"},
        )

    def __enter__(self) -> "HubClient":
        return self

    def __exit__(self, *error: object) -> None:
        self.process.communicate()

    def run(
        self, token: str, folder: Path, script: str, *arguments: object
    ) -> subprocess.CompletedProcess:
        """Run a script of this project in `folder`. Checks that nothing printed holds the token."""
        command = [str(ROOT / script), *map(str, arguments)]
        outputs = [str(folder / f"{Path(script).name}.{name}") for name in ("stdout", "stderr")]
        self.process.stdin.write(json.dumps([token, str(folder), *outputs, *command]) + "\n")
        self.process.stdin.flush()
        code = int(self.process.stdout.readline())
        printed = [Path(output).read_text(encoding="utf-8") for output in outputs]
        assert not [text for text in printed if token and token in text]
        return subprocess.CompletedProcess(command, code, *printed)


def run_script(token: str, folder: str, stdout: str, stderr: str, *command: str) -> None:
    """Run a script as Python would, in this process."""
    for number, path in ((1, stdout), (2, stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.environ["HF_TOKEN"] = token
    os.chdir(folder)
    sys.argv = list(command)
    runpy.run_path(command[0], run_name="__main__")


def serve() -> None:
    """Run the scripts of standard input one by one, and print their exit codes."""
    for module in sys.argv[1:]:
        importlib.import_module(module)
    context = multiprocessing.get_context("fork")
    for line in sys.stdin:
        process = context.Process(target=run_script, args=json.loads(line))
        process.start()
        process.join(SECONDS_TO_FINISH)
        process.kill()  # if it does not end
        process.join()
        print(process.exitcode, flush=True)


if __name__ == "__main__":
    serve()
