"""The commands of `make rehearse`, which train the adapters of the tests."""

import shlex
import subprocess
from pathlib import Path

from tests.helpers import ROOT, SAMPLE, run_here


def list_commands(target: str, folder: Path, stand_in: Path) -> list[list[str]]:
    """The scripts of a target of the Makefile, with their flags, for another folder.

    Without the target's prerequisite, the stand-in.
    """
    variables = {"RUN": "", "REHEARSAL": folder, "SAMPLE": SAMPLE, "STAND_IN": stand_in}
    command = ["make", "--dry-run", "--no-print-directory", "--old-file=rehearse-stand-in", target]
    command += [f"{name}={value}" for name, value in variables.items()]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    return [shlex.split(line) for line in done.stdout.replace("\\\n", " ").splitlines()]


def rehearse(target: str, folder: Path, stand_in: Path) -> None:
    """Run a target of the Makefile in this process, which has imported PyTorch."""
    for script, *arguments in list_commands(target, folder, stand_in):
        run_here(script, *arguments)
