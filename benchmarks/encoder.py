"""Train an encoder such as BERT to tag each word piece, and score it.

The usual recipe for KLUE-NER, with any encoder of the hub that Transformers knows. Trains on the
split `train`, then tags the sentences that evaluate_hub.py asks about, and writes the same files to
DIR: `predictions.jsonl`, `metrics.json` and `report.html`. A piece has the tag of its first
character, see `benchmarks/pieces.py`. A sentence of more than --max_length pieces is cut, and the
rest of it has the tag O.

DIR/checkpoints has the model after each of the last two epochs. After an interruption, the same
command continues.

    python -m benchmarks.encoder --dataset klue/klue --output_dir DIR
    python -m benchmarks.encoder --model klue/roberta-large --dataset PATH --output_dir DIR
"""

import argparse
from collections.abc import Sequence

import torch
from datasets import Dataset
from transformers import (
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorForTokenClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
    set_seed,
)

from benchmarks import tagger_run
from benchmarks.pieces import Encoded, encode, encode_training, spread_tags
from ner.cli import InputError, build_parser, positive_int, run_script
from ner.evaluation.report import report_predictions
from ner.model.hub import Base, download_base, find_base
from ner.model.loading import load_config
from ner.model.remote_code import describe
from ner.training.checkpoint_hashes import HashCheckpoint
from ner.training.checkpoints import is_complete, list_checkpoints


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = build_parser(__doc__)
    parser.add_argument(
        "--model", default="klue/bert-base", metavar="ID_OR_FOLDER", help="pretrained encoder"
    )
    training = tagger_run.add_tagger_flags(parser, epochs=3, learning_rate=5e-5)
    training.add_argument(
        "--max_length", type=positive_int, default=512, metavar="N", help="most word pieces"
    )
    return parser.parse_args(argv)


def load_tokenizer(base: Base) -> PreTrainedTokenizerFast:
    """Load the encoder's tokenizer. Raises InputError if it cannot tell where a piece is from."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(base.name, revision=base.revision)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{base.name}: its tokenizer cannot be read ({describe(error)})"
        ) from error
    if not tokenizer.is_fast:
        raise InputError(
            f"{base.name}: its tokenizer has no offsets of word pieces. Choose an encoder with a "
            "tokenizer.json"
        )
    tokenizer.padding_side = "right"  # so that predictions begin with the first piece
    return tokenizer


def load_encoder(base: Base, tags: list[str]) -> PreTrainedModel:
    """Load the encoder with a new head for these tags. Raises InputError for other models."""
    try:
        return AutoModelForTokenClassification.from_pretrained(
            base.name,
            revision=base.revision,
            id2label=dict(enumerate(tags)),
            label2id={tag: number for number, tag in enumerate(tags)},
            dtype=torch.float32,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # the head of an encoder with other tags
        )
    except (OSError, ValueError) as error:
        raise InputError(
            f"{base.name}: cannot be loaded as an encoder ({describe(error)})"
        ) from error


def train(
    args: argparse.Namespace,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    dataset: Dataset,
    precision: str,
) -> Trainer:
    """Train from the last whole checkpoint, if there is one, to the end."""
    folder = args.output_dir / "checkpoints"
    config = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=args.epochs,
        learning_rate=args.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=0.1,  # of all steps
        weight_decay=0.01,
        per_device_train_batch_size=args.batch_size,
        per_device_eval_batch_size=args.batch_size,
        bf16=precision == "bfloat16",
        use_cpu=not torch.cuda.is_available(),
        save_strategy="epoch",
        save_total_limit=2,
        report_to="none",
        seed=args.seed,
        data_seed=args.seed,
    )
    trainer = Trainer(
        model=model,
        args=config,
        train_dataset=dataset,
        data_collator=DataCollatorForTokenClassification(tokenizer),
        processing_class=tokenizer,
        callbacks=[HashCheckpoint()],
        preprocess_logits_for_metrics=lambda logits, _: logits.argmax(dim=-1),
    )
    checkpoint = next(filter(is_complete, list_checkpoints(folder)), None)
    trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
    return trainer


def predict(
    trainer: Trainer, sentences: Sequence[list[str]], encoded: Encoded, tags: list[str]
) -> list[list[str]]:
    """The tags of each sentence's tokens."""
    predicted = trainer.predict(encoded.inputs).predictions
    return [
        spread_tags([tags[number] for number in numbers[: len(spans)]], spans, tokens)
        for numbers, spans, tokens in zip(predicted, encoded.spans, sentences, strict=True)
    ]


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    corpus = tagger_run.read_corpus(args)
    # PyTorch emulates bfloat16 on older cards, many times slower.
    native = tagger_run.use_gpu() and torch.cuda.is_bf16_supported(including_emulation=False)
    precision = "bfloat16" if native else "float32"
    base = find_base(args.model)
    settings = {
        "model": base.name,
        "revision": base.revision,
        "precision": precision,
        "epochs": args.epochs,
        "learning_rate": args.learning_rate,
        "batch_size": args.batch_size,
        "max_length": args.max_length,
        "train_seed": args.seed,
        **corpus.record,
    }
    path = tagger_run.begin_run(args.output_dir, settings)
    if not path.is_file():
        positions = getattr(load_config(base), "max_position_embeddings", args.max_length)
        download_base(base)
        tokenizer = load_tokenizer(base)
        max_length = min(args.max_length, positions, tokenizer.model_max_length)
        dataset = encode_training(corpus, tokenizer, max_length)
        sentences = corpus.rows["tokens"][:]
        encoded = encode(sentences, tokenizer, max_length)
        set_seed(args.seed)  # of the head
        model = load_encoder(base, corpus.tags)
        with tagger_run.explain_faults(args.batch_size):
            trainer = train(args, model, tokenizer, dataset, precision)
            predicted = predict(trainer, sentences, encoded, corpus.tags)
        tagger_run.write_predictions(path, settings, corpus.rows, predicted)
    report_predictions(path)


if __name__ == "__main__":
    run_script(main)
