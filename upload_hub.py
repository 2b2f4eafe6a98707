"""Step 3: publish the adapter on the Hugging Face Hub: weights, tokenizer and model card.

Reads `EXAONE-3.0-7.8B-KLUE-NER-LoRA` (step 2) and leaves it as it is. Reads
`evaluation/metrics.json` (step 4) for the card's scores, if they were measured with this adapter.
The weights of an EXAONE's adapter are published under EXAONE's own names, with a copy of its
license. No model is loaded.

The token is that of your login (hf auth login) or HF_TOKEN. A new repository is private unless you
add --public. Files already on the hub are not sent again, and without changes there is no commit.

    python upload_hub.py --dry_run        show the files and the card
    python upload_hub.py
    python upload_hub.py --tag v1.0       mark a release
"""

import argparse
from pathlib import Path

from ner.cli import build_parser, run_script
from ner.model.adapter import read_adapter_config
from ner.model.names import ADAPTER
from ner.publishing.base_files import read_base_files
from ner.publishing.names import check_names
from ner.publishing.upload import add_owner, check_login, upload


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = build_parser(__doc__)
    parser.add_argument(
        "--adapter",
        type=Path,
        default=Path(ADAPTER),
        metavar="FOLDER",
        help="the adapter's folder",
    )
    parser.add_argument(
        "--repo_id",
        metavar="[OWNER/]NAME",
        help="repository on the hub (default: your own, with the folder's name)",
    )
    parser.add_argument(
        "--base_model",
        metavar="OWNER/NAME",
        help="base model on the hub, if the adapter was trained on a copy in a local folder "
        "(default: the one that the adapter names)",
    )
    parser.add_argument(
        "--metrics",
        type=Path,
        default=Path("evaluation/metrics.json"),
        metavar="FILE",
        help="scores for the card, used only if measured with this adapter",
    )
    parser.add_argument("--public", action="store_true", help="make a new repository public")
    parser.add_argument(
        "--revision",
        metavar="BRANCH",
        help="branch to commit to, created if it is missing (default: main)",
    )
    parser.add_argument("--tag", metavar="NAME", help="tag the upload as a release")
    parser.add_argument(
        "--dry_run", action="store_true", help="print the files' sizes and the card, send nothing"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = read_adapter_config(args.adapter)
    trained_on = config["base_model_name_or_path"]
    base = args.base_model or trained_on
    repo_id = args.repo_id or args.adapter.resolve().name

    # Names, login and license are checked before PyTorch is imported.
    check_names(repo_id, base, trained_on)
    if not args.dry_run:
        check_login()
        repo_id = add_owner(repo_id)
    exaone_names, license_files = read_base_files(base, trained_on, config.get("revision"))

    from ner.model.tensors import hash_adapter
    from ner.publishing.card import build_card
    from ner.publishing.contents import collect_files
    from ner.publishing.results import read_metrics

    metrics = read_metrics(args.metrics, hash_adapter(args.adapter), {base, trained_on})
    card = build_card(repo_id, args.adapter, base, exaone_names, metrics)
    files = collect_files(args.adapter, base, exaone_names) | license_files
    files["README.md"] = f"{card}\n".encode()
    for name, content in sorted(files.items()):
        print(f"{len(content):>14,} bytes  {name}")
    if args.dry_run:
        print(f"\n{card}\n\ndry run: {len(files)} files for {repo_id}, nothing sent")
    else:
        print(upload(repo_id, files, args.public, args.revision, args.tag))


if __name__ == "__main__":
    run_script(main)
