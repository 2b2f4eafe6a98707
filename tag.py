"""Find the names in your own texts with a fine-tuned model.

Reads text files with one document per line, JSON lines with a field `text` (*.jsonl), or standard
input. Writes one JSON line per document, in order: the text and its entities, with their places in
characters and their confidence. After an interruption, the same command continues.

    python tag.py --text "손흥민은 춘천에서 태어났다."   print the names in a text
    python tag.py news.txt --output news.tagged.jsonl    tag every line of a file
    accelerate launch tag.py news.txt --output news.tagged.jsonl    on every GPU of the machine
    python tag.py news.txt --endpoint URL --model NAME --output news.tagged.jsonl    on a server
"""

import argparse
import contextlib
import sys
from pathlib import Path

from ner.cli import InputError, build_parser, run_script
from ner.files import check_writable
from ner.inference.building import build_recognizer, choose_min_confidence
from ner.inference.flags import (
    add_min_confidence_flag,
    add_model_flags,
    add_server_flags,
    check_flags,
)
from ner.tagging.reading import STDIN, check_inputs, read_documents, read_texts
from ner.tagging.recognizer import Recognizer
from ner.tagging.writing import FORMATS


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = build_parser(__doc__)
    documents = parser.add_argument_group("documents")
    documents.add_argument(
        "inputs",
        nargs="*",
        metavar="FILE",
        help="text file with one document per line, or *.jsonl whose other fields are kept "
        "(default: -, standard input)",
    )
    documents.add_argument(
        "--text", nargs="+", metavar="TEXT", help="tag these texts instead, each a document"
    )
    documents.add_argument(
        "--whole_file", action="store_true", help="read each text file as one document"
    )

    add_model_flags(parser)
    add_server_flags(parser)

    output = parser.add_argument_group("output")
    output.add_argument(
        "--output", type=Path, metavar="FILE", help="file to write (default: standard output)"
    )
    output.add_argument(
        "--format",
        choices=FORMATS,
        default="jsonl",
        help="JSON lines, KLUE's notation with one sentence per line, CoNLL with one character per "
        "line, or doccano's JSON lines",
    )
    add_min_confidence_flag(output)
    args = parser.parse_args(argv)
    check_flags(parser, args)
    if args.text and (args.inputs or args.whole_file):
        parser.error("--text replaces the files. Leave out one of them, and --whole_file")
    args.inputs = args.inputs or [STDIN]
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    stdout = sys.stdout
    # Standard output is for documents alone. Messages go to standard error.
    with contextlib.redirect_stdout(sys.stderr):
        # Everything that can be checked is checked before the model loads.
        if args.output:
            check_writable(args.output)
            if args.output.resolve() in [Path(name).resolve() for name in args.inputs]:
                raise InputError(f"{args.output}: is an input too. Choose another --output")
        size = check_inputs(args.inputs, args.whole_file)
        min_confidence = choose_min_confidence(args)
        recognizer = Recognizer(build_recognizer(args), min_confidence)
        documents = read_documents(args.inputs, args.whole_file)
        if args.text:
            documents = read_texts(args.text)

        # Imported here because PyTorch takes seconds.
        from ner.model.process import get_process
        from ner.tagging.run import tag_to_file, tag_to_stream

        if STDIN in args.inputs and not args.text and get_process().num_processes > 1:
            raise InputError("standard input cannot be shared among processes. Pass a file")
        if args.output:
            settings = recognizer.settings | {
                "inputs": args.text or args.inputs,
                "whole_file": args.whole_file,
                "format": args.format,
            }
            tag_to_file(recognizer, documents, args.format, args.output, settings, size)
        else:
            tag_to_stream(recognizer, documents, args.format, stdout, size)
        # A process that ends while another is still connected may abort.
        get_process().wait_for_everyone()
        get_process().destroy_process_group()


if __name__ == "__main__":
    run_script(main)
