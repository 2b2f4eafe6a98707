"""Batches, a shared prefix and long answers change the speed and never the answers."""

import itertools

import pytest
import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from ner.model.generation import AnswerGenerator, PartialAnswer, find_shared_prefix
from ner.text.marked import read_marked
from ner.text.prompts import SYSTEM_PROMPTS


def collect(generator, prompts, prefix, batch_size, max_new_tokens) -> list[str]:
    """The answers to prompts, in the order of the prompts."""
    answers = generator.generate(dict(enumerate(prompts)), prefix, batch_size, max_new_tokens)
    return [answer.text for answer in sorted(answers)]


def build_copying(generator, draft: int) -> AnswerGenerator:
    """A generator with the same model whose copies are drafted and enforced."""
    return AnswerGenerator(
        generator.model, generator.tokenizer, generator.end_tokens, draft, constrain=True
    )


@pytest.fixture(scope="module")
def single(generator, prompts) -> list[str]:
    """The answers to the 48 sentences, one at a time."""
    return collect(generator, prompts, [], 1, 100)


def test_prefix_is_shared_by_all_prompts_and_none_of_them_whole():
    assert find_shared_prefix([[1, 2, 3], [1, 2, 4, 5]]) == [1, 2]
    assert find_shared_prefix([[1, 2], [1, 2, 3]]) == [1]
    assert find_shared_prefix([[1, 2], [2, 1]]) == []


def test_batches_answer_like_single_sentences(generator, recognizer, prompts, single):
    """The 48 answers do not depend on the shared prefix or the batch size."""
    prefix = recognizer.find_prefix(prompts)
    # A token may join the end of `[|user|]` with the beginning of a sentence.
    system_turn = f"[|system|]{SYSTEM_PROMPTS['basic']}[|endofturn|]\n[|user"
    assert generator.tokenizer.decode(prefix) == system_turn
    assert single == collect(generator, prompts, prefix, 16, 100)
    assert single == collect(generator, prompts, [], 16, 100)
    assert len(set(single)) > 24


def test_answers_are_those_of_generate(generator, prompts):
    """Transformers' own greedy generation, one sentence at a time."""
    prompts = prompts[:12]
    expected = []
    for prompt in prompts:
        [output] = generator.model.generate(
            input_ids=torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt)),
            max_new_tokens=60,
            do_sample=False,
        )
        answer = output[len(prompt) :]
        expected.append(generator.tokenizer.decode(answer, skip_special_tokens=True))
    assert collect(generator, prompts, [], 12, 60) == expected


def test_head_gets_no_slice(generator, prompts):
    """PyTorch would multiply a slice row by row, with a copy of the head's weights for each."""
    shapes = []

    def check(module, inputs) -> None:
        assert inputs[0].is_contiguous()
        shapes.append(inputs[0].shape[:2])

    hook = generator.model.get_output_embeddings().register_forward_pre_hook(check)
    collect(generator, prompts[:4], [], 4, 3)
    hook.remove()
    assert {width for _, width in shapes} == {1}


def test_finished_sentences_leave_the_batch(generator, prompts):
    sizes = []
    head = generator.model.get_base_model().lm_head
    handle = head.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    answers = list(generator.generate(dict(enumerate(prompts[:8])), [], 8, 100))
    handle.remove()
    assert all(answer.stopped for answer in answers)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == 8
    assert sizes[-1] < 8


def test_answer_that_reaches_the_limit_is_not_stopped(generator, prompts, single):
    longest = max(range(len(prompts)), key=lambda index: len(single[index]))
    [answer] = generator.generate({longest: prompts[longest]}, [], 1, 2)
    assert not answer.stopped
    assert single[longest].startswith(answer.text)
    assert len(answer.text) < len(single[longest])


def test_indices_of_the_prompts_come_back_with_their_answers(generator, prompts):
    answers = generator.generate({7: prompts[7], 3: prompts[3]}, [], 2, 100)
    texts = {answer.index: answer.text for answer in answers}
    assert texts == {index: collect(generator, [prompts[index]], [], 1, 100)[0] for index in (7, 3)}


def test_long_answers_are_set_aside_and_finished_together(generator, prompts, single, monkeypatch):
    """The last two of each batch of 16 wait, then continue where they were, in one batch."""
    calls, extend_batch = [], AnswerGenerator.extend_batch

    def record(self, answers, *rest):
        before = [list(answer.chat) for answer in answers]
        extend_batch(self, answers, *rest)
        waiting = [list(answer.chat) for answer in answers if not answer.is_finished]
        calls.append((before, waiting))

    monkeypatch.setattr(AnswerGenerator, "extend_batch", record)
    batched = collect(generator, prompts, [], 16, 100)
    waiting = [chat for _, chats in calls[:3] for chat in chats]
    assert 3 <= len(waiting) <= 6
    assert [len(before) for before, _ in calls] == [16, 16, 16, len(waiting)]
    assert sorted(waiting) == sorted(calls[3][0])
    assert calls[3][1] == []
    assert batched == single


def test_prefix_is_computed_once(generator, recognizer, prompts):
    shapes = []
    embedding = generator.model.get_base_model().get_input_embeddings()
    handle = embedding.register_forward_hook(
        lambda module, inputs, output: shapes.append(inputs[0].shape)
    )
    prefix = recognizer.find_prefix(prompts)
    list(generator.generate({0: prompts[0]}, [], 1, 1))  # another test's prefix is not kept
    shapes.clear()
    for _ in range(2):  # also for further calls
        list(generator.generate(dict(enumerate(prompts[:8])), prefix, 4, 2))
    handle.remove()
    longest = max(len(prompt) for prompt in prompts[:8])
    assert shapes[0] == (1, len(prefix))
    assert all(length <= longest - len(prefix) for _, length in shapes[1:])


def test_batch_that_does_not_fit_is_halved(generator, prompts, monkeypatch, capsys):
    expected = collect(generator, prompts[:10], [], 10, 20)
    sizes, extend_batch = [], AnswerGenerator.extend_batch

    def fit_three(self, answers, *rest):
        sizes.append(len(answers))
        if len(answers) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        extend_batch(self, answers, *rest)

    monkeypatch.setattr(AnswerGenerator, "extend_batch", fit_three)
    assert collect(generator, prompts[:10], [], 10, 20) == expected
    assert sizes == [10, 5, 2, 2, 2, 2, 2]
    message = "out of memory with 10 sentences at a time; continuing with 5"
    assert message in capsys.readouterr().out


def test_batch_that_runs_out_of_memory_late_goes_on_where_it_stood(generator, prompts, monkeypatch):
    """With copies that are drafted and enforced."""
    copying = build_copying(generator, 4)
    sentences = {index: f"가나다라마바사 {index}" for index in range(4)}
    few = {index: prompts[index] for index in sentences}
    expected = sorted(copying.generate(few, [], 4, 100, sentences))
    extend_answers, lengths = AnswerGenerator.extend_answers, []

    def fail_once(self, answers, *rest):
        lengths.append({answer.index: len(answer.tokens) for answer in answers})
        if len(lengths) == 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return extend_answers(self, answers, *rest)

    monkeypatch.setattr(AnswerGenerator, "extend_answers", fail_once)
    found = sorted(copying.generate(few, [], 4, 100, sentences))
    assert [answer[:3] for answer in found] == [answer[:3] for answer in expected]
    assert lengths[4].items() <= lengths[3].items()
    assert min(lengths[4].values()) > 0


def test_each_token_of_an_answer_has_its_end_and_its_probability(generator, prompts, monkeypatch):
    """Compared with the probabilities of the whole chat, computed at once."""
    partial, decode = {}, AnswerGenerator.decode

    def record(self, answer):
        partial[answer.index] = answer
        return decode(self, answer)

    monkeypatch.setattr(AnswerGenerator, "decode", record)
    for answer in generator.generate(dict(enumerate(prompts[:16])), [], 16, 100):
        ends = [0, *(piece.end for piece in answer.pieces)]
        parts = [answer.text[start:end] for start, end in itertools.pairwise(ends)]
        assert "".join(parts) == answer.text.rstrip("\ufffd")  # cut off within a character
        chat, length = partial[answer.index].chat, len(answer.pieces)
        assert parts[0] == generator.tokenizer.decode(chat[-length])
        with torch.inference_mode():
            logits = generator.model(input_ids=torch.tensor([chat])).logits[0]
        logprobs = logits[-length - 1 : -1].log_softmax(dim=-1)
        expected = logprobs.gather(1, torch.tensor(chat[-length:])[:, None])[:, 0].tolist()
        assert [piece.logprob for piece in answer.pieces] == pytest.approx(expected, abs=1e-4)


def test_token_that_ends_within_a_character_ends_before_it(generator):
    """Three bytes of a syllable, one token each."""
    tokenizer = generator.tokenizer
    tokens = tokenizer.convert_tokens_to_ids(["a", "ë", "·", "ģ"])
    assert None not in tokens and tokenizer.decode(tokens) == "a뷁"
    answer = PartialAnswer(0, [], 9, tokens=tokens, logprobs=[0.0] * 4)
    assert [piece.end for piece in generator.decode(answer).pieces] == [1, 1, 1, 2]


def test_drafts_do_not_disturb_a_sliding_window(generator, recognizer, prompts):
    """A random Gemma whose window is shorter than a chat, held to exact copies."""
    tokenizer = generator.tokenizer
    config = Gemma3TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        sliding_window=16,
        layer_types=["sliding_attention", "full_attention"],
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Gemma3ForCausalLM(config).eval()
    sentences = dict(enumerate(["손흥민은 춘천에서 태어났다.", "봄이 왔다"]))
    few = {index: prompts[index][:40] for index in sentences}
    answers = {}
    for draft in (0, 3, 8):
        drafting = AnswerGenerator(model, tokenizer, generator.end_tokens, draft, constrain=True)
        answers[draft] = [a[:3] for a in sorted(drafting.generate(few, [], 1, 100, sentences))]
    assert answers[0] == answers[3] == answers[8]


def test_json_and_marked_answers_in_one_batch(generator, prompts):
    """Only the sentence that is given is copied. The other answer stays what it was."""
    copying = build_copying(generator, 4)
    free, copied = sorted(copying.generate({0: prompts[0], 1: prompts[1]}, [], 2, 100, {1: "봄이"}))
    assert free.text == collect(generator, prompts[:1], [], 1, 100)[0]
    assert read_marked(copied.text, "봄이")[0]["read"] == "copied"


def test_limit_within_a_draft(generator, prompts):
    copying = build_copying(generator, 8)
    sentence = {0: "가나다라마바사아자차카타파하"}
    [whole] = copying.generate({0: prompts[0]}, [], 1, 100, sentence)
    for limit in (1, 2, 5):
        [answer] = copying.generate({0: prompts[0]}, [], 1, limit, sentence)
        assert not answer.stopped
        assert len(answer.pieces) == limit
        assert whole.text.startswith(answer.text.rstrip("\ufffd"))


@pytest.mark.parametrize(
    ("count", "error"),
    [
        (10, RuntimeError("a bug")),
        (1, torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")),
    ],
    ids=["another error", "a single sentence"],
)
def test_error_that_halving_does_not_help_is_raised(generator, prompts, monkeypatch, count, error):
    def fail(*arguments):
        raise error

    monkeypatch.setattr(AnswerGenerator, "extend_batch", fail)
    with pytest.raises(RuntimeError, match=str(error)):
        collect(generator, prompts[:count], [], 10, 20)
