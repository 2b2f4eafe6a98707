"""Step 4: ask the fine-tuned model for the entities of held-out sentences, and score its answers.

Reads the adapter (from the hub or a local folder), its base model in 4-bit as in training, and a
seeded sample of KLUE-NER's validation split. Appends each answer to `evaluation/predictions.jsonl`,
then prints the scores and writes `metrics.json` and `report.html` beside it. After an interruption,
the same command continues.

    python evaluate_hub.py                                  100 sentences, drawn as in the post
    accelerate launch evaluate_hub.py                       on every GPU of the machine

Give each further run its own --output_dir:

    python evaluate_hub.py --num_samples 5000 --output_dir evaluation-5000    the whole split
    python evaluate_hub.py --endpoint URL --model NAME --output_dir evaluation-server
"""

import argparse
import sys
from pathlib import Path

from ner.cli import build_parser, run_script
from ner.files import check_writable
from ner.inference.building import build_recognizer, choose_min_confidence
from ner.inference.flags import (
    add_min_confidence_flag,
    add_model_flags,
    add_sentence_flags,
    add_server_flags,
    check_flags,
)
from ner.model.adapter import check_adapter
from ner.text.task import check_data_labels


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = build_parser(__doc__)
    add_model_flags(parser)
    add_server_flags(parser)
    add_sentence_flags(parser)

    output = parser.add_argument_group("output")
    output.add_argument(
        "--output_dir",
        type=Path,
        default=Path("evaluation"),
        metavar="DIR",
        help="folder of predictions.jsonl, metrics.json and report.html",
    )
    add_min_confidence_flag(output)
    output.add_argument(
        "--min_f1", type=float, metavar="F1", help="exit with an error below this F1"
    )
    args = parser.parse_args(argv)
    check_flags(parser, args)
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    min_confidence = choose_min_confidence(args)

    path = args.output_dir / "predictions.jsonl"
    check_writable(path)
    if not args.endpoint:
        check_adapter(args.adapter)
    # Imported here because data sets take a second.
    from ner.evaluation.answering import answer_rows, draw_rows, hash_sentences
    from ner.text.corpus import find_revision, get_labels, list_used_labels

    rows = draw_rows(args.dataset, args.split, args.num_samples, args.seed, args.labels, args.join)
    labels = get_labels(rows, args.dataset)
    recognizer = build_recognizer(args, args.dataset, labels)
    check_data_labels(recognizer.task, list_used_labels(rows), args.dataset)
    settings = recognizer.settings | {
        "dataset": args.dataset,
        "dataset_revision": find_revision(rows),
        "split": args.split,
        "num_samples": args.num_samples,
        "seed": args.seed,
        "sentences_sha256": hash_sentences(rows),
    }
    answer_rows(path, settings, rows, recognizer, require_pieces=bool(min_confidence))
    report(path, args.min_f1, min_confidence)


def report(path: Path, min_f1: float | None, min_confidence: float) -> None:
    """Score the predictions in the main process. Exits with an error if F1 is below `min_f1`."""
    from ner.evaluation.report import report_predictions
    from ner.model.process import get_process

    if not get_process().is_main_process:
        return
    f1 = report_predictions(path, min_confidence)["scores"]["seqeval"]["f1"]["value"]
    if min_f1 is not None and f1 < min_f1:
        sys.exit(f"error: F1 {f1:.4f} is below --min_f1 {min_f1}")


if __name__ == "__main__":
    run_script(main)
