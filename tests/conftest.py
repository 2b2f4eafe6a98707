"""Fixtures that all tests share, on a machine with neither a login nor a network."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from tests.evaluation.runs import ALL, evaluate
from tests.helpers import KLUE_COPY, ROOT, SAMPLE, train_until_memorized

# The hub's client reads these when it is imported.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HOME"] = str(ROOT / ".pytest_cache" / "huggingface")
os.environ.pop("HF_TOKEN", None)


@pytest.fixture(scope="session")
def write_once(tmp_path_factory) -> Callable[[str, Callable[[Path], object]], Path]:
    """Write a folder that all processes of this run share, and return it. Change nothing there.

    The first process that asks for it writes it, and the others wait.
    """
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def write_once(name: str, write: Callable[[Path], object]) -> Path:
        folder, complete = root / name, root / f"{name}.complete"
        with FileLock(root / f"{name}.lock"):
            if not complete.exists():
                folder.mkdir()
                write(folder)
                complete.touch()
        return folder

    return write_once


@pytest.fixture(scope="session")
def stand_in(write_once) -> Path:
    """The tiny random EXAONE."""
    from tests.stand_in import write_stand_in

    name = "EXAONE-stand-in"
    return write_once("model", lambda folder: write_stand_in(folder / name)) / name


@pytest.fixture(scope="session")
def bert(tmp_path_factory) -> Path:
    """The tiny random BERT."""
    from tests.small_bert import write_bert

    folder = tmp_path_factory.mktemp("model") / "bert"
    write_bert(folder)
    return folder


def write_chats(folder: Path, **settings: str) -> Path:
    """Write the training chats of 24 sentences of the sample corpus."""
    import data_processing

    data_processing.preprocessing_data(
        str(SAMPLE), folder / "train.jsonl", num_samples=24, **settings
    )
    return folder / "train.jsonl"


@pytest.fixture(scope="session")
def chats_file(write_once) -> Path:
    """The training chats of 24 sentences of the sample corpus."""
    return write_once("data", write_chats) / "train.jsonl"


@pytest.fixture(scope="session")
def adapter(stand_in, chats_file, write_once) -> Path:
    """An adapter that train.py trained in 4-bit until it memorized those sentences."""

    def write(folder: Path) -> None:
        train_until_memorized(stand_in, chats_file, folder / "EXAONE-adapter")

    return write_once("trained", write) / "EXAONE-adapter"


@pytest.fixture(scope="session")
def marked_adapter(stand_in, write_once) -> Path:
    """An adapter that has memorized the marked answers to 24 sentences, `train.jsonl` beside it."""

    def write(folder: Path) -> None:
        chats = write_chats(folder, answer="marked")
        train_until_memorized(stand_in, chats, folder / "adapter")

    return write_once("marked", write) / "adapter"


@pytest.fixture(scope="session")
def uninterrupted(adapter, write_once) -> Path:
    """The folder of an uninterrupted evaluation of all 48 sentences."""
    return write_once("uninterrupted", lambda folder: evaluate(adapter, folder, *ALL))


@pytest.fixture(scope="session")
def recognizer(adapter, stand_in):
    """The adapter on its base, unquantized and in float32."""
    from ner.inference.recognizer import LocalRecognizer
    from ner.model.hub import Base
    from ner.text.task import build_task

    return LocalRecognizer(
        Base(str(stand_in)), "float32", adapter, str(adapter), build_task(), max_new_tokens=100
    )


@pytest.fixture(scope="session")
def generator(recognizer):
    from ner.model.generation import AnswerGenerator
    from ner.model.lora import load_recognizer

    model = load_recognizer(recognizer.base, recognizer.precision, recognizer.adapter)
    tokenizer = recognizer.tokenizer
    return AnswerGenerator(model, tokenizer, [tokenizer.eos_token_id])


@pytest.fixture(scope="session")
def prompts(recognizer) -> list[list[int]]:
    """The prompts of all 48 sentences, half of which training has never seen."""
    from ner.text.corpus import load_split

    sentences = load_split(str(SAMPLE), "train")["sentence"]
    return [recognizer.encode_prompt(sentence) for sentence in sentences]


@pytest.fixture
def klue_copy() -> Path:
    """A local copy of KLUE-NER in the hub's layout, if there is one."""
    if not KLUE_COPY.is_dir():
        pytest.skip("no local copy of KLUE-NER beside the project")
    return KLUE_COPY
