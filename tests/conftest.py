"""Fixtures that all tests share, on a machine with neither a login nor a network."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from tests.evaluation.runs import ALL, evaluate
from tests.helpers import KLUE_COPY, ROOT, SAMPLE
from tests.rehearsal import rehearse

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


@pytest.fixture(scope="session")
def chats_file(write_once) -> Path:
    """The training chats of 24 sentences of the sample corpus."""
    from data_processing import preprocessing_data

    def write(folder: Path) -> None:
        preprocessing_data(str(SAMPLE), folder / "train.jsonl", num_samples=24)

    return write_once("data", write) / "train.jsonl"


@pytest.fixture(scope="session")
def adapter(stand_in, write_once) -> Path:
    """The adapter of `make rehearse-json`, which has memorized those sentences."""
    folder = write_once("json", lambda folder: rehearse("rehearse-json", folder, stand_in))
    return folder / "EXAONE-stand-in-KLUE-NER-LoRA"


@pytest.fixture(scope="session")
def marked_adapter(stand_in, write_once) -> Path:
    """The adapter of `make rehearse-marked`, `marked.jsonl` beside it."""
    folder = write_once("marked", lambda folder: rehearse("rehearse-marked", folder, stand_in))
    return folder / "EXAONE-stand-in-marked-LoRA"


@pytest.fixture(scope="session")
def finished_evaluation(adapter) -> Path:
    """The folder of the rehearsal's evaluation of the 24 memorized sentences."""
    return adapter.with_name("evaluation")


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
