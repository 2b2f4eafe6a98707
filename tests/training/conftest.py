"""A trainer before its first step, an undisturbed run, and the record of a run."""

from pathlib import Path

import pytest

import train
from ner.model.hub import Base
from ner.training.run import describe_run
from tests.training.helpers import SAVE_EVERY_STEP, build_command, make_settings, make_trainer


@pytest.fixture(scope="module")
def trainer(stand_in, chats_file, tmp_path_factory):
    """The trainer of the default settings without packing, before its first step."""
    folder = tmp_path_factory.mktemp("run")
    return make_trainer(make_settings(*build_command(stand_in, chats_file, folder, "--no-pack")))


@pytest.fixture(scope="session")
def six_steps(stand_in, chats_file, write_once) -> Path:
    """The folder of an undisturbed run of six steps, with its last two checkpoints."""
    return write_once(
        "six-steps",
        lambda folder: train.main(build_command(stand_in, chats_file, folder, *SAVE_EVERY_STEP)),
    )


@pytest.fixture(scope="module")
def run(chats_file) -> dict:
    """The description of a run with default settings."""
    return describe_run(make_settings("--data", str(chats_file)), Base("alice/base", "c0ffee"))
