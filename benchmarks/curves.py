"""Measure learning curves of our recipe, then compare it with JSON answers and the post's recipe.

First trains one adapter per learning rate and seed, with train.py's settings for several epochs.
train.py scores each checkpoint on chats that it holds out of the training split. `curves.md`,
`curves.json` and `curves.svg` in --work_dir have these scores, with 95 % bootstrap intervals over
the held-out chats. The learning rate decays to 0 over all epochs, so a checkpoint within a curve is
not the end of a shorter run.

Then takes the rate with the best held-out F1 and trains each row of `final.md` and `final.json`
for the same number of steps: ours, the same with the other kind of answer, and the post's recipe,
with two seeds each. Each adapter is its run's best checkpoint, by held-out F1 again, and is scored
on sentences of the validation split. The post's recipe keeps its own learning rate.

All files are written again after each adapter. After an interruption, the same command continues.
Another seed also holds out other chats.

    python -m benchmarks.curves --model MODEL --dataset PATH --work_dir DIR
    python -m benchmarks.curves --model MODEL --dataset PATH --work_dir DIR --rows
    python -m benchmarks.curves --model MODEL --dataset PATH --work_dir DIR --no-train

The second command stops after the curves. The third only writes the files again, also while another
process trains.
"""

import argparse

from benchmarks import runs
from benchmarks.curves_run import CONDITIONS, evaluate_run, list_curves, list_rows, train_run
from ner.cli import (
    add_corpus_flags,
    build_parser,
    non_negative_float,
    positive_int,
    run_script,
)

SETTINGS = (
    *("model", "dataset", "labels", "join", "answer", "epochs", "checkpoints", "num_samples"),
    *("precision", "lora_dropout", "validation"),
)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = build_parser(__doc__)
    runs.add_place_flags(parser)
    add_corpus_flags(parser)
    runs.add_training_flags(parser)
    flag = parser.add_argument
    flag("--answer", choices=["marked", "json"], default="marked", help="kind of the curves")
    flag(
        "--learning_rates",
        type=non_negative_float,
        nargs="+",
        default=[2e-4, 5e-4, 1e-3],
        metavar="RATE",
        help="peaks, a curve each (default: 2e-4 5e-4 1e-3)",
    )
    flag(
        "--seeds",
        type=int,
        nargs="+",
        default=[42],
        metavar="N",
        help="seeds of the curves (default: 42)",
    )
    flag("--epochs", type=positive_int, default=4, metavar="N", help="of each run")
    flag("--checkpoints", type=positive_int, default=2, metavar="N", help="scores per epoch")
    flag(
        "--rows",
        choices=CONDITIONS,
        nargs="*",
        default=list(CONDITIONS),
        help="rows of the final table, which may be none (default: all)",
    )
    flag(
        "--final_seeds",
        type=int,
        nargs="+",
        default=[42, 43],
        metavar="N",
        help="seeds of the final rows (default: 42 43)",
    )
    flag("--num_samples", type=positive_int, default=800, metavar="N", help="sentences to score")
    flag(
        "--train",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="train and evaluate, the default, or only write the files from the checkpoints and "
        "answers so far",
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    runs.check_settings(args.work_dir, {name: getattr(args, name) for name in SETTINGS})
    # Imported here because scikit-learn takes a second.
    from benchmarks.curves_report import choose_rate, write_curves, write_final

    curves = list_curves(args)
    if args.train:
        for run in curves:
            train_run(args, run)
            write_curves(args, curves)
    rate = choose_rate(write_curves(args, curves))
    if rate is not None and args.rows:
        rows = list_rows(args, rate)
        if args.train:
            for run in rows:
                evaluate_run(args, run)
                write_final(args, rows)
        write_final(args, rows)
    for name in ("curves.md", "final.md"):
        if (args.work_dir / name).is_file():
            print(f"\n{(args.work_dir / name).read_text(encoding='utf-8')}")


if __name__ == "__main__":
    run_script(main)
