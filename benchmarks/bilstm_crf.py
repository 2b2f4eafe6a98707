"""Train a Bi-LSTM with a CRF on characters, and score it.

The tagger from before pretrained models (Huang et al. 2015, Lample et al. 2016). It learns from the
split `train` alone: embeddings of the data set's tokens (characters by default), a bidirectional
LSTM, and a conditional random field over the tags. Every tenth training sentence, drawn at random,
is held out to choose the best epoch.

Tags the sentences that evaluate_hub.py asks about, and writes the same files to DIR:
`predictions.jsonl`, `metrics.json` and `report.html`. DIR/state.pt has the weights of the best and
of the last epoch. After an interruption, the same command continues.

    python -m benchmarks.bilstm_crf --dataset klue/klue --output_dir DIR
"""

import argparse
import copy
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence
from torchcrf import CRF
from tqdm import tqdm
from transformers.trainer_pt_utils import get_length_grouped_indices

from benchmarks.tagger_run import (
    Corpus,
    Sentence,
    add_tagger_flags,
    begin_run,
    explain_interruption,
    read_corpus,
    use_gpu,
    write_predictions,
)
from ner.cli import InputError, build_parser, positive_int, run_script
from ner.evaluation.report import report_predictions
from ner.evaluation.scores import compute_f1
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
        self.tags, self.device, self.seed = tags, device, seed
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
        ids = [torch.tensor([self.tags.index(tag) for tag in tags]) for tags in sentences]
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


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = build_parser(__doc__)
    training = add_tagger_flags(parser, epochs=50, learning_rate=1e-3)
    training.add_argument(
        "--patience",
        type=positive_int,
        default=5,
        metavar="N",
        help="stop after as many epochs without a better F1 on the held-out sentences",
    )
    return parser.parse_args(argv)


def hold_out(sentences: list[Sentence], seed: int) -> tuple[list[Sentence], list[Sentence]]:
    """Split sentences into those to train on and a tenth to choose the best epoch with.

    A sentence that is held out is not trained on, wherever else it occurs. Raises InputError if
    nothing is left to train on.
    """
    drawn = random.Random(seed).sample(sentences, max(1, len(sentences) // 10))
    texts = {tuple(sentence.tokens) for sentence in drawn}
    rest = [sentence for sentence in sentences if tuple(sentence.tokens) not in texts]
    if not rest:
        raise InputError("the training split needs at least two different sentences")
    return rest, drawn


def fit(
    tagger: Tagger,
    sentences: list[Sentence],
    held_out: list[Sentence],
    args: argparse.Namespace,
) -> None:
    """Train until F1 on the held-out sentences stops rising, and keep the best epoch's weights.

    Writes the state after each epoch, and continues from an earlier one.
    """
    path = args.output_dir / "state.pt"
    optimizer = torch.optim.Adam(tagger.model.parameters(), args.learning_rate)
    state = {"epoch": 0, "best_epoch": 0, "best_f1": 0.0}
    if path.is_file():
        state = torch.load(path, map_location=tagger.device, weights_only=True)
        tagger.model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    while state["epoch"] < min(args.epochs, state["best_epoch"] + args.patience):
        state["epoch"] += 1
        torch.manual_seed(args.seed + state["epoch"])  # a run that continues draws the same
        loss = tagger.train_epoch(sentences, optimizer, args.batch_size)
        predicted = tagger.tag([sentence.tokens for sentence in held_out])
        f1 = compute_f1([sentence.tags for sentence in held_out], predicted)
        print(f"epoch {state['epoch']}: loss {loss:.3f}, F1 {f1:.4f} on held-out sentences")
        state |= {"model": tagger.model.state_dict(), "optimizer": optimizer.state_dict()}
        if f1 >= state["best_f1"]:  # patience begins with the first entity that is right
            best = copy.deepcopy(state["model"])
            state |= {"best_epoch": state["epoch"], "best_f1": f1, "best": best}
        save_state(path, state)
    tagger.model.load_state_dict(state["best"])


def save_state(path: Path, state: dict) -> None:
    """Write a file that is whole at any time."""
    part = path.with_name(f".{path.name}.part")
    torch.save(state, part)
    part.replace(path)


def train(args: argparse.Namespace, corpus: Corpus, device: str) -> Tagger:
    sentences, held_out = hold_out(corpus.train, args.seed)
    print(f"held out: {len(held_out):,} of {len(corpus.train):,} training sentences")
    tagger = Tagger(sentences, corpus.tags, device, args.seed)
    fit(tagger, sentences, held_out, args)
    return tagger


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    corpus = read_corpus(args)
    device = "cuda" if use_gpu() else "cpu"
    settings = {
        "model": "Bi-LSTM-CRF",
        "epochs": args.epochs,
        "patience": args.patience,
        "learning_rate": args.learning_rate,
        "batch_size": args.batch_size,
        "train_seed": args.seed,
        **corpus.record,
    }
    path = begin_run(args.output_dir, settings)
    if not path.is_file():
        with explain_interruption():
            tagger = train(args, corpus, device)
            predicted = tagger.tag(corpus.rows["tokens"][:])
        write_predictions(path, settings, corpus.rows, predicted)
    report_predictions(path)


if __name__ == "__main__":
    run_script(main)
