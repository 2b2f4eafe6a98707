"""Check the name of a published adapter against the hub's rules and the base model's license."""

from pathlib import Path

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from ner.cli import InputError
from ner.model.names import ADAPTER, is_exaone


def is_hub_id(name: str) -> bool:
    """Whether a name is valid on the hub and is not that of a local folder."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return not Path(name).exists()


def check_names(repo_id: str, base: str, trained_on: str) -> None:
    """Check that a repository's name is valid and that the base model's license allows it.

    The EXAONE AI Model License 1.1-NC, section 2.1 c, requires the name of a derived model to begin
    with EXAONE. `base` is the base model's name on the hub, `trained_on` its name in the adapter.
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
    name = repo_id.rpartition("/")[2]
    if (is_exaone(base) or is_exaone(trained_on)) and not name.startswith("EXAONE"):
        raise InputError(
            f"{repo_id}: the license of {base} requires the name of a derived model to begin with "
            f"EXAONE, such as {ADAPTER}. Choose another --repo_id"
        )
