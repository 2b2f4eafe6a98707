"""An uninterrupted evaluation."""

from pathlib import Path

import pytest

from tests.evaluation.runs import ALL


@pytest.fixture(scope="session")
def uninterrupted(adapter, tmp_path_factory) -> Path:
    """The folder of an uninterrupted evaluation."""
    import evaluate_hub

    folder = tmp_path_factory.mktemp("uninterrupted")
    evaluate_hub.main(["--adapter", str(adapter), *ALL, "--output_dir", str(folder)])
    return folder
