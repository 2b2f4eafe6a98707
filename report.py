"""Score and compare the predictions of one or more systems, without a model.

Reads predictions files that evaluate_hub.py or a benchmark wrote: a line of settings, then one line
per sentence with its gold tags and the model's raw answer. `ner.text.conversion.tag_answer` reads
the answers again, so a change to it shows in the scores. The file of a system that tags the
sentences itself has tags instead of answers.

Prints seqeval's table, all scores with their intervals and the error budget of the first file.
Writes `metrics.json` and `report.html` beside it, and `comparison.json` with --compare. Several
files are also compared with the first one: `systems.json` has the figures, `systems.md` a table and
`systems.svg` a picture. With --compare, a difference is the first score minus the other. With
several files, it is the other minus the first.

    python report.py predictions.jsonl
    python report.py predictions.jsonl --compare others.jsonl    which one is better, and where
    python report.py predictions.jsonl --min_confidence 0.5      only entities the model is sure of
    python report.py a/predictions.jsonl b/predictions.jsonl c/predictions.jsonl    several systems
"""

import argparse
from pathlib import Path

from ner.cli import build_parser, probability, run_script
from ner.evaluation.predictions import check_comparable, read_answered, retag
from ner.files import check_writable


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = build_parser(__doc__)
    parser.add_argument(
        "predictions",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="predictions file to report on, and others on the same sentences to compare with it",
    )
    parser.add_argument(
        "--names",
        nargs="+",
        metavar="NAME",
        help="a name for each file in the table (default: their models)",
    )
    parser.add_argument(
        "--compare",
        type=Path,
        metavar="FILE",
        help="predictions of another run on the same sentences; lists the sentences that changed",
    )
    parser.add_argument(
        "--html",
        type=Path,
        metavar="FILE",
        help="where to write the page (default: report.html beside the first file)",
    )
    parser.add_argument(
        "--min_confidence",
        type=probability,
        default=0.0,
        metavar="P",
        help="leave out names below this confidence, but not in the file of --compare (default: 0, "
        "all names count)",
    )
    args = parser.parse_args(argv)
    if args.names and not 1 < len(args.names) == len(args.predictions) == len(set(args.names)):
        parser.error("--names needs several files, and a different name for each")
    if len(args.predictions) > 1 and (args.compare or args.min_confidence):
        parser.error("--compare and --min_confidence are for one file. Pass the first one alone")
    return args


def list_outputs(args: argparse.Namespace) -> list[str]:
    """The names of the files to write beside the first predictions."""
    if args.compare:
        return ["metrics.json", "comparison.json"]
    if len(args.predictions) > 1:
        return ["metrics.json", "systems.json", "systems.md", "systems.svg"]
    return ["metrics.json"]


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    path = args.predictions[0]
    page = args.html or path.with_name("report.html")
    paths = [*args.predictions, args.compare] if args.compare else args.predictions
    files = [read_answered(each) for each in paths]
    labels = check_comparable(paths, files)
    for output in (page, *map(path.with_name, list_outputs(args))):
        check_writable(output)

    # After the checks, because seqeval takes a second to import.
    from ner.evaluation.report import write_comparison, write_report, write_systems
    from ner.evaluation.systems import build_systems, compare_systems

    settings, rows = files[0]
    if len(args.predictions) > 1:
        comparison = compare_systems(build_systems(paths, files, args.names), labels)
        write_report(path, settings, rows, page, comparison=comparison)
        write_systems(path, comparison)
        return
    write_report(path, settings, rows, page, args.min_confidence)
    if args.compare:
        other_settings, other_rows = files[1]
        write_comparison(
            path,
            retag(rows, settings, args.min_confidence),
            args.compare,
            retag(other_rows, other_settings),
            args.min_confidence,
            labels,
        )


if __name__ == "__main__":
    run_script(main)
