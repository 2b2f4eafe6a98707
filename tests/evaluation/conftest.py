"""Uninterrupted evaluations."""

from pathlib import Path

import pytest

from tests.evaluation.runs import ALL


def evaluate_all(adapter: Path, folder: Path, *flags: str) -> None:
    """Evaluate an adapter on all 48 sentences."""
    import evaluate_hub

    evaluate_hub.main(["--adapter", str(adapter), *ALL, *flags, "--output_dir", str(folder)])


@pytest.fixture(scope="session")
def uninterrupted(adapter, write_once) -> Path:
    """The folder of an uninterrupted evaluation."""
    return write_once("uninterrupted", lambda folder: evaluate_all(adapter, folder))


@pytest.fixture(scope="session")
def uninterrupted_marked(marked_adapter, write_once) -> Path:
    """The folder of an uninterrupted evaluation of marked answers, without drafts."""
    return write_once(
        "uninterrupted-marked",
        lambda folder: evaluate_all(marked_adapter, folder, "--draft", "0"),
    )
