"""Upload files to the hub with retries. No file is sent twice."""

from huggingface_hub import CommitOperationAdd, HfApi, get_token

from ner.cli import InputError
from ner.model.hub import explain_hub_errors
from ner.model.retries import with_retries

ADVICE = "Run the same command again. Files already on the hub are not sent again"


def check_login() -> None:
    """Check that this machine has a token. Raises InputError."""
    if get_token() is None:
        raise InputError(
            "not logged in to the hub. Log in with a token that has write access: hf auth login "
            "(or set HF_TOKEN)"
        )


def add_owner(repo_id: str) -> str:
    """A repository's full name. Raises InputError.

    A name without an owner refers to the user's own repository.
    """
    if "/" in repo_id:
        return repo_id
    with explain_hub_errors(repo_id, ADVICE):
        user = with_retries(HfApi().whoami)
    return f"{user['name']}/{repo_id}"


def upload(
    repo_id: str, files: dict[str, bytes], public: bool, branch: str | None, tag: str | None
) -> str:
    """`publish`, with retries. Raises InputError."""
    with explain_hub_errors(repo_id, ADVICE):
        return with_retries(lambda: publish(repo_id, files, public, branch, tag))


def publish(
    repo_id: str, files: dict[str, bytes], public: bool, branch: str | None, tag: str | None
) -> str:
    """Create the repository, branch, commit and tag, except those that exist already.

    Returns their address in one line. Raises InputError if the tag points elsewhere.
    """
    api = HfApi()
    url = api.create_repo(repo_id, private=not public, exist_ok=True)
    if branch:
        api.create_branch(repo_id, branch=branch, exist_ok=True)
    commit = api.create_commit(
        repo_id,
        [CommitOperationAdd(name, content) for name, content in files.items()],
        commit_message="Upload LoRA adapter, tokenizer and card",
        revision=branch,
    )
    if not tag:
        return f"uploaded: {url} at {commit.oid[:7]}"
    tags = {ref.name: ref.target_commit for ref in api.list_repo_refs(repo_id).tags}
    if tags.get(tag, commit.oid) != commit.oid:
        raise InputError(
            f"Tag {tag} already points to {tags[tag][:7]}. The files are uploaded, at "
            f"{commit.oid[:7]} of {url}. Choose another --tag and run the same command again"
        )
    if tag not in tags:
        api.create_tag(repo_id, tag=tag, revision=commit.oid)
    return f"uploaded: {url} at {commit.oid[:7]}, tag {tag}"
