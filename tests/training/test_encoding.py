import pytest

from ner.cli import InputError
from ner.model.hub import Base
from ner.model.tokenizer import encode_prompt, load_tokenizer
from ner.text.chats import load_chats
from ner.training.encoding import count_shared_tokens, encode_chat, encode_chats, hold_out

MESSAGES = [{"role": "user", "content": "봄"}, {"role": "assistant", "content": "{}"}]
WITHOUT_END = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
COUNTS_MESSAGES = (
    "{% for m in messages %}{{ loop.length }}{{ m['content'] }}[|endofturn|]{% endfor %}"
)


@pytest.fixture
def tokenizer(stand_in):
    return load_tokenizer(Base(str(stand_in)))


def test_newline_after_the_end_marker_is_left_out(tokenizer):
    row = encode_chat(MESSAGES, tokenizer, [tokenizer.eos_token_id])
    whole = tokenizer.apply_chat_template(MESSAGES, tokenize=False)
    assert tokenizer.decode(row["input_ids"]) + "\n" == whole


def test_prompt_is_encoded_as_in_use(tokenizer, chats_file):
    """Although a token joins the end of `[|assistant|]` with the beginning of an answer."""
    for messages in load_chats(chats_file):
        row = encode_chat(messages, tokenizer, [tokenizer.eos_token_id])
        prompt = encode_prompt(messages[:-1], tokenizer)
        answer = tokenizer(messages[-1]["content"])["input_ids"]
        assert row["input_ids"] == [*prompt, *answer, tokenizer.eos_token_id]
        assert row["labels"] == [*[-100] * len(prompt), *answer, tokenizer.eos_token_id]
        whole = tokenizer.apply_chat_template(messages)["input_ids"]
        assert whole[: len(row["input_ids"])] != row["input_ids"]


def test_whole_chat_under_the_loss(tokenizer):
    answer = encode_chat(MESSAGES, tokenizer, [tokenizer.eos_token_id])
    chat = encode_chat(MESSAGES, tokenizer, [tokenizer.eos_token_id], loss="chat")
    assert chat["labels"] == chat["input_ids"] == answer["input_ids"]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (WITHOUT_END, "no end marker"),
        (COUNTS_MESSAGES, "differently when an answer follows"),
    ],
)
def test_chat_template_that_cannot_be_trained_on(tokenizer, template, message):
    tokenizer.chat_template = template
    with pytest.raises(InputError, match=message):
        encode_chat(MESSAGES, tokenizer, [tokenizer.eos_token_id])


def test_long_chats_are_left_out_and_counted(tokenizer, chats_file, capsys):
    chats = load_chats(chats_file)
    end_tokens = [tokenizer.eos_token_id]
    lengths = sorted(len(encode_chat(chat, tokenizer, end_tokens)["input_ids"]) for chat in chats)
    limit = lengths[20]
    dataset = encode_chats(chats, tokenizer, end_tokens, max_length=limit)
    left_out = sum(length > limit for length in lengths)
    assert left_out
    assert len(dataset) == 24 - left_out
    assert f"{left_out} longer than {limit} tokens left out" in capsys.readouterr().out
    with pytest.raises(InputError, match=rf"10 tokens \(the shortest has {lengths[0]}\)"):
        encode_chats(chats, tokenizer, end_tokens, max_length=10)


@pytest.mark.parametrize(
    ("rows", "shared"),
    [
        ([([1, 2, 3, 4], 3), ([1, 2, 5, 6], 3)], 2),  # the third differs
        ([([1, 2, 3, 4], 2), ([1, 2, 3, 5], 2)], 1),  # the second token predicts the answer
        ([([1, 2, 3, 4], 3), ([1, 2, 3, 5], 2)], 1),  # the shorter prompt limits the prefix
        ([([1, 2], 0), ([1, 2], 0)], 0),  # the whole chat is under the loss
    ],
)
def test_shared_prefix_ends_before_the_token_that_predicts_an_answer(rows, shared):
    encoded = [
        {"input_ids": tokens, "labels": [-100] * first + tokens[first:]} for tokens, first in rows
    ]
    assert count_shared_tokens(encoded) == shared


def test_held_out_chats_are_not_trained_on(chats_file):
    """The 25th chat repeats the first one's sentence. If one is held out, the other is left out."""
    chats = load_chats(chats_file)
    twin = [chats[0][0], chats[0][1], {"role": "assistant", "content": "{}"}]
    for seed in range(10):
        rest, held_out = hold_out([*chats, twin], 6, seed)
        questions = {chat[1]["content"] for chat in held_out}
        assert len(held_out) == 6
        assert not questions & {chat[1]["content"] for chat in rest}
        twins = held_out.count(twin) + held_out.count(chats[0])
        assert len(rest) == (18 if twins == 1 else 19)


def test_nothing_is_held_out_by_default(chats_file):
    chats = load_chats(chats_file)
    assert hold_out(chats, 0, 1) == (chats, [])


def test_some_chats_must_be_left_to_train_on(chats_file):
    with pytest.raises(InputError, match="--validation 24 leaves no chat"):
        hold_out(load_chats(chats_file), 24, 1)
