"""Marked answers of an adapter that was trained for them: drafts change the speed alone."""

import pytest

from ner.inference.recognizer import LocalRecognizer
from ner.model.generation import AnswerGenerator
from ner.model.hub import Base
from ner.model.lora import load_recognizer
from ner.text.answers import Answer
from ner.text.chats import load_chats
from ner.text.corpus import load_split
from ner.text.marked import read_marked
from ner.text.task import build_task
from tests.helpers import SAMPLE


@pytest.fixture(scope="module")
def marked_model(marked_adapter, stand_in):
    # Merged because that halves the time of a call.
    return load_recognizer(Base(str(stand_in)), "float32", marked_adapter).merge_and_unload()


@pytest.fixture(scope="module")
def recognizer(marked_adapter, stand_in) -> LocalRecognizer:
    base = Base(str(stand_in))
    return LocalRecognizer(
        base, "float32", marked_adapter, "adapter", build_task("marked"), max_new_tokens=100
    )


def answer(
    model, recognizer, sentences: list[str], draft: int, constrain: bool, batch_size: int
) -> tuple[list[Answer], int]:
    """The answers in the order of the sentences, and the number of the model's calls."""
    calls = []
    handle = model.register_forward_pre_hook(lambda *arguments: calls.append(1))
    tokenizer = recognizer.tokenizer
    end_tokens = [tokenizer.eos_token_id]
    generator = AnswerGenerator(model, tokenizer, end_tokens, draft, constrain)
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
        ("sample_sentences", [(0, 16), (1, 16), (32, 16), (8, 1)]),
        ("klue_sentences", [(4, 16)]),
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
    assert len({item.text for item in expected}) > 1


def test_drafts_save_calls_of_the_model(marked_adapter, marked_model, recognizer):
    """On sentences whose answers the adapter has memorized."""
    chats = load_chats(marked_adapter.with_name("marked.jsonl"))
    sentences = [chat[1]["content"] for chat in chats]
    answers, _ = answer(marked_model, recognizer, sentences, 16, False, 16)
    copied = [
        sentence
        for sentence, item, chat in zip(sentences, answers, chats, strict=True)
        if item.text == chat[2]["content"]
    ]
    assert copied
    _, calls = answer(marked_model, recognizer, copied, 0, False, 1)
    _, fewer_calls = answer(marked_model, recognizer, copied, 16, False, 1)
    assert fewer_calls < 0.8 * calls


def test_constrained_answers_are_exact_copies(marked_model, recognizer, sample_sentences):
    """Except where they reach the token limit. Some free ones to new sentences are no copies."""
    readings = {}
    for constrain in (False, True):
        answers, _ = answer(marked_model, recognizer, sample_sentences, 8, constrain, 16)
        readings[constrain] = [
            read_marked(item.text, sentence)[0]["read"]
            for item, sentence in zip(answers, sample_sentences, strict=True)
            if item.stopped
        ]
    assert set(readings[False]) != {"copied"}
    assert set(readings[True]) == {"copied"}
