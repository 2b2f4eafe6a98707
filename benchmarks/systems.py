"""Compare three systems on the same sentences: ours, a fine-tuned encoder, and a Bi-LSTM-CRF.

Trains each on the training split, tags a sample of the validation split, and compares all in one
table. Runs data_processing.py, train.py, evaluate_hub.py, benchmarks.encoder, benchmarks.bilstm_crf
and report.py. DIR/ours/evaluation has the table, `systems.md`, and the picture, `systems.svg`.
Complete steps are skipped. After an interruption, the same command continues.

    python -m benchmarks.systems --model MODEL --dataset PATH --work_dir DIR
    python -m benchmarks.systems --model MODEL --dataset PATH --work_dir DIR --without encoder \\
        --train --max_steps 600 --learning_rate 1e-3 --precision bfloat16 --lora_dropout 0
"""

import argparse
from pathlib import Path

import train
from benchmarks import runs
from ner.cli import add_corpus_flags, build_parser, positive_int, run_script
from ner.model.hub import find_base

TAGGERS = ("encoder", "bilstm_crf")
SETTINGS = (
    *("model", "dataset", "labels", "join", "answer", "encoder", "num_samples", "seed", "train"),
)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = build_parser(__doc__)
    runs.add_run_flags(parser)
    add_corpus_flags(parser)
    parser.add_argument(
        "--encoder",
        default="klue/bert-base",
        metavar="ID_OR_FOLDER",
        help="pretrained encoder to fine-tune",
    )
    parser.add_argument(
        "--answer", choices=["marked", "json"], default="marked", help="kind of our answers"
    )
    parser.add_argument(
        "--num_samples", type=positive_int, default=100, metavar="N", help="sentences to score"
    )
    parser.add_argument(
        "--without",
        choices=TAGGERS,
        nargs="+",
        default=[],
        help="systems to leave out (default: none)",
    )
    parser.add_argument(
        "--train",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="FLAGS",
        help="further flags of train.py; must be the last (default: none)",
    )
    return parser.parse_args(argv)


def tag_with_ours(args: argparse.Namespace) -> Path:
    """Train and evaluate ours. Returns its predictions. Skips steps that are complete."""
    corpus = runs.list_corpus_flags(args)
    chats = runs.write_chats(
        args.work_dir / f"{args.answer}.jsonl", args.dataset, "--answer", args.answer, *corpus
    )
    folder = args.work_dir / "ours"
    adapter = runs.train_adapter(folder, args.model, chats, "--seed", args.seed, *args.train)
    return runs.evaluate_adapter(
        adapter,
        folder / "evaluation",
        *("--dataset", args.dataset, *corpus, "--num_samples", args.num_samples),
        *("--precision", train.parse_args(args.train).precision),
    )


def find_predictions(tagger: str, args: argparse.Namespace) -> Path:
    """The predictions of another system, which exist after its run."""
    return args.work_dir / tagger / "predictions.jsonl"


def tag_with(tagger: str, args: argparse.Namespace) -> Path:
    """Train another system and tag the sentences. Returns its predictions. Skips a complete run."""
    predictions = find_predictions(tagger, args)
    if not predictions.is_file():
        model = ["--model", args.encoder] if tagger == "encoder" else []
        runs.run_step(
            f"benchmarks.{tagger}",
            *("--dataset", args.dataset, *runs.list_corpus_flags(args), *model),
            *("--num_samples", args.num_samples, "--seed", args.seed),
            *("--output_dir", predictions.parent),
        )
    return predictions


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    train.parse_args(args.train)  # a wrong flag ends the run here
    taggers = [tagger for tagger in TAGGERS if tagger not in args.without]
    if "encoder" in taggers and not find_predictions("encoder", args).is_file():
        find_base(args.encoder)  # a wrong name ends it before ours is trained
    runs.check_settings(args.work_dir, {name: getattr(args, name) for name in SETTINGS})
    predictions = [tag_with_ours(args), *(tag_with(tagger, args) for tagger in taggers)]
    names = {"encoder": args.encoder, "bilstm_crf": "Bi-LSTM-CRF"}
    ours = f"{args.model}, {args.answer} answers"
    flags = ["--names", ours, *map(names.get, taggers)] if taggers else []
    runs.run_step("report.py", *predictions, *flags)


if __name__ == "__main__":
    run_script(main)
