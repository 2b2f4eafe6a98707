"""Step 4: ask the fine-tuned model for the entities of held-out sentences, and score its answers.

Reads the adapter (from the hub or a local folder), its base model in 4-bit as in training, and a
seeded sample of KLUE-NER's validation split. Appends each answer to `evaluation/predictions.jsonl`,
then prints the scores and writes `metrics.json` and `report.html` beside it. After an interruption,
the same command continues.

    python evaluate_hub.py                                  100 sentences, drawn as in the post
    python evaluate_hub.py --text "손흥민은 춘천에서 태어났다."  your own sentences
    accelerate launch evaluate_hub.py                       on every GPU of the machine

Give each further run its own --output_dir:

    python evaluate_hub.py --num_samples 5000 --output_dir evaluation-5000    the whole split
    python evaluate_hub.py --endpoint URL --model NAME --output_dir evaluation-server
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ner.cli import InputError, build_parser, positive_int, probability, run_script
from ner.evaluation.flags import add_model_flags, add_sentence_flags
from ner.files import check_writable
from ner.model.adapter import check_adapter, find_adapter, read_adapter_task, read_min_confidence
from ner.text.conversion import tag_answer
from ner.text.klue import LABELS
from ner.text.notation import mark_entities
from ner.text.task import check_data_labels, check_marked, choose_task

if TYPE_CHECKING:
    from ner.evaluation.answering import Recognizer
    from ner.evaluation.recognizer import LocalRecognizer


def parse_min_confidence(text: str) -> float | str:
    return text if text == "saved" else probability(text)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = build_parser(__doc__)
    add_model_flags(parser)

    server = parser.add_argument_group("a model on a server")
    server.add_argument(
        "--endpoint",
        metavar="URL",
        help="OpenAI-compatible server of --model. Set ENDPOINT_API_KEY if it needs a key",
    )
    server.add_argument(
        "--concurrency", type=positive_int, default=16, metavar="N", help="requests at a time"
    )

    data = add_sentence_flags(parser)
    data.add_argument(
        "--text",
        nargs="+",
        metavar="SENTENCE",
        help="tag these sentences and print them in KLUE's notation",
    )

    output = parser.add_argument_group("output")
    output.add_argument(
        "--output_dir",
        type=Path,
        default=Path("evaluation"),
        metavar="DIR",
        help="folder of predictions.jsonl, metrics.json and report.html",
    )
    output.add_argument(
        "--min_confidence",
        type=parse_min_confidence,
        default=0.0,
        metavar="P|saved",
        help="leave out names of which the model is less sure: a probability, or saved for the "
        "adapter's own threshold, chosen by train.py --validation (default: 0, all names count)",
    )
    output.add_argument(
        "--min_f1", type=float, metavar="F1", help="exit with an error below this F1"
    )
    args = parser.parse_args(argv)
    if args.endpoint and not args.model:
        parser.error("--endpoint needs --model, the model's name on the server")
    if args.endpoint and args.draft:
        parser.error("--draft is for a model on this machine, not for --endpoint")
    return args


def choose_min_confidence(args: argparse.Namespace) -> float:
    """The confidence below which names are left out. Raises InputError if none is saved."""
    if args.min_confidence != "saved":
        return args.min_confidence
    adapter = None if args.endpoint else find_adapter(args.adapter)
    threshold = read_min_confidence(adapter) if adapter else None
    if threshold is None:
        raise InputError(
            f"--min_confidence saved: no threshold is saved with {args.endpoint or args.adapter}. "
            "Pass a number from 0 to 1, or an adapter that train.py trained with --validation"
        )
    from ner.model.process import get_process

    get_process().print(f"threshold {threshold}, saved with the adapter")
    return threshold


def build_recognizer(args: argparse.Namespace, labels: Mapping[str, str] = LABELS) -> "Recognizer":
    """The model to ask: one on a server, or one on this machine.

    `labels` are those to ask for if the adapter does not record its own.
    """
    if not args.endpoint:
        return build_local_recognizer(args, None if args.text else args.dataset, labels)
    from ner.evaluation.endpoint import EndpointRecognizer

    return EndpointRecognizer(
        args.endpoint,
        args.model,
        choose_task(None, labels, args.prompt, args.prompt_file, args.answer),
        args.max_new_tokens,
        args.concurrency,
        constrain=bool(args.constrain),
        require_logprobs=bool(args.min_confidence),
    )


def build_local_recognizer(
    args: argparse.Namespace, dataset: str | None, labels: Mapping[str, str] = LABELS
) -> "LocalRecognizer":
    adapter = find_adapter(args.adapter)
    recorded = read_adapter_task(adapter) if adapter else None
    task = choose_task(recorded, labels, args.prompt, args.prompt_file, args.answer)
    if args.draft:
        check_marked(task, "--draft")
    # Imported after the adapter is found: PyTorch and PEFT take seconds.
    from ner.evaluation.recognizer import LocalRecognizer, find_recognizer_base

    return LocalRecognizer(
        base=find_recognizer_base(adapter, args.adapter, args.model, args.revision),
        precision=args.precision,
        adapter=adapter,
        adapter_name=args.adapter,
        task=task,
        batch_size=args.batch_size,
        max_new_tokens=args.max_new_tokens,
        dataset=dataset,
        constrain=args.constrain,
        draft=args.draft,
    )


def print_marked(recognizer: "Recognizer", sentences: list[str], min_confidence: float) -> None:
    """Tag sentences and print them in KLUE's notation."""
    task = recognizer.task
    for answer in sorted(recognizer.answer(dict(enumerate(sentences)))):
        tokens = list(sentences[answer.index])
        tags, _ = tag_answer(
            answer.text, tokens, task.kind, answer.pieces, min_confidence, task.labels
        )
        print(mark_entities(tokens, tags))
        if not answer.stopped:
            print(f"note: the answer to sentence {answer.index + 1} reached the token limit")


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    min_confidence = choose_min_confidence(args)
    if args.text:
        print_marked(build_recognizer(args), args.text, min_confidence)
        return

    path = args.output_dir / "predictions.jsonl"
    check_writable(path)
    if not args.endpoint:
        check_adapter(args.adapter)
    # Imported here because data sets take a second.
    from ner.evaluation.answering import answer_rows, draw_rows, hash_sentences
    from ner.text.corpus import find_revision, get_labels

    rows = draw_rows(args.dataset, args.split, args.num_samples, args.seed, args.labels, args.join)
    labels = get_labels(rows, args.dataset)
    recognizer = build_recognizer(args, labels)
    check_data_labels(recognizer.task, labels, args.dataset)
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
