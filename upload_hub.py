"""Step 3: upload the adapter and its tokenizer to the Hugging Face Hub; nothing else, and no model is loaded.

Reads `EXAONE-3.0-7.8B-KLUE-NER-LoRA` (step 2). The token is the login's (hf auth login) or HF_TOKEN.
A repository that has to be created is private unless --public.

    python upload_hub.py --dry_run
    python upload_hub.py
"""
import argparse
import json
from pathlib import Path

from huggingface_hub import HfApi, get_token

from data_processing import InputError, run_script
from exaone import ADAPTER, ADAPTER_FILES, explain_hub_errors, is_exaone


def list_files(folder: Path) -> list[Path]:
    """The files of an adapter that go to the hub. Raises InputError if `folder` holds no adapter."""
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if not (folder / name).is_file():
            raise InputError(f"{folder}: holds no {name}, so there is no adapter to upload. Train one: python train.py")
    return [folder / name for name in ADAPTER_FILES if (folder / name).is_file()]


def check_name(repo_id: str, folder: Path) -> None:
    """Check a repository's name against the base model's licence. Raises InputError.

    EXAONE AI Model License 1.1-NC: the name of a model derived from an EXAONE begins with EXAONE.
    """
    base = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["base_model_name_or_path"]
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
    files = list_files(args.adapter)
    repo_id = args.repo_id or args.adapter.resolve().name
    check_name(repo_id, args.adapter)
    for file in files:
        print(f"{file.stat().st_size:>14,} bytes  {file.name}")
    if args.dry_run:
        print(f"dry run: {len(files)} files for {repo_id}, nothing sent")
        return
    if get_token() is None:
        raise InputError("not logged in to the hub. Log in with a token that may write: hf auth login (or set HF_TOKEN)")
    api = HfApi()
    with explain_hub_errors(repo_id):
        if "/" not in repo_id:
            repo_id = f"{api.whoami()['name']}/{repo_id}"
        url = api.create_repo(repo_id, private=not args.public, exist_ok=True)
        api.upload_folder(repo_id=repo_id, folder_path=args.adapter, allow_patterns=[file.name for file in files],
                          commit_message="Upload LoRA adapter and tokenizer")
    print(f"uploaded: {url}")


if __name__ == "__main__":
    run_script(main)
