"""Marked answers copy their sentence: the copy is drafted, and a grammar can enforce it."""

import functools

import llguidance.hf
import numpy as np
import torch
from llguidance import LLMatcher
from transformers import PreTrainedTokenizerBase

from ner.text.continuation import continue_answer
from ner.text.grammar import write_grammar

CHARACTERS_PER_TOKEN = 8  # more than a token of Korean has


def choose_draft() -> int:
    """How many tokens of the copy to draft. A CPU pays for each, a GPU mostly for the call."""
    return 8 if torch.cuda.is_available() else 4


class CopyRules:
    """How answers copy their sentences.

    `draft` is the number of tokens to draft for each call of the model, and `constrain` whether a
    grammar allows exact copies only.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        end_tokens: list[int],
        draft: int,
        constrain: bool,
    ):
        self.tokenizer, self.end_tokens = tokenizer, end_tokens
        self.draft, self.constrain = draft, constrain

    @functools.cached_property
    def grammar_tokenizer(self) -> llguidance.LLTokenizer:
        return llguidance.hf.from_tokenizer(self.tokenizer)

    def encode(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def decode(self, tokens: list[int]) -> str:
        return self.tokenizer.decode(tokens, skip_special_tokens=False)


class Copy:
    """The copy of one sentence, as far as it is written."""

    def __init__(self, rules: CopyRules, sentence: str):
        self.rules = rules
        # As the model sees it: a tokenizer may normalize, for example from NFD to NFC.
        self.sentence = rules.decode(rules.encode(sentence))
        self.tokens: list[int] = []
        self.expected: list[int] = []  # the tokens that follow if no name opens or closes
        self.matcher = None
        if rules.constrain:
            self.matcher = LLMatcher(rules.grammar_tokenizer, write_grammar(self.sentence))
            self.check_matcher()

    def draft(self) -> list[int]:
        """The next tokens, as far as the sentence tells them."""
        if self.rules.draft and not self.expected:
            self.expected = self.predict()
        return self.expected[: self.rules.draft]

    def predict(self) -> list[int]:
        answer = self.rules.decode(self.tokens)
        if answer.endswith("\ufffd"):  # within a character
            return []
        rest = continue_answer(answer, self.sentence)
        if rest is None:
            return []
        length = CHARACTERS_PER_TOKEN * self.rules.draft
        end = self.rules.end_tokens[:1] if len(rest) <= length else []
        return self.rules.encode(rest[:length]) + end

    def allows(self, token: int) -> bool:
        """Whether the answer may go on with a token."""
        if self.matcher is None:
            return True
        if token in self.rules.end_tokens:
            return self.matcher.is_accepting()
        return self.matcher.validate_tokens([token]) == 1

    def choose(self, logits: torch.Tensor) -> int:
        """The most probable of the tokens that are allowed, by logits of shape (vocabulary,)."""
        bits = np.frombuffer(self.matcher.compute_bitmask(), dtype=np.uint8)
        self.check_matcher()
        allowed = np.flatnonzero(np.unpackbits(bits, bitorder="little"))
        allowed = torch.from_numpy(allowed).to(logits.device)
        return allowed[logits[allowed].argmax()].item()

    def add(self, token: int) -> None:
        """Go on with a token."""
        self.tokens.append(token)
        self.expected = self.expected[1:] if self.expected[:1] == [token] else []
        if self.matcher and token not in self.rules.end_tokens:
            self.matcher.consume_token(token)
            self.check_matcher()

    def check_matcher(self) -> None:
        if self.matcher.is_error():
            raise RuntimeError(f"llguidance fails on {self.sentence!r}: {self.matcher.get_error()}")
