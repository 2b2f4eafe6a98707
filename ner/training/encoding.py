"""Turn chats into token ids and labels."""

import os

import torch
from datasets import Dataset
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from ner.cli import InputError
from ner.model.process import get_process
from ner.model.tokenizer import encode_prompt

IGNORED = -100  # the label of a token without loss


def encode_chat(
    messages: list[dict],
    tokenizer: PreTrainedTokenizerBase,
    end_tokens: list[int],
    loss: str = "answer",
) -> dict:
    """Encode a chat up to its end marker.

    Returns `input_ids` and `labels`, two lists of equal length. The labels cover the answer and its
    end marker. If `loss` is "chat", they cover the whole chat. Tokens that the template writes
    after the marker (EXAONE's newline) are left out, because nothing follows an answer in use.

    Prompt and answer are encoded apart, as in use: a tokenizer may have a token for the last
    character of EXAONE's `[|assistant|]` and the first of an answer. Raises InputError if the
    template changes the prompt when an answer follows, or writes no marker.
    """
    question = tokenizer.apply_chat_template(
        messages[:-1], add_generation_prompt=True, tokenize=False
    )
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    if not text.startswith(question):
        raise InputError(
            "the chat template writes a prompt differently when an answer follows it, so the model "
            "would learn to answer prompts that it never gets. Choose another --model"
        )
    prompt = encode_prompt(messages[:-1], tokenizer)
    rest = text.removeprefix(question)
    answer = tokenizer(rest, add_special_tokens=False)["input_ids"]
    end = next((i for i, token in enumerate(answer, start=1) if token in end_tokens), None)
    if end is None:
        raise InputError(
            "the chat template writes no end marker after an answer, so the model would never "
            "learn to stop. Choose another --model"
        )
    chat = prompt + answer[:end]
    start = len(prompt) if loss == "answer" else 0
    return {"input_ids": chat, "labels": [IGNORED] * start + chat[start:]}


def encode_chats(
    chats: list[list[dict]],
    tokenizer: PreTrainedTokenizerBase,
    end_tokens: list[int],
    max_length: int,
    loss: str = "answer",
) -> Dataset:
    """Encode the training set.

    Leaves out longer chats, because a truncated answer teaches the model to truncate. Raises
    InputError if no chat is left.
    """
    process = get_process()
    progress = tqdm(chats, desc="tokens", unit="chat", disable=not process.is_main_process)
    rows = [encode_chat(messages, tokenizer, end_tokens, loss) for messages in progress]
    short = [row for row in rows if len(row["input_ids"]) <= max_length]
    if not short:
        raise InputError(
            f"every chat is longer than --max_length {max_length} tokens "
            f"(the shortest has {min(len(row['input_ids']) for row in rows)})"
        )
    tokens = sum(len(row["input_ids"]) for row in short)
    labeled = sum(label != IGNORED for row in short for label in row["labels"])
    process.print(
        f"chats: {len(short):,}, {tokens / len(short):.0f} tokens each, {labeled / tokens:.0%} of "
        f"them under the loss; {len(rows) - len(short):,} longer than {max_length} tokens left out"
    )
    return Dataset.from_list(short)


def count_shared_tokens(rows: list[dict]) -> int:
    """The length of the prefix that encoded chats share.

    Excludes the token that predicts the first labeled one.
    """
    common = len(os.path.commonprefix([row["input_ids"] for row in rows]))
    first_label = min(find_first_label(row["labels"]) for row in rows)
    return min(common, max(first_label - 1, 0))


def find_first_label(labels: list[int]) -> int:
    return next(i for i, label in enumerate(labels) if label != IGNORED)


def hold_out(
    chats: list[list[dict]], size: int, seed: int
) -> tuple[list[list[dict]], list[list[dict]]]:
    """Split chats into those to train on and `size` others to score.

    A sentence that is scored is not trained on, wherever else it occurs. Raises InputError if
    nothing is left to train on.
    """
    if not size:
        return chats, []
    generator = torch.Generator().manual_seed(seed)
    drawn = set(torch.randperm(len(chats), generator=generator)[:size].tolist())
    questions = {chats[i][-2]["content"] for i in drawn}
    rest = [chat for chat in chats if chat[-2]["content"] not in questions]
    if not rest:
        raise InputError(
            f"--validation {size} leaves no chat to train on, of {len(chats):,}. Hold out fewer"
        )
    get_process().print(
        f"validation: {len(drawn):,} chats held out, with {len(chats) - len(rest) - len(drawn):,} "
        "others of the same sentences"
    )
    return rest, [chats[i] for i in sorted(drawn)]
