"""Greedy generation in batches that share a prefix."""

import copy
import os
from collections.abc import Iterator

import torch
from tqdm import tqdm
from transformers import Cache, DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from ner.model.device import is_out_of_memory
from ner.text.answers import Answer


def find_shared_prefix(prompts: list[list[int]]) -> list[int]:
    """The longest common prefix that leaves at least one token of every prompt."""
    return os.path.commonprefix([prompt[:-1] for prompt in prompts])


class AnswerGenerator:
    """Answers prompts greedily, in batches."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        end_tokens: list[int],
    ):
        self.model, self.tokenizer, self.end_tokens = model, tokenizer, end_tokens

    def generate(
        self,
        prompts: dict[int, list[int]],
        prefix: list[int],
        batch_size: int,
        max_new_tokens: int,
    ) -> Iterator[Answer]:
        """Yield greedy answers as they are completed, in batches of similar length.

        `prompts` are token ids by index, and `prefix` is their common beginning. Longer prompts
        come first. The few answers that continue long after the rest of their batch are set aside
        and finished together. Alone, they would need a step of the whole model for every token. A
        batch that does not fit into memory is halved, and so are all later ones.
        """
        cache = self.compute_prefix(prefix)
        chats = {index: list(prompt) for index, prompt in prompts.items()}
        pending = list(prompts)
        while pending:
            pending.sort(key=lambda index: len(chats[index]), reverse=True)
            start, unfinished = 0, []
            while start < len(pending):
                batch = pending[start : start + batch_size]
                leave = len(batch) // 8 if len(pending) > batch_size else 0
                limits = [
                    max_new_tokens - (len(chats[index]) - len(prompts[index])) for index in batch
                ]
                extensions = self.try_batch(
                    [chats[index] for index in batch], limits, len(prefix), cache, leave
                )
                if extensions is None:
                    batch_size = len(batch) // 2
                    continue
                for index, tokens, limit in zip(batch, extensions, limits, strict=True):
                    chats[index] += tokens
                    stopped = tokens[-1] in self.end_tokens
                    if stopped or len(tokens) == limit:
                        yield self.decode(index, chats[index][len(prompts[index]) :], stopped)
                    else:
                        unfinished.append(index)
                start += len(batch)
            pending = unfinished

    def decode(self, index: int, tokens: list[int], stopped: bool) -> Answer:
        return Answer(index, self.tokenizer.decode(tokens, skip_special_tokens=True), stopped)

    def compute_prefix(self, prefix: list[int]) -> Cache:
        """The prefix's keys and values, computed once. Batches copy them."""
        cache = DynamicCache(config=self.model.config)
        if prefix:
            input_ids = torch.tensor([prefix], device=self.model.device)
            with torch.inference_mode():
                self.model(input_ids=input_ids, past_key_values=cache, logits_to_keep=1)
        return cache

    def try_batch(
        self,
        chats: list[list[int]],
        limits: list[int],
        prefix_length: int,
        prefix_cache: Cache,
        leave: int,
    ) -> list[list[int]] | None:
        """Extend a batch. None if it does not fit into memory."""
        try:
            return self.extend_batch(chats, limits, prefix_length, prefix_cache, leave)
        except RuntimeError as error:
            if len(chats) == 1 or not is_out_of_memory(error):
                raise
        # The error's frames hold memory until the except block ends.
        torch.cuda.empty_cache()
        tqdm.write(
            f"out of memory with {len(chats)} sentences at a time; continuing with "
            f"{len(chats) // 2}"
        )
        return None

    def extend_batch(
        self,
        chats: list[list[int]],
        limits: list[int],
        prefix_length: int,
        prefix_cache: Cache,
        leave: int,
    ) -> list[list[int]]:
        """The tokens that greedily follow each chat, until only `leave` chats are unfinished.

        A chat is finished at an end token or at its limit. It then leaves the batch, whereas
        Transformers' `generate` computes every chat until the last has finished. Padding is on the
        left, between the prefix and the rest.
        """
        device = self.model.device
        input_ids, mask = self.pad_chats(chats, prefix_length)
        running = torch.arange(len(chats), device=device)
        remaining = torch.tensor(limits, device=device)
        end_tokens = torch.tensor(self.end_tokens, device=device)
        cache = copy.deepcopy(prefix_cache)
        cache.batch_repeat_interleave(len(chats))
        generated: list[list[int]] = [[] for _ in chats]
        with torch.inference_mode():
            while len(running) > leave:
                positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -input_ids.shape[1] :]
                logits = self.model(
                    input_ids=input_ids,
                    attention_mask=mask,
                    position_ids=positions,
                    past_key_values=cache,
                    logits_to_keep=1,
                ).logits
                chosen = logits[:, -1].argmax(dim=-1)
                for row, token in zip(running.tolist(), chosen.tolist(), strict=True):
                    generated[row].append(token)
                remaining = remaining - 1
                unfinished = ~torch.isin(chosen, end_tokens) & (remaining > 0)
                rows = unfinished.nonzero().flatten()
                if len(rows) < len(chosen):
                    running, chosen = running[rows], chosen[rows]
                    mask, remaining = mask[rows], remaining[rows]
                    cache.batch_select_indices(rows)
                input_ids = chosen[:, None]
                mask = torch.cat([mask, torch.ones_like(input_ids)], dim=1)
        return generated

    def pad_chats(
        self, chats: list[list[int]], prefix_length: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Pad the chats on the left, without their prefix. The mask covers the prefix as well."""
        width = max(len(chat) for chat in chats)
        input_ids, mask = [], []
        for chat in chats:
            padding = width - len(chat)
            rest = chat[prefix_length:]
            input_ids.append([self.tokenizer.pad_token_id] * padding + rest)
            mask.append([1] * prefix_length + [0] * padding + [1] * len(rest))
        device = self.model.device
        return torch.tensor(input_ids, device=device), torch.tensor(mask, device=device)
