"""What the tests share: the stand-in model, a trained adapter, and a machine with neither login nor network."""
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HOME"] = str(ROOT / ".pytest_cache" / "huggingface")
os.environ.pop("HF_TOKEN", None)

import pytest  # noqa: E402

import data_processing  # noqa: E402
import exaone  # noqa: E402

SAMPLE = ROOT / "data" / "sample"
KLUE_COPY = ROOT.parent / "shared" / "klue-ner"
MEMORISE = ["--batch_size", "8", "--gradient_accumulation", "2", "--max_steps", "120", "--learning_rate", "5e-3",
            "--lr_scheduler", "constant", "--logging_steps", "40"]


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory) -> Path:
    """The tiny random EXAONE."""
    folder = tmp_path_factory.mktemp("model") / "EXAONE-stand-in"
    exaone.main([str(folder)])
    return folder


@pytest.fixture(scope="session")
def chats_file(tmp_path_factory) -> Path:
    """The training chats of 24 sentences of the sample corpus."""
    path = tmp_path_factory.mktemp("data") / "train.jsonl"
    data_processing.main(["--dataset", str(SAMPLE), "--num_samples", "24", "--output", str(path)])
    return path


@pytest.fixture(scope="session")
def adapter(stand_in, chats_file, tmp_path_factory) -> Path:
    """An adapter that has memorised those sentences, by train.py in 4-bit."""
    import train
    folder = tmp_path_factory.mktemp("trained") / "EXAONE-adapter"
    train.main(["--model", str(stand_in), "--data", str(chats_file), "--output_dir", str(folder),
                "--checkpoint_dir", str(folder.parent / "results"), *MEMORISE])
    return folder


@pytest.fixture
def klue_copy() -> Path:
    """A local copy of KLUE-NER in the hub's layout, where there is one."""
    if not KLUE_COPY.is_dir():
        pytest.skip("no local copy of KLUE-NER beside the project")
    return KLUE_COPY
