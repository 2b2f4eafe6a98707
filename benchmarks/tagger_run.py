"""The steps that both taggers share: read sentences, record settings, write predictions."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from datasets import Dataset

from benchmarks.runs import check_settings
from ner.cli import InputError, non_negative_float, positive_int
from ner.evaluation.answering import draw_rows, hash_sentences
from ner.files import check_writable, format_json_line, write_atomically
from ner.inference.flags import add_split_flags
from ner.text.corpus import find_revision, get_id2label, get_labels, load_split
from ner.text.labels import list_tags
from ner.text.task import is_klue

DRAW_SEED = 42  # evaluate_hub.py's default, so that both score the same sentences


class Sentence(NamedTuple):
    tokens: list[str]
    tags: list[str]  # one per token


class Corpus(NamedTuple):
    train: list[Sentence]
    rows: Dataset  # the sentences to tag
    labels: Mapping[str, str]  # descriptions by name, those of both splits
    record: dict  # the settings that say which sentences these are

    @property
    def tags(self) -> list[str]:
        """All tags, in the order of their ids."""
        return list_tags(self.labels)


def add_tagger_flags(
    parser: argparse.ArgumentParser, epochs: int, learning_rate: float
) -> argparse._ArgumentGroup:
    """Add the flags of both taggers, with these defaults. Returns the group for training."""
    add_split_flags(parser)
    parser.add_argument_group("output").add_argument(
        "--output_dir",
        required=True,
        type=Path,
        metavar="DIR",
        help="folder of the checkpoints, predictions.jsonl, metrics.json and report.html",
    )
    training = parser.add_argument_group("training")
    training.add_argument(
        "--epochs",
        type=positive_int,
        default=epochs,
        metavar="N",
        help="passes over the training sentences",
    )
    training.add_argument(
        "--learning_rate",
        type=non_negative_float,
        default=learning_rate,
        metavar="X",
        help="highest learning rate",
    )
    training.add_argument(
        "--batch_size", type=positive_int, default=32, metavar="N", help="sentences at a time"
    )
    training.add_argument("--seed", type=int, default=42, metavar="N", help="seed of training")
    return training


def read_sentences(rows: Dataset) -> list[Sentence]:
    """The rows of a data set, with the names of their tags."""
    names = get_id2label(rows)
    return [Sentence(row["tokens"], [names[tag] for tag in row["ner_tags"]]) for row in rows]


def read_corpus(args: argparse.Namespace) -> Corpus:
    """Read the training sentences and draw those to tag. Raises InputError."""
    rows = draw_rows(args.dataset, args.split, args.num_samples, DRAW_SEED, args.labels, args.join)
    training_rows = load_split(args.dataset, "train", args.labels, args.join)
    labels = {**get_labels(training_rows, args.dataset), **get_labels(rows, args.dataset)}
    train = [sentence for sentence in read_sentences(training_rows) if sentence.tokens]
    if all(set(sentence.tags) == {"O"} for sentence in train):
        raise InputError(
            f"{args.dataset}: its {len(train):,} training sentences have no entity to learn from. "
            "Choose another --dataset"
        )
    record = {
        "train_sha256": hash_sentences(training_rows),
        "dataset": args.dataset,
        "dataset_revision": find_revision(rows),
        "split": args.split,
        "num_samples": args.num_samples,
        "seed": DRAW_SEED,
        "sentences_sha256": hash_sentences(rows),
    }
    if not is_klue(labels):
        record["labels"] = labels
    print(f"sentences: {len(train):,} to train on, {len(rows):,} to tag")
    return Corpus(train, rows, labels, record)


def use_gpu() -> bool:
    """Whether to train on this machine's GPU. Raises InputError if it has several."""
    # Imported here because PyTorch takes seconds.
    import torch

    from ner.model.gpu import has_cuda

    if not has_cuda():
        return False
    if torch.cuda.device_count() > 1:
        raise InputError(
            f"this benchmark uses one GPU, and sees {torch.cuda.device_count()}. Choose one: "
            "set CUDA_VISIBLE_DEVICES=0"
        )
    return True


def begin_run(output_dir: Path, settings: dict) -> Path:
    """Record the settings. Returns the path of the predictions, which exist after a whole run.

    Raises InputError if the folder is of a run with other settings.
    """
    path = output_dir / "predictions.jsonl"
    check_writable(path)
    if path.is_file() and not (output_dir / "settings.json").is_file():
        raise InputError(f"{path} was written by another program. Choose another --output_dir")
    check_settings(output_dir, settings, "--output_dir")
    return path


@contextmanager
def explain_faults(batch_size: int) -> Iterator[None]:
    """Let Ctrl-C say that the same command continues, and too little memory what helps.

    Raises InputError.
    """
    try:
        yield
    except KeyboardInterrupt:
        message = "the same command continues after the last whole epoch"
        raise KeyboardInterrupt(message) from None
    except Exception as error:
        from ner.model.device import is_out_of_memory  # see use_gpu

        if not is_out_of_memory(error):
            raise
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"out of memory ({reason}). Choose a --batch_size below {batch_size}, and another "
            "--output_dir, because that changes the result"
        ) from error


def write_predictions(
    path: Path, settings: dict, rows: Dataset, predicted: Sequence[list[str]]
) -> None:
    """Write the tags of all rows, one list per row, with the settings in the first line."""
    lines = [{"settings": settings}]
    for row_id, sentence, tags in zip(rows["row"], read_sentences(rows), predicted, strict=True):
        line = {"id": row_id, "tokens": sentence.tokens, "gold": sentence.tags, "tags": tags}
        lines.append(line)
    write_atomically(path, "".join(format_json_line(line) for line in lines))
