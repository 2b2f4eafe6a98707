"""Check the name of a derived model against the hub's rules and the base model's license."""

from pathlib import Path

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from ner.cli import InputError
from ner.model.names import ADAPTER, is_exaone

EXPORT_RECORD = "export.json"  # marks a folder that export.py wrote and may replace


def is_hub_id(name: str) -> bool:
    """Whether a name is valid on the hub and is not that of a local folder."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return not Path(name).exists()


def check_names(repo_id: str, base: str, trained_on: str) -> None:
    """Check that a repository's name is valid and that the base model's license allows it.

    `base` is the base model's name on the hub, `trained_on` its name in the adapter.
    Raises InputError.
    """
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise InputError(
            f"{repo_id}: not a valid repository name ({error}). Choose another --repo_id"
        ) from None
    if not is_hub_id(base):
        raise InputError(
            f"{base}: the adapter names its base model by a path on this machine, which others do "
            "not have and should not see. Give its name on the hub: --base_model OWNER/NAME"
        )
    check_license(repo_id, base, trained_on, "--repo_id")


def check_license(name: str, base: str, trained_on: str, flag: str) -> None:
    """Check that the base model's license allows a derived model of this name.

    The EXAONE AI Model License 1.1-NC, section 2.1 c, requires it to begin with EXAONE. `flag` is
    the flag that sets the name. An owner may precede it. Raises InputError.
    """
    last = name.rpartition("/")[2]
    if (is_exaone(base) or is_exaone(trained_on)) and not last.startswith("EXAONE"):
        raise InputError(
            f"{name}: the license of {base} requires the name of a derived model to begin with "
            f"EXAONE, such as {ADAPTER}. Choose another {flag}"
        )
