"""Uninterrupted evaluations."""

from pathlib import Path

import pytest

from tests.evaluation.runs import ALL


def evaluate_all(adapter: Path, folder: Path, *flags: str) -> Path:
    """Evaluate an adapter on all 48 sentences. Returns the folder."""
    import evaluate_hub

    evaluate_hub.main(["--adapter", str(adapter), *ALL, *flags, "--output_dir", str(folder)])
    return folder


@pytest.fixture(scope="session")
def uninterrupted(adapter, tmp_path_factory) -> Path:
    """The folder of an uninterrupted evaluation."""
    return evaluate_all(adapter, tmp_path_factory.mktemp("uninterrupted"))


@pytest.fixture(scope="session")
def uninterrupted_marked(marked_adapter, tmp_path_factory) -> Path:
    """The folder of an uninterrupted evaluation of marked answers, without drafts."""
    return evaluate_all(marked_adapter, tmp_path_factory.mktemp("uninterrupted"), "--draft", "0")
