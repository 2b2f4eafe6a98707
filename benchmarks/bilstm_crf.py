"""Train a Bi-LSTM with a CRF on characters, and score it.

The usual tagger before pretrained models (Huang et al. 2015, Lample et al. 2016). It learns from
the split `train` alone: embeddings of the data set's tokens (characters by default), a
bidirectional LSTM, and a conditional random field over the tags. A random tenth of the training
sentences is held out to choose the best epoch.

Tags the sentences that evaluate_hub.py asks about, and writes the same files to DIR:
`predictions.jsonl`, `metrics.json` and `report.html`. DIR/state.pt has the weights of the best and
of the last epoch. After an interruption, the same command continues.

    python -m benchmarks.bilstm_crf --dataset klue/klue --output_dir DIR
"""

import argparse
import copy
import random

import torch

from benchmarks import tagger_run
from benchmarks.bilstm_crf_model import Tagger
from benchmarks.tagger_run import Corpus, Sentence
from ner.cli import InputError, build_parser, positive_int, run_script
from ner.evaluation.report import report_predictions
from ner.evaluation.scores import compute_f1
from ner.files import replace_file


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = build_parser(__doc__)
    training = tagger_run.add_tagger_flags(parser, epochs=50, learning_rate=1e-3)
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
        f1 = float(compute_f1([sentence.tags for sentence in held_out], predicted))
        print(f"epoch {state['epoch']}: loss {loss:.3f}, F1 {f1:.4f} on held-out sentences")
        state |= {"model": tagger.model.state_dict(), "optimizer": optimizer.state_dict()}
        # Patience begins with the first entity that is right.
        if f1 > state["best_f1"] or not state["best_f1"]:
            best = copy.deepcopy(state["model"])
            state |= {"best_epoch": state["epoch"], "best_f1": f1, "best": best}
        with replace_file(path) as file:
            torch.save(state, file)
    tagger.model.load_state_dict(state["best"])


def train(args: argparse.Namespace, corpus: Corpus, device: str) -> Tagger:
    sentences, held_out = hold_out(corpus.train, args.seed)
    print(f"held out: {len(held_out):,} of {len(corpus.train):,} training sentences")
    tagger = Tagger(sentences, corpus.tags, device, args.seed)
    fit(tagger, sentences, held_out, args)
    return tagger


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    corpus = tagger_run.read_corpus(args)
    device = "cuda" if tagger_run.use_gpu() else "cpu"
    settings = {
        "model": "Bi-LSTM-CRF",
        "epochs": args.epochs,
        "patience": args.patience,
        "learning_rate": args.learning_rate,
        "batch_size": args.batch_size,
        "train_seed": args.seed,
        **corpus.record,
    }
    path = tagger_run.begin_run(args.output_dir, settings)
    if not path.is_file():
        with tagger_run.explain_faults(args.batch_size):
            tagger = train(args, corpus, device)
            predicted = tagger.tag(corpus.rows["tokens"][:])
        tagger_run.write_predictions(path, settings, corpus.rows, predicted)
    report_predictions(path)


if __name__ == "__main__":
    run_script(main)
