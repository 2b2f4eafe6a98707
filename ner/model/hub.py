"""Check access to the Hugging Face Hub, download models, explain errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from httpx2 import HTTPError
from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    DryRunError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

from ner.cli import InputError
from ner.files import free_bytes
from ner.model.process import get_process
from ner.model.retries import LONG_WAITS, find_cause, with_retries

MODEL_FILES = ["*.json", "*.jinja", "*.safetensors", "*.model", "merges.txt"]

PROBE_SECONDS = 5
TRY_WITHOUT_XET = (
    "If large files break off again and again, run `export HF_HUB_DISABLE_XET=1` first. They then "
    "come by plain HTTP instead of Xet"
)


class Base(NamedTuple):
    """A base model: a hub id and its commit, or a local folder without one."""

    name: str
    revision: str | None = None
    download: int = 0  # bytes that are not in the cache yet


@contextmanager
def explain_hub_errors(name: str, advice: str) -> Iterator[None]:
    """Turn the hub's errors about a repository into InputError.

    `advice` says what to do if the hub cannot be reached or fails to answer.
    """
    page = f"{constants.ENDPOINT}/{name}"
    try:
        yield
    except GatedRepoError:
        raise InputError(
            f"{name} is gated and this machine has no access to it. Accept its terms on {page}, "
            "then log in: hf auth login"
        ) from None
    except RevisionNotFoundError:
        raise InputError(f"{name} has no such revision. See {page}/commits") from None
    except HFValidationError as error:
        raise InputError(
            f"{name}: no such folder, and not a valid repository name ({error})"
        ) from None
    except RepositoryNotFoundError:
        raise InputError(
            f"{name}: no such folder, and no such repository that this login can see. Check the "
            "name. If the repository is private, log in: hf auth login"
        ) from None
    except (HTTPError, OSError, RuntimeError) as error:
        cause = find_cause(error)
        if not isinstance(cause, (HTTPError, OSError)):
            raise
        raise InputError(describe_failure(name, cause, advice)) from None


def describe_failure(name: str, error: Exception, advice: str) -> str:
    """One message for an HTTP error or a network failure."""
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if status == 401:
        return (
            "the hub rejects this machine's token. Log in again (hf auth login) or renew HF_TOKEN"
        )
    if status == 403:
        return f"{name}: this login has no permission. Use a token with write access: hf auth login"
    if status is None:
        return f"{name}: the hub cannot be reached ({type(error).__name__}). {advice}"
    if status == 429 and (seconds := error.response.headers.get("Retry-After")):
        advice = f"Rate limited. Retry in {seconds} seconds. {advice}"
    return f"{name}: the hub answered with an error ({status}). {advice}"


def is_reachable(name: str) -> bool:
    """Whether the hub answers about a repository. Asks once, because retries take minutes."""
    try:
        HfApi().model_info(name, timeout=PROBE_SECONDS)
    except HfHubHTTPError:
        return True
    except (HTTPError, OSError):
        return False
    return True


def find_base(name: str, revision: str | None = None) -> Base:
    """Find a base model and check everything that can be checked before its download.

    The folder or repository must exist and hold a model, the account must have access, and the disk
    must have room for the missing files. Without a network, a complete copy in the cache is enough.
    Raises InputError.
    """
    if Path(name).is_dir():
        if not (Path(name) / "config.json").is_file():
            raise InputError(f"{name}: has no config.json, so it is not a model's folder")
        return Base(name)
    advice = (
        "The cache has no complete copy either. Check the network and try again. "
        "`make rehearse` needs no network"
    )
    with explain_hub_errors(name, advice):
        try:
            with hide_progress_bars():
                files = snapshot_download(
                    name, revision=revision, allow_patterns=MODEL_FILES, dry_run=True
                )
        except (DryRunError, LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
            return find_cached_base(name, revision, error)
        if any(file.will_download for file in files):
            HfApi().auth_check(name)
    check_model_files(name, {file.filename for file in files})
    missing = [file.file_size or 0 for file in files if file.will_download]
    download = sum(missing)
    check_download(name, download)
    if missing:
        get_process().print(f"{name}: {len(missing)} files to download, {download / 1e9:.3g} GB")
    return Base(name, files[0].commit_hash, download)


def find_cached_base(name: str, revision: str | None, error: Exception) -> Base:
    """The copy in the cache. If there is none, raises the network's `error`."""
    try:
        folder = snapshot_download(
            name, revision=revision, allow_patterns=MODEL_FILES, local_files_only=True
        )
    except LocalEntryNotFoundError:
        raise error.__cause__ or error from None
    return Base(name, Path(folder).name)


def check_model_files(name: str, files: set[str]) -> None:
    if "config.json" not in files or not any(file.endswith(".safetensors") for file in files):
        raise InputError(
            f"{name}: has no config.json or no safetensors, so Transformers cannot load it"
        )


def check_download(name: str, size: int) -> None:
    """Check that the cache has room for `size` bytes. Raises InputError."""
    cache = Path(constants.HF_HUB_CACHE)
    free = free_bytes(cache)
    if size > free:
        raise InputError(
            f"{name}: {size / 1e6:,.1f} MB to download, but {cache} has {free / 1e6:,.1f} MB free. "
            "Free some space, or set HF_HOME to a folder on a larger disk"
        )


@contextmanager
def hide_progress_bars() -> Iterator[None]:
    """Hide the hub's progress bars while nothing is downloaded."""
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def download_base(base: Base) -> Path:
    """Download all files of a base model. It then loads from the cache without a network.

    One file at a time, because a file that breaks off begins again. If the network or the hub
    fails, tries again three times, for six minutes. Returns their folder. Raises InputError.
    """
    if Path(base.name).is_dir():
        return Path(base.name)
    advice = (
        "Run the same command again: it keeps complete files and begins a broken one again. "
        f"{TRY_WITHOUT_XET}"
    )

    def download() -> str:
        return snapshot_download(
            base.name, revision=base.revision, allow_patterns=MODEL_FILES, max_workers=1
        )

    with explain_hub_errors(base.name, advice):
        return Path(with_retries(download, LONG_WAITS))
