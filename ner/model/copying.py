"""Marked answers copy their sentence: the copy is drafted, and a grammar can enforce it."""

import functools
from collections.abc import Collection

import llguidance.hf
import numpy as np
import torch
from llguidance import LLMatcher
from transformers import PreTrainedTokenizerBase

from ner.text.continuation import continue_answer, measure_copy
from ner.text.grammar import write_grammar
from ner.text.klue import LABELS

CHARACTERS_PER_TOKEN = 8  # more than a token of Korean has
# Characters of a sentence in one grammar. Its cost grows with the square of their number, and
# llguidance crashes at thousands.
WINDOW = 300


class CopyRules:
    """How answers copy their sentences.

    `draft` is the number of tokens to draft for each call of the model, and `constrain` whether a
    grammar allows only exact copies with these `labels`. `vocabulary` is the number of the model's
    logits, which may be larger than the tokenizer's vocabulary.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        end_tokens: list[int],
        draft: int,
        constrain: bool,
        vocabulary: int = 0,
        labels: Collection[str] = LABELS,
    ):
        self.tokenizer, self.end_tokens, self.labels = tokenizer, end_tokens, labels
        self.draft, self.constrain = draft, constrain
        self.vocabulary = max(vocabulary, len(tokenizer))

    @functools.cached_property
    def grammar_tokenizer(self) -> llguidance.LLTokenizer:
        return llguidance.hf.from_tokenizer(self.tokenizer, n_vocab=self.vocabulary)

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
        self.expected: list[int] = []  # the predicted tokens that are not written yet
        self.matcher = None

    def prepare(self) -> None:
        """Build the grammar, unless there is one or none is needed."""
        if self.rules.constrain and self.matcher is None:
            self.start_window(0, inside=False)

    def start_window(self, start: int, inside: bool) -> None:
        """Build the grammar of the next characters. `inside` is whether a name is open."""
        self.middle, self.end = start + WINDOW // 2, start + WINDOW
        grammar = write_grammar(self.sentence[start : self.end], inside, self.rules.labels)
        self.matcher = LLMatcher(self.rules.grammar_tokenizer, grammar)
        self.check_matcher()

    def draft(self) -> list[int]:
        """The tokens that follow if no name opens or closes."""
        if self.rules.draft and not self.expected:
            self.expected = self.predict()
        return self.expected[: self.rules.draft]

    def predict(self) -> list[int]:
        """The tokens of the rest of the answer, or of its beginning. Empty if it is unknown."""
        answer = self.rules.decode(self.tokens)
        if answer.endswith("\ufffd"):  # within a character
            return []
        rest = continue_answer(answer, self.sentence, self.rules.labels)
        if rest is None:
            return []
        length = CHARACTERS_PER_TOKEN * self.rules.draft
        end = self.rules.end_tokens[:1] if len(rest) <= length else []
        return self.rules.encode(rest[:length]) + end

    def allows(self, token: int) -> bool:
        """Whether a token may follow. Needs `prepare`, as `choose` and `add` do."""
        if not self.rules.constrain:
            return True
        if token in self.rules.end_tokens:
            return self.matcher.is_accepting() and self.end >= len(self.sentence)
        return self.matcher.validate_tokens([token]) == 1

    def list_allowed(self) -> np.ndarray:
        """The ids of all tokens that the grammar allows next."""
        bits = np.frombuffer(self.matcher.compute_bitmask(), dtype=np.uint8)
        self.check_matcher()
        return np.flatnonzero(np.unpackbits(bits, bitorder="little"))

    def choose(self, logits: torch.Tensor) -> int:
        """The most probable token that the grammar allows, by logits of shape (vocabulary,)."""
        allowed = torch.from_numpy(self.list_allowed()).to(logits.device)
        return allowed[logits[allowed].argmax()].item()

    def add(self, token: int) -> None:
        """Append a token, which must be allowed."""
        self.tokens.append(token)
        self.expected = self.expected[1:] if self.expected[:1] == [token] else []
        if self.rules.constrain and token not in self.rules.end_tokens:
            self.matcher.consume_token(token)
            self.check_matcher()
            self.move_window()

    def move_window(self) -> None:
        """Start another window if the copy has passed the middle of this one."""
        if self.end >= len(self.sentence):
            return
        answer = self.rules.decode(self.tokens)
        place = measure_copy(answer, self.sentence, self.rules.labels)
        if place is not None and place[0] >= self.middle:
            self.start_window(*place)

    def check_matcher(self) -> None:
        if self.matcher.is_error():
            reason = self.matcher.get_error().partition("\n")[0]
            raise RuntimeError(f"llguidance fails on {self.sentence!r}: {reason}")
