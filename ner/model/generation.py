"""Greedy generation in batches that share a prefix."""

import copy
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

import torch
from tqdm import tqdm
from transformers import Cache, DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from ner.model.caches import compact_cache
from ner.model.copying import Copy, CopyRules
from ner.model.device import is_out_of_memory
from ner.model.tokenizer import find_token_ends
from ner.text.answers import Answer, Piece
from ner.text.klue import LABELS


def find_shared_prefix(prompts: list[list[int]]) -> list[int]:
    """The longest common prefix that leaves at least one token of every prompt."""
    return os.path.commonprefix([prompt[:-1] for prompt in prompts])


@dataclass
class PartialAnswer:
    """An answer in the making. It is finished when it stopped or has `limit` tokens."""

    index: int
    prompt: list[int]
    limit: int
    copy: Copy | None = None
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    stopped: bool = False

    @property
    def chat(self) -> list[int]:
        return self.prompt + self.tokens

    @property
    def is_finished(self) -> bool:
        return self.stopped or len(self.tokens) >= self.limit

    def draft(self) -> list[int]:
        """The tokens that probably follow."""
        return self.copy.draft() if self.copy else []

    def prepare(self) -> None:
        if self.copy:
            self.copy.prepare()

    def allows(self, token: int) -> bool:
        return self.copy is None or self.copy.allows(token)

    def add(self, token: int, logprob: float, is_end: bool) -> None:
        self.tokens.append(token)
        self.logprobs.append(logprob)
        self.stopped = is_end
        if self.is_finished:
            self.copy = None  # its grammar takes half a megabyte
        elif self.copy:
            self.copy.add(token)


class AnswerGenerator:
    """Answers prompts greedily, in batches.

    Where answers copy their sentences, each call of the model gets `draft` tokens of the copy. With
    `constrain`, the copy must be exact and use only these `labels`.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        end_tokens: list[int],
        draft: int = 0,
        constrain: bool = False,
        labels: Collection[str] = LABELS,
    ):
        self.model, self.tokenizer, self.end_tokens = model, tokenizer, end_tokens
        vocabulary = model.config.get_text_config().vocab_size
        self.rules = CopyRules(tokenizer, end_tokens, draft, constrain, vocabulary, labels)
        self.prefixes: dict[tuple, Cache] = {}  # the last prefix

    def generate(
        self,
        prompts: dict[int, list[int]],
        prefix: list[int],
        batch_size: int,
        max_new_tokens: int,
        sentences: dict[int, str] | None = None,
    ) -> Iterator[Answer]:
        """Yield greedy answers as they are completed, in batches of similar length.

        `prompts` are token ids by index, and `prefix` is their common beginning. `sentences` are
        those that answers copy, by index. Longer prompts come first. The few answers that continue
        long after the rest of their batch are set aside and finished together. Alone, they would
        need a step of the whole model for every token. A batch that does not fit into memory is
        halved, and so are all later ones.
        """
        sentences = sentences or {}
        cache = self.keep_prefix(prefix, drafted=bool(sentences and self.rules.draft))
        pending = []
        for index, prompt in prompts.items():
            sentence_copy = self.build_copy(sentences[index]) if index in sentences else None
            pending.append(PartialAnswer(index, prompt, max_new_tokens, sentence_copy))
        while pending:
            pending.sort(key=lambda answer: len(answer.chat), reverse=True)
            start, unfinished = 0, []
            while start < len(pending):
                batch = pending[start : start + batch_size]
                leave = len(batch) // 8 if len(pending) > batch_size else 0
                if not self.try_batch(batch, len(prefix), cache, leave):
                    batch_size = len(batch) // 2
                    continue
                yield from (self.decode(answer) for answer in batch if answer.is_finished)
                unfinished += [answer for answer in batch if not answer.is_finished]
                start += len(batch)
            pending = unfinished

    def build_copy(self, sentence: str) -> Copy:
        return Copy(self.rules, sentence)

    def decode(self, answer: PartialAnswer) -> Answer:
        """An answer's text, and where in it each token ends."""
        text = self.tokenizer.decode(answer.tokens, skip_special_tokens=True)
        ends = find_token_ends(answer.tokens, self.tokenizer)
        pieces = [Piece(*piece) for piece in zip(ends, answer.logprobs, strict=True)]
        return Answer(answer.index, text, answer.stopped, pieces)

    def keep_prefix(self, prefix: list[int], drafted: bool) -> Cache:
        """The prefix's keys and values, computed again only if it is not the last one."""
        key = (tuple(prefix), drafted)
        if key not in self.prefixes:
            self.prefixes = {key: self.compute_prefix(prefix, drafted)}
        return self.prefixes[key]

    def compute_prefix(self, prefix: list[int], drafted: bool) -> Cache:
        """The prefix's keys and values, computed once. Batches copy them."""
        # With drafts, even the layers with a sliding window keep everything: what they drop when
        # drafted tokens come in could not be restored when these are rejected.
        cache = DynamicCache() if drafted else DynamicCache(config=self.model.config)
        if prefix:
            input_ids = torch.tensor([prefix], device=self.model.device)
            with torch.inference_mode():
                self.model(input_ids=input_ids, past_key_values=cache, logits_to_keep=1)
        return cache

    def try_batch(
        self, answers: list[PartialAnswer], prefix_length: int, prefix_cache: Cache, leave: int
    ) -> bool:
        """Extend a batch. Returns whether it fits into memory."""
        try:
            self.extend_batch(answers, prefix_length, prefix_cache, leave)
            return True
        except RuntimeError as error:
            if len(answers) == 1 or not is_out_of_memory(error):
                raise
        # The error's frames hold memory until the except block ends.
        torch.cuda.empty_cache()
        tqdm.write(
            f"out of memory with {len(answers)} sentences at a time; continuing with "
            f"{len(answers) // 2}"
        )
        return False

    def extend_batch(
        self, answers: list[PartialAnswer], prefix_length: int, prefix_cache: Cache, leave: int
    ) -> None:
        """Extend each answer greedily, until only `leave` answers are unfinished.

        A finished answer leaves the batch, whereas Transformers' `generate` computes every answer
        until the last has finished. Each call of the model takes the last token of every answer and
        its draft. Of a draft, the tokens that greedy decoding chooses anyway are kept.
        """
        running = [answer for answer in answers if not answer.is_finished]
        fed = [answer.chat[prefix_length:] for answer in running]
        cache = copy.deepcopy(prefix_cache)
        cache.batch_repeat_interleave(len(running))
        mask = torch.ones(len(running), prefix_length, dtype=torch.long, device=self.model.device)
        with torch.inference_mode():
            while len(running) > leave:
                drafts = [answer.draft() for answer in running]
                input_ids, input_mask = self.pad_inputs(fed, drafts)
                mask = torch.cat([mask, input_mask], dim=1)
                positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -input_ids.shape[1] :]
                drafted = max(map(len, drafts))
                # As indices: with a number, PyTorch would copy the head's weights for each row.
                last = torch.arange(-drafted - 1, 0, device=self.model.device)
                logits = self.model(
                    input_ids=input_ids,
                    attention_mask=mask,
                    position_ids=positions,
                    past_key_values=cache,
                    logits_to_keep=last + input_ids.shape[1],
                ).logits
                # A GPU is still computing, so this costs no time.
                for answer in running:
                    answer.prepare()
                kept = torch.tensor(self.extend_answers(running, drafts, logits))
                rejected = torch.arange(drafted) >= kept[:, None]
                mask[:, mask.shape[1] - drafted :][rejected] = 0
                rows = [row for row, answer in enumerate(running) if not answer.is_finished]
                if len(rows) < len(running):
                    running, mask = [running[row] for row in rows], mask[rows]
                    cache.batch_select_indices(torch.tensor(rows, dtype=torch.long))
                if rows and rejected.any():
                    mask = compact_cache(cache, mask)
                fed = [answer.tokens[-1:] for answer in running]

    def pad_inputs(
        self, fed: list[list[int]], drafts: list[list[int]]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Pad the fed tokens on the left and the drafts on the right. Returns ids and mask."""
        width, drafted = max(map(len, fed)), max(map(len, drafts))
        input_ids, mask = [], []
        for tokens, draft in zip(fed, drafts, strict=True):
            left, right = width - len(tokens), drafted - len(draft)
            pad = self.tokenizer.pad_token_id
            input_ids.append([pad] * left + tokens + draft + [pad] * right)
            mask.append([0] * left + [1] * len(tokens + draft) + [0] * right)
        device = self.model.device
        return torch.tensor(input_ids, device=device), torch.tensor(mask, device=device)

    def extend_answers(
        self, answers: list[PartialAnswer], drafts: list[list[int]], logits: torch.Tensor
    ) -> list[int]:
        """Add the tokens that greedy decoding chooses. Returns how many of each draft were kept.

        `logits` has the shape (answers, longest draft + 1, vocabulary).
        """
        chosen = logits.argmax(dim=-1)
        # One column at a time, because they are converted to float32.
        totals = torch.stack(
            [column.float().logsumexp(dim=-1) for column in logits.unbind(dim=1)], dim=1
        )
        logprobs = logits.gather(-1, chosen[..., None])[..., 0].float() - totals
        chosen, logprobs = chosen.tolist(), logprobs.tolist()
        kept = []
        for row, (answer, draft) in enumerate(zip(answers, drafts, strict=True)):
            for column, drafted in enumerate([*draft, None]):
                token, logprob = chosen[row][column], logprobs[row][column]
                if not answer.allows(token):
                    token = answer.copy.choose(logits[row, column])
                    logprob = (logits[row, column, token].float() - totals[row, column]).item()
                answer.add(token, logprob, is_end=token in self.end_tokens)
                if token != drafted or answer.is_finished:
                    break
            kept.append(column)
        return kept
