"""Score the predictions that evaluate_hub.py wrote, without a model.

Reads `predictions.jsonl`: a line of settings, then one line per sentence with its gold tags and the
model's raw answer. `ner.text.conversion.tag_answer` reads the answers again, so a change to it
shows in the scores. A system that tags the sentences itself has its tags in the place of answers.

Prints seqeval's table, all scores with their intervals and the error budget. Writes `metrics.json`
and `report.html` beside the predictions, and `comparison.json` if two files are compared.

    python report.py predictions.jsonl
    python report.py predictions.jsonl --compare others.jsonl    which one is better, and where
    python report.py predictions.jsonl --min_confidence 0.5      only entities the model is sure of
"""

import argparse
from pathlib import Path

from ner.cli import build_parser, probability, run_script
from ner.evaluation.predictions import find_shared_labels, read_answered, retag
from ner.files import check_writable


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = build_parser(__doc__)
    parser.add_argument(
        "predictions", type=Path, help="predictions file that evaluate_hub.py wrote"
    )
    parser.add_argument(
        "--compare",
        type=Path,
        metavar="FILE",
        help="predictions of another run on the same sentences",
    )
    parser.add_argument(
        "--html",
        type=Path,
        metavar="FILE",
        help="where to write the page (default: report.html beside the predictions)",
    )
    parser.add_argument(
        "--min_confidence",
        type=probability,
        default=0.0,
        metavar="P",
        help="leave out names of which the model is less sure, a probability; not in the file to "
        "compare with (default: 0, all names count)",
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    page = args.html or args.predictions.with_name("report.html")
    settings, rows = read_answered(args.predictions)
    if args.compare:
        other_settings, other_rows = read_answered(args.compare)
        labels = find_shared_labels(settings, other_settings)
    for output in (page, args.predictions.with_name("metrics.json")):
        check_writable(output)

    # After the checks, because seqeval takes a second to import.
    from ner.evaluation.report import write_comparison, write_report

    write_report(args.predictions, settings, rows, page, args.min_confidence)
    if args.compare:
        write_comparison(
            args.predictions,
            retag(rows, settings, args.min_confidence),
            args.compare,
            retag(other_rows, other_settings),
            args.min_confidence,
            labels,
        )


if __name__ == "__main__":
    run_script(main)
