"""A trainer before its first step, and a run that nothing disturbed."""

from pathlib import Path

import pytest

import train
from tests.training.helpers import SAVE_EVERY_STEP, build_command, make_settings, make_trainer


@pytest.fixture(scope="module")
def trainer(stand_in, chats_file, tmp_path_factory):
    """The trainer of the default settings without packing, before its first step."""
    folder = tmp_path_factory.mktemp("run")
    return make_trainer(make_settings(*build_command(stand_in, chats_file, folder, "--no-pack")))


@pytest.fixture(scope="session")
def six_steps(stand_in, chats_file, tmp_path_factory) -> Path:
    """The folder of an undisturbed run of six steps, with its last two checkpoints."""
    folder = tmp_path_factory.mktemp("six-steps")
    train.main(build_command(stand_in, chats_file, folder, *SAVE_EVERY_STEP))
    return folder
