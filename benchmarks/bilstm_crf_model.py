"""A Bi-LSTM with a CRF that tags tokens, such as characters.

The settings are the usual ones of Huang et al. (2015) and Lample et al. (2016).
"""

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence
from torchcrf import CRF
from tqdm import tqdm
from transformers.trainer_pt_utils import get_length_grouped_indices

from benchmarks.tagger_run import Sentence
from ner.text.tags import start_entities

PADDING, UNKNOWN = 0, 1
EMBEDDING, HIDDEN, DROPOUT = 100, 200, 0.5  # HIDDEN in each direction
MAX_GRADIENT_NORM = 5.0


class BiLstmCrf(nn.Module):
    def __init__(self, num_tokens: int, num_tags: int):
        super().__init__()
        self.embedding = nn.Embedding(num_tokens, EMBEDDING, padding_idx=PADDING)
        self.dropout = nn.Dropout(DROPOUT)
        self.lstm = nn.LSTM(EMBEDDING, HIDDEN, batch_first=True, bidirectional=True)
        self.linear = nn.Linear(2 * HIDDEN, num_tags)
        self.crf = CRF(num_tags, batch_first=True)

    def score_tags(self, tokens: Tensor) -> Tensor:
        """The scores of each tag, of shape (sentences, tokens, tags)."""
        lengths = (tokens != PADDING).sum(dim=1).cpu()
        packed = pack_padded_sequence(
            self.dropout(self.embedding(tokens)), lengths, batch_first=True, enforce_sorted=False
        )
        states, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        return self.linear(self.dropout(states))

    def forward(self, tokens: Tensor, tags: Tensor) -> Tensor:
        """The loss: the negative log-likelihood of the tags, a mean over the sentences."""
        return -self.crf(self.score_tags(tokens), tags, mask=tokens != PADDING, reduction="mean")

    def decode(self, tokens: Tensor) -> list[list[int]]:
        """The best tags of each sentence, without padding."""
        return self.crf.decode(self.score_tags(tokens), mask=tokens != PADDING)


class Tagger:
    """A Bi-LSTM-CRF with the tokens and tags that it knows, and its training."""

    def __init__(self, sentences: Sequence[Sentence], tags: list[str], device: str, seed: int):
        counts = Counter(token for sentence in sentences for token in sentence.tokens)
        self.token_ids = {token: number for number, token in enumerate(counts, start=UNKNOWN + 1)}
        self.tag_ids = {tag: number for number, tag in enumerate(tags)}
        self.tags, self.device = tags, device
        rare = [False, False, *(count == 1 for count in counts.values())]
        self.is_rare = torch.tensor(rare, device=device)
        torch.manual_seed(seed)
        self.model = BiLstmCrf(len(rare), len(tags)).to(device)

    def encode(self, sentences: Sequence[Sequence[str]]) -> Tensor:
        """Token ids of shape (sentences, tokens), padded."""
        ids = [[self.token_ids.get(token, UNKNOWN) for token in tokens] for tokens in sentences]
        return pad_sequence(list(map(torch.tensor, ids)), batch_first=True).to(self.device)

    def encode_tags(self, sentences: Sequence[Sequence[str]]) -> Tensor:
        """Tag ids of shape (sentences, tokens). The mask of the tokens hides the padding."""
        ids = [torch.tensor([self.tag_ids[tag] for tag in tags]) for tags in sentences]
        return pad_sequence(ids, batch_first=True).to(self.device)

    def train_epoch(
        self, sentences: list[Sentence], optimizer: torch.optim.Optimizer, batch_size: int
    ) -> float:
        """Take a step for each batch, of sentences of similar length. Returns the mean loss."""
        self.model.train()
        order = get_length_grouped_indices([len(each.tokens) for each in sentences], batch_size)
        starts = range(0, len(order), batch_size)
        total = 0.0
        for start in tqdm(starts, desc="training", unit="batch", leave=False):
            batch = [sentences[number] for number in order[start : start + batch_size]]
            tokens = self.encode([sentence.tokens for sentence in batch])
            # So that the embedding of unknown tokens is trained, too.
            hidden = self.is_rare[tokens] & (torch.rand(tokens.shape, device=self.device) < 0.5)
            tokens = tokens.masked_fill(hidden, UNKNOWN)
            loss = self.model(tokens, self.encode_tags([sentence.tags for sentence in batch]))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), MAX_GRADIENT_NORM)
            optimizer.step()
            total += loss.item() * len(batch)
        return total / len(sentences)

    @torch.inference_mode()
    def tag(self, sentences: Sequence[Sequence[str]], batch_size: int = 32) -> list[list[str]]:
        """Well-formed tags of each sentence's tokens."""
        self.model.eval()
        tagged: list[list[str]] = [[] for _ in sentences]
        order = sorted(range(len(sentences)), key=lambda number: len(sentences[number]))
        order = [number for number in order if sentences[number]]
        for start in tqdm(range(0, len(order), batch_size), desc="tags", unit="batch", leave=False):
            numbers = order[start : start + batch_size]
            decoded = self.model.decode(self.encode([sentences[number] for number in numbers]))
            for number, ids in zip(numbers, decoded, strict=True):
                tagged[number] = start_entities([self.tags[each] for each in ids])
        return tagged
