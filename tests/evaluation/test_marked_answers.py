"""Marked answers of an adapter that was trained for them: drafts change the speed alone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import data_processing
import evaluate_hub
import train
from ner.evaluation.recognizer import LocalRecognizer
from ner.model.copying import CopyRules
from ner.model.generation import AnswerGenerator
from ner.model.hub import Base
from ner.model.lora import load_recognizer
from ner.text.answers import Answer
from ner.text.chats import load_chats
from ner.text.corpus import load_split
from ner.text.marked import read_marked
from tests.evaluation.runs import ALL, read_lines
from tests.helpers import MEMORIZE, ROOT, SAMPLE

SCRIPT = str(ROOT / "evaluate_hub.py")


@pytest.fixture(scope="module")
def marked_adapter(stand_in, tmp_path_factory) -> Path:
    """An adapter that has memorized the marked answers to 24 sentences."""
    folder = tmp_path_factory.mktemp("marked")
    chats = folder / "train.jsonl"
    data_processing.preprocessing_data(str(SAMPLE), chats, num_samples=24, answer="marked")
    train.main(
        [
            *("--model", str(stand_in), "--data", str(chats)),
            *("--output_dir", str(folder / "adapter")),
            *("--checkpoint_dir", str(folder / "results"), *MEMORIZE, "--max_steps", "200"),
        ]
    )
    return folder / "adapter"


@pytest.fixture(scope="module")
def marked_model(marked_adapter, stand_in):
    return load_recognizer(Base(str(stand_in)), "float32", marked_adapter)


@pytest.fixture(scope="module")
def recognizer(marked_adapter, stand_in) -> LocalRecognizer:
    base = Base(str(stand_in))
    return LocalRecognizer(base, "float32", marked_adapter, "adapter", "marked", max_new_tokens=100)


def answer(
    model, recognizer, sentences: list[str], draft: int, constrain: bool, batch_size: int
) -> tuple[list[Answer], int]:
    """The answers in the order of the sentences, and the number of the model's calls."""
    calls = []
    handle = model.register_forward_pre_hook(lambda *arguments: calls.append(1))
    rules = CopyRules(recognizer.tokenizer, [recognizer.tokenizer.eos_token_id], draft, constrain)
    generator = AnswerGenerator(model, recognizer.tokenizer, rules.end_tokens, rules)
    sentences = dict(enumerate(sentences))
    prompts = {index: recognizer.encode_prompt(text) for index, text in sentences.items()}
    prefix = recognizer.find_prefix(list(prompts.values())) if batch_size > 1 else []
    answers = sorted(generator.generate(prompts, prefix, batch_size, 100, sentences))
    handle.remove()
    return answers, len(calls)


@pytest.fixture(scope="module")
def sample_sentences() -> list[str]:
    return load_split(str(SAMPLE), "train")["sentence"][:]


@pytest.fixture
def klue_sentences(klue_copy) -> list[str]:
    return ["".join(tokens) for tokens in load_split(str(klue_copy), "validation")["tokens"][:100]]


@pytest.mark.parametrize("constrain", [False, True], ids=["free", "constrained"])
@pytest.mark.parametrize(
    ("corpus", "ways"),
    [
        ("sample_sentences", [(0, 16), (1, 16), (8, 16), (32, 16), (8, 1)]),
        ("klue_sentences", [(4, 16), (16, 1)]),
    ],
)
def test_drafts_change_no_answer(marked_model, recognizer, constrain, corpus, ways, request):
    """Whatever the number of drafted tokens, and in batches as alone."""
    sentences = request.getfixturevalue(corpus)
    expected, _ = answer(marked_model, recognizer, sentences, 0, constrain, 1)
    for draft, batch_size in ways:
        found, _ = answer(marked_model, recognizer, sentences, draft, constrain, batch_size)
        assert [item[:3] for item in found] == [item[:3] for item in expected]
        for item, other in zip(found, expected, strict=True):
            assert [piece.end for piece in item.pieces] == [piece.end for piece in other.pieces]
            logprobs = [piece.logprob for piece in other.pieces]
            assert [piece.logprob for piece in item.pieces] == pytest.approx(logprobs, abs=1e-3)
    assert len({item.text for item in expected}) > 24


def test_drafts_save_calls_of_the_model(marked_adapter, marked_model, recognizer):
    """On sentences that the adapter copies well, which are some of those it has memorized."""
    chats = load_chats(marked_adapter.parent / "train.jsonl")
    sentences = [chat[1]["content"] for chat in chats]
    answers, _ = answer(marked_model, recognizer, sentences, 16, False, 16)
    copied = [
        sentence
        for sentence, item, chat in zip(sentences, answers, chats, strict=True)
        if item.text == chat[2]["content"]
    ]
    assert len(copied) > 8
    _, calls = answer(marked_model, recognizer, copied, 0, False, 1)
    _, fewer_calls = answer(marked_model, recognizer, copied, 16, False, 1)
    assert fewer_calls < 0.6 * calls


def test_constrained_answers_are_exact_copies(marked_model, recognizer, sample_sentences):
    """Except where they reach the token limit. Free ones to new sentences are poor copies."""
    readings = {}
    for constrain in (False, True):
        answers, _ = answer(marked_model, recognizer, sample_sentences, 8, constrain, 16)
        readings[constrain] = [
            read_marked(item.text, sentence)[0]["read"]
            for item, sentence in zip(answers, sample_sentences, strict=True)
            if item.stopped
        ]
    assert readings[False].count("copied") < 30
    assert len(readings[True]) > 40
    assert set(readings[True]) == {"copied"}


@pytest.fixture(scope="module")
def flags(marked_adapter) -> list[str]:
    return ["--adapter", str(marked_adapter), *ALL]


@pytest.fixture(scope="module")
def uninterrupted(flags, tmp_path_factory) -> list[dict]:
    """The lines of an evaluation without drafts."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    evaluate_hub.main([*flags, "--draft", "0", "--output_dir", str(folder)])
    return read_answers(folder)


def read_answers(folder: Path) -> list[dict]:
    """The lines of the predictions without the probabilities, whose last digits may differ."""
    lines = read_lines(folder)
    assert all(line.pop("pieces") for line in lines[1:])
    for line in lines[1:]:
        for mention in line["diagnosis"]["mentions"]:
            del mention["confidence"]
    return lines


def test_killed_evaluation_continues_to_the_same_answers(flags, uninterrupted, tmp_path):
    flags = [*flags, "--output_dir", str(tmp_path), "--batch_size", "4"]
    process = subprocess.Popen(
        [sys.executable, SCRIPT, *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    path = tmp_path / "predictions.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if path.is_file() and path.read_bytes().count(b"\n") > 6:
            break
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "metrics.json").exists()
    evaluate_hub.main(flags)
    assert read_answers(tmp_path) == uninterrupted


def test_two_processes_give_the_same_answers(flags, uninterrupted, tmp_path):
    launch = [
        *("launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"),
        *("--mixed_precision", "no", "--dynamo_backend", "no"),
    ]
    command = [sys.executable, "-m", "accelerate.commands.accelerate_cli", *launch, SCRIPT]
    done = subprocess.run(
        [*command, *flags, "--output_dir", str(tmp_path)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert read_answers(tmp_path) == uninterrupted
