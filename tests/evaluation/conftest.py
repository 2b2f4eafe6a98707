"""Fixtures around the adapter that has memorized 24 of the 48 sentences of the sample corpus."""

from pathlib import Path

import pytest

from tests.evaluation.runs import ALL, read_metrics
from tests.helpers import SAMPLE


@pytest.fixture(scope="session")
def recognizer(adapter, stand_in):
    """The adapter on its base, unquantized and in float32."""
    from ner.evaluation.recognizer import LocalRecognizer
    from ner.model.hub import Base

    return LocalRecognizer(
        Base(str(stand_in)), "float32", adapter, str(adapter), "basic", max_new_tokens=100
    )


@pytest.fixture(scope="session")
def generator(recognizer):
    from ner.evaluation.generation import AnswerGenerator
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


@pytest.fixture(scope="session")
def uninterrupted(adapter, tmp_path_factory) -> dict:
    """The metrics of an evaluation that nothing interrupted."""
    import evaluate_hub

    folder: Path = tmp_path_factory.mktemp("uninterrupted")
    evaluate_hub.main(["--adapter", str(adapter), *ALL, "--output_dir", str(folder)])
    return read_metrics(folder)
