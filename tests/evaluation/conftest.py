"""An uninterrupted evaluation."""

from pathlib import Path

import pytest

from tests.evaluation.runs import ALL, read_metrics


@pytest.fixture(scope="session")
def uninterrupted(adapter, tmp_path_factory) -> dict:
    """The metrics of an uninterrupted evaluation."""
    import evaluate_hub

    folder: Path = tmp_path_factory.mktemp("uninterrupted")
    evaluate_hub.main(["--adapter", str(adapter), *ALL, "--output_dir", str(folder)])
    return read_metrics(folder)
