"""The commands of `make rehearse`, which train the adapters of the tests."""

import shlex
import subprocess
from pathlib import Path

import pytest

from tests.helpers import ROOT, SAMPLE, run_here


def rehearse(target: str, folder: Path, stand_in: Path) -> None:
    """Run the scripts of a target of the Makefile in this process, with outputs in `folder`.

    Its prerequisite, the stand-in, is there already.
    """
    paths = {"REHEARSAL": folder, "SAMPLE": SAMPLE, "STAND_IN": stand_in}
    variables = [f"{name}={shlex.quote(str(path))}" for name, path in paths.items()]
    command = ["make", "--dry-run", "--no-print-directory", "--old-file=rehearse-stand-in", target]
    printed = subprocess.run(
        [*command, *variables, "RUN="], check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ).stdout
    for line in printed.replace("\\\n", " ").splitlines():
        script, *arguments = shlex.split(line)
        try:
            run_here(script, *arguments)
        except SystemExit as stop:
            pytest.fail(f"{script}: {stop}")
