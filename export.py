"""Merge an adapter into its base model, and write a checkpoint that loads without this project.

Reads the adapter (a local folder, or from the hub) and its base model, one tensor at a time. Writes
a folder in bfloat16 with weights, tokenizer, model card and the base's license. EXAONE 3 becomes a
plain Llama, which Transformers, vLLM and llama.cpp load without code from a repository. Other
models keep their type.

An adapter that was trained in 4-bit is merged into the 4-bit weights, unpacked, because those are
the weights it has learned to correct. --onto original takes the base's own weights instead.

    python export.py
    python export.py --adapter OWNER/NAME --output_dir EXAONE-merged
"""

import argparse
from pathlib import Path

from ner.cli import InputError, build_parser, run_script
from ner.files import check_replaceable
from ner.model.adapter import find_adapter, read_adapter_config, read_precision
from ner.model.names import ADAPTER, MERGED
from ner.publishing.names import EXPORT_RECORD, check_license


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = build_parser(__doc__)
    parser.add_argument(
        "--adapter",
        default=ADAPTER,
        metavar="ID_OR_FOLDER",
        help="local folder or hub id ([OWNER/]NAME[@REVISION])",
    )
    parser.add_argument(
        "--output_dir",
        type=Path,
        default=Path(MERGED),
        metavar="DIR",
        help="folder to write; if it derives from an EXAONE, its name must begin with EXAONE",
    )
    parser.add_argument(
        "--model",
        metavar="ID_OR_FOLDER",
        help="base model (default: the one that the adapter names)",
    )
    parser.add_argument(
        "--onto",
        choices=["trained", "original"],
        default="trained",
        help="weights to merge into: those that training saw, or the base's original ones. They "
        "differ if it was trained in 4-bit",
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)

    # Everything that can be checked is checked before the download.
    check_replaceable(args.output_dir, EXPORT_RECORD)
    adapter = find_adapter(args.adapter)
    if adapter is None:
        raise InputError("--adapter none: there is nothing to merge. Name an adapter")
    trained_on = read_adapter_config(adapter)["base_model_name_or_path"]
    name = args.output_dir.resolve().name
    check_license(name, args.model or trained_on, trained_on, "--output_dir")
    nf4 = args.onto == "trained" and read_precision(adapter) == "nf4"

    # Imported after the checks: PyTorch and PEFT take seconds.
    from ner.inference.recognizer import find_recognizer_base
    from ner.model.loading import load_config
    from ner.publishing.export import check_space, read_license, write_checkpoint
    from ner.publishing.merging import prepare_merging

    base = find_recognizer_base(adapter, args.adapter, args.model, None)
    config = load_config(base)
    merging = prepare_merging(config, adapter, nf4)
    check_space(args.output_dir, config, base, merging.dtype)
    write_checkpoint(base, config, merging, read_license(base), args.output_dir)


if __name__ == "__main__":
    run_script(main)
