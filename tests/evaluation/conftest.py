"""An adapter for marked answers, and uninterrupted evaluations."""

from pathlib import Path

import pytest

from tests.evaluation.runs import ALL
from tests.helpers import MEMORIZE, SAMPLE


@pytest.fixture(scope="session")
def uninterrupted(adapter, tmp_path_factory) -> Path:
    """The folder of an uninterrupted evaluation."""
    import evaluate_hub

    folder = tmp_path_factory.mktemp("uninterrupted")
    evaluate_hub.main(["--adapter", str(adapter), *ALL, "--output_dir", str(folder)])
    return folder


@pytest.fixture(scope="session")
def marked_adapter(stand_in, tmp_path_factory) -> Path:
    """An adapter that has memorized the marked answers to 24 sentences, `train.jsonl` beside it."""
    import data_processing
    import train

    folder = tmp_path_factory.mktemp("marked")
    chats = folder / "train.jsonl"
    data_processing.preprocessing_data(str(SAMPLE), chats, num_samples=24, answer="marked")
    train.main(
        [
            *("--model", str(stand_in), "--data", str(chats)),
            *("--output_dir", str(folder / "adapter")),
            *("--checkpoint_dir", str(folder / "results"), *MEMORIZE),
        ]
    )
    return folder / "adapter"


@pytest.fixture(scope="session")
def uninterrupted_marked(marked_adapter, tmp_path_factory) -> Path:
    """The folder of an uninterrupted evaluation of marked answers, without drafts."""
    import evaluate_hub

    folder = tmp_path_factory.mktemp("uninterrupted")
    evaluate_hub.main(
        ["--adapter", str(marked_adapter), *ALL, "--draft", "0", "--output_dir", str(folder)]
    )
    return folder
