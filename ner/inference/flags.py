"""Flags of scripts that ask a model, on this machine or on a server."""

import argparse
from pathlib import Path

from ner.cli import add_corpus_flags, non_negative_int, positive_int, probability
from ner.model.names import ADAPTER, EXAONE
from ner.text.continuation import DRAFT
from ner.text.klue import KLUE
from ner.text.prompts import SYSTEM_PROMPTS

PRECISIONS = ["nf4", "merged", "bfloat16", "float32"]


def parse_batch_size(text: str) -> int | None:
    return None if text == "auto" else positive_int(text)


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    model = parser.add_argument_group("model")
    model.add_argument(
        "--adapter",
        default=ADAPTER,
        metavar="ID_OR_FOLDER",
        help="local folder or hub id ([OWNER/]NAME[@REVISION]), or none for the base model alone",
    )
    model.add_argument(
        "--model",
        metavar="ID_OR_FOLDER",
        help=f"base model (default: the adapter's own, or {EXAONE})",
    )
    model.add_argument(
        "--revision", metavar="REV", help="the base's commit on the hub (default: the adapter's)"
    )
    model.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="precision of the base model (default: the adapter's own, or nf4); merged is nf4 "
        "unpacked to bfloat16, with the adapter merged into it, which is faster and takes more "
        "memory",
    )
    model.add_argument(
        "--prompt",
        choices=SYSTEM_PROMPTS,
        help="system prompt (default: the adapter's own, or basic if unknown)",
    )
    model.add_argument(
        "--prompt_file", type=Path, metavar="FILE", help="a system prompt of your own"
    )
    model.add_argument(
        "--answer",
        choices=["json", "marked"],
        help="kind of answer that --prompt_file asks for (default: the adapter's own, or json)",
    )
    model.add_argument(
        "--label_file",
        type=Path,
        metavar="FILE",
        help="labels to ask for, as in labels.json, if no adapter records them",
    )
    model.add_argument(
        "--max_new_tokens",
        type=positive_int,
        metavar="N",
        help="limit of an answer (default: twice the longest training answer in evaluate_hub.py, "
        "512 in tag.py and with --endpoint)",
    )
    model.add_argument(
        "--batch_size",
        type=parse_batch_size,
        default="auto",
        metavar="N",
        help="sentences at a time, halved if memory runs out (default: auto, 64 on CUDA, 16 on a "
        "CPU)",
    )
    model.add_argument(
        "--constrain",
        action=argparse.BooleanOptionalAction,
        help="only allow exact copies of the sentence in marked answers (default: yes on this "
        "machine, no on a server)",
    )
    model.add_argument(
        "--draft",
        type=non_negative_int,
        metavar="N",
        help="tokens of the sentence to draft for each call of the model in marked answers, 0 for "
        f"none (default: {DRAFT})",
    )


def add_sentence_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that draw sentences of a data set with a seed."""
    add_split_flags(parser).add_argument("--seed", type=int, default=42, help="seed of the draw")


def add_split_flags(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add the flags of a data set, a split and a number of sentences. Returns their group."""
    data = parser.add_argument_group("sentences")
    data.add_argument(
        "--dataset", default=KLUE, metavar="ID_OR_FOLDER", help="as for data_processing.py"
    )
    add_corpus_flags(data)
    data.add_argument("--split", default="validation", help="split to draw from")
    data.add_argument(
        "--num_samples",
        type=positive_int,
        default=100,
        metavar="N",
        help="sentences to draw; a smaller split is used whole",
    )
    return data


def add_server_flags(parser: argparse.ArgumentParser) -> None:
    server = parser.add_argument_group("a model on a server")
    server.add_argument(
        "--endpoint",
        metavar="URL",
        help="OpenAI-compatible server of --model. Set ENDPOINT_API_KEY if it needs a key",
    )
    server.add_argument(
        "--concurrency", type=positive_int, default=16, metavar="N", help="requests at a time"
    )


def add_min_confidence_flag(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--min_confidence",
        type=parse_min_confidence,
        default=0.0,
        metavar="P|saved",
        help="leave out names below this confidence, or below the adapter's own threshold (saved), "
        "which train.py --validation chose (default: 0, all names count)",
    )


def parse_min_confidence(text: str) -> float | str:
    return text if text == "saved" else probability(text)


def check_flags(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """End with a usage error if flags do not go together."""
    if args.endpoint and not args.model:
        parser.error("--endpoint needs --model, the model's name on the server")
    if args.endpoint and args.draft:
        parser.error("--draft is for a model on this machine, not for --endpoint")
    if args.prompt and args.prompt_file:
        parser.error("--prompt and --prompt_file exclude each other")
    if args.answer and not args.prompt_file:
        parser.error("--answer is for --prompt_file. Our own prompts are chosen with --prompt")
