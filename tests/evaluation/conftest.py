"""Evaluations that several tests read."""

from pathlib import Path

import pytest

from tests.evaluation.runs import ALL, evaluate


@pytest.fixture(scope="session")
def uninterrupted_marked(marked_adapter, write_once) -> Path:
    """The folder of an uninterrupted evaluation of marked answers, without drafts."""
    return write_once(
        "uninterrupted-marked",
        lambda folder: evaluate(marked_adapter, folder, *ALL, "--draft", "0"),
    )
