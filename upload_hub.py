"""Step 3: upload the adapter and its tokenizer to the Hugging Face Hub; nothing else, and no model is loaded.

Reads `EXAONE-3.0-7.8B-KLUE-NER-LoRA` (step 2). The token is the login's (hf auth login) or HF_TOKEN.
A repository that has to be created is private unless --public.

    python upload_hub.py --dry_run
    python upload_hub.py
"""
import argparse
from pathlib import Path

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from data_processing import InputError, run_script
from exaone import ADAPTER, ADAPTER_FILES, explain_hub_errors, is_exaone, read_adapter_config


def list_files(folder: Path) -> list[Path]:
    """The files of an adapter that go to the hub."""
    return [folder / name for name in ADAPTER_FILES if (folder / name).is_file()]


def check_name(repo_id: str, base: str) -> None:
    """Check that a repository can have this name, and may: the licence of its base model has a say. Raises InputError.

    EXAONE AI Model License 1.1-NC: the name of a model derived from an EXAONE begins with EXAONE.
    """
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise InputError(f"{repo_id}: no name that a repository can have ({error})") from None
    if is_exaone(base) and not repo_id.rpartition("/")[2].startswith("EXAONE"):
        raise InputError(f"{repo_id}: the licence of {base} wants the name of a derived model to begin with EXAONE, "
                         f"such as {ADAPTER}. Choose another --repo_id")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapter", type=Path, default=Path(ADAPTER), metavar="FOLDER",
                        help="the adapter's folder (default: %(default)s)")
    parser.add_argument("--repo_id", metavar="[OWNER/]NAME",
                        help="repository on the hub (default: the folder's name, in the login's namespace)")
    parser.add_argument("--public", action="store_true", help="if the repository has to be created, make it public")
    parser.add_argument("--dry_run", action="store_true", help="list the files and their sizes; send nothing")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    config = read_adapter_config(args.adapter)
    repo_id = args.repo_id or args.adapter.resolve().name
    check_name(repo_id, config["base_model_name_or_path"])
    files = list_files(args.adapter)
    for file in files:
        print(f"{file.stat().st_size:>14,} bytes  {file.name}")
    if args.dry_run:
        print(f"dry run: {len(files)} files for {repo_id}, nothing sent")
        return
    if get_token() is None:
        raise InputError("not logged in to the hub. Log in with a token that may write: hf auth login (or set HF_TOKEN)")
    api = HfApi()
    with explain_hub_errors(repo_id, "Run the same command again: what is there already is not sent twice"):
        if "/" not in repo_id:
            repo_id = f"{api.whoami()['name']}/{repo_id}"
        url = api.create_repo(repo_id, private=not args.public, exist_ok=True)
        api.upload_folder(repo_id=repo_id, folder_path=args.adapter, allow_patterns=[file.name for file in files],
                          commit_message="Upload LoRA adapter and tokenizer")
    print(f"uploaded: {url}")


if __name__ == "__main__":
    run_script(main)
