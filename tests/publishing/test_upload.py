"""Uploads to a hub on loopback, with the real client: faults, permissions, releases."""

import json
import shutil
from pathlib import Path

import pytest

from tests.hub_client import HubClient
from tests.loopback_hub import TOKENS, LoopbackHub, add_base


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    modules = ["ner.publishing.card", "ner.publishing.contents"]
    with (
        LoopbackHub(TOKENS) as hub,
        HubClient(hub, tmp_path_factory.mktemp("home"), *modules) as client,
    ):
        yield client


@pytest.fixture
def hub(client):
    """A hub without repositories."""
    client.hub.repos.clear()
    client.hub.requests.clear()
    return client.hub


def upload(client, tmp_path, *cases) -> list[tuple[int | str, list[float]]]:
    """Run upload_hub.py for each (token, folder, *arguments), one after the other.

    Returns the exit code of each run and the seconds that it waited between tries.
    """
    commands = []
    for token, folder, *arguments in cases:
        names = ["--adapter", str(folder), "--base_model", "alice/EXAONE-base"]
        commands.append([token, *names, *arguments])
    done = client.run("", tmp_path, "tests/publishing/uploads.py", json.dumps(commands))
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert not [token for token in client.hub.tokens if token in done.stdout + done.stderr]
    lines = [line for line in done.stdout.splitlines() if line.startswith("ENDED ")]
    return [json.loads(line.removeprefix("ENDED ")) for line in lines]


NO_PERMISSION = (
    "alice/EXAONE-{}: this login has no permission. Use a token with write access: hf auth login"
)
BAD_TOKEN = "the hub rejects this machine's token. Log in again"
ERROR_500 = "alice/EXAONE-{}: the hub answered with an error (500). "
ERROR_429 = "alice/EXAONE-{}: the hub answered with an error (429). "
UNREACHABLE = "alice/EXAONE-{}: the hub cannot be reached ("
AGAIN = "Run the same command again. Files already on the hub are not sent again"
COMMIT = ("POST", "/{}/commit/")
PUT = ("PUT", "^/lfs/{}/")
# Name: method, path, fault, and the beginning of the message if the upload fails.
FAULTS = {
    # No retry helps. The upload fails at once.
    "put-403": (*PUT, {"status": 403}, NO_PERMISSION),
    "commit-403": (*COMMIT, {"status": 403}, NO_PERMISSION),
    "commit-401": (*COMMIT, {"status": 401}, BAD_TOKEN),
    # A retry helps.
    "preupload-500": ("POST", "/{}/preupload/", {"status": 500}, None),
    "put-500": (*PUT, {"status": 500}, None),
    "put-cut": (*PUT, {"cut_after": 100_000}, None),
    "commit-500": (*COMMIT, {"status": 500, "times": 3}, None),
    "commit-cut": (*COMMIT, {"cut_after": 10}, None),
    "commit-409": (*COMMIT, {"status": 409}, None),
    "commit-429": (*COMMIT, {"status": 429, "headers": {"Retry-After": "7"}}, None),
    "branch-500": ("POST", "/{}/branch/", {"status": 500}, None),
    "tag-503": ("POST", "/{}/tag/", {"status": 503}, None),
    # The fault lasts longer than the retries.
    "always-500": (*COMMIT, {"status": 500, "times": 4}, ERROR_500 + AGAIN),
    "always-cut": (*COMMIT, {"cut_after": 10, "times": 4}, UNREACHABLE),
    "later-429": (
        *COMMIT,
        {"status": 429, "headers": {"Retry-After": "900"}},
        ERROR_429 + "Rate limited. Retry in 900 seconds. " + AGAIN,
    ),
}


def test_every_fault_is_retried_or_reported(hub, client, tmp_path, adapter, stand_in):
    """Each fault happens in its own repository.

    Running the same command again always finishes and never sends a large file twice.
    """
    add_base(hub, stand_in)
    for name, (method, path, fault, _) in FAULTS.items():
        hub.fail_next(method, path.format(f"alice/EXAONE-{name}"), **fault)
    release = ["--revision", "next", "--tag", "v1"]
    cases = [
        ("hf_alice", adapter, *release, "--repo_id", f"alice/EXAONE-{name}") for name in FAULTS
    ]
    ends = upload(client, tmp_path, *cases, *cases)
    first, second = ends[: len(FAULTS)], ends[len(FAULTS) :]
    waits = {}
    for name, (code, seconds) in zip(FAULTS, first, strict=True):
        message, waits[name] = FAULTS[name][3], seconds
        if message is None:
            assert code == 0, (name, code)
        else:
            assert code.startswith("error: " + message.format(name)), (name, code)
    assert second == [[0, []]] * len(FAULTS)
    assert not hub.faults
    assert waits["commit-500"] == waits["always-500"] == [1, 2, 4]
    assert waits["commit-429"] == [7]
    assert waits["later-429"] == waits["commit-403"] == waits["commit-401"] == []
    for name in FAULTS:
        check_repository(hub, f"alice/EXAONE-{name}")


def check_repository(hub, repo_id: str) -> None:
    """One commit with all files on branch `next`, tagged v1, and no large file sent twice."""
    repo = hub.repos[repo_id]
    assert len(hub.find_commit(repo, "next")["files"]) == 8
    assert repo["files"].keys() == {".gitattributes"}
    assert repo["tags"] == {"v1": repo["branches"]["next"]}
    titles = [commit["title"] for commit in repo["commits"]]
    assert titles == ["initial commit", "Upload LoRA adapter, tokenizer and card"]
    sent = [
        path
        for method, path, status in hub.requests
        if (method, status) == ("PUT", 200) and f"{repo_id}/" in path
    ]
    assert len(sent) == len(set(sent)) == len(repo["objects"]), repo_id


def test_release_does_not_move_and_a_repository_stays_as_public_as_it_is(
    hub, client, tmp_path, adapter, stand_in
):
    add_base(hub, stand_in)
    other = tmp_path / "other"
    shutil.copytree(adapter, other)
    (other / "chat_template.jinja").write_text("{{ 'another' }}")
    public, moved, private = upload(
        client,
        tmp_path,
        ("hf_alice", adapter, "--repo_id", "alice/EXAONE-a", "--public", "--tag", "v1"),
        ("hf_alice", other, "--repo_id", "alice/EXAONE-a", "--tag", "v1"),
        ("hf_alice", adapter, "--repo_id", "alice/EXAONE-b"),
    )
    repo = hub.repos["alice/EXAONE-a"]
    assert public[0] == private[0] == 0
    assert not repo["private"]
    assert hub.repos["alice/EXAONE-b"]["private"]
    assert f"Tag v1 already points to {repo['tags']['v1'][:7]}." in moved[0]
    assert "Choose another --tag" in moved[0]
    assert repo["tags"]["v1"] == repo["commits"][1]["oid"] != repo["branches"]["main"]


def copy_with_base(adapter: Path, folder: Path, base: str) -> Path:
    """Copy an adapter and let it name another base model."""
    shutil.copytree(adapter, folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = base
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def test_upload_without_permission_or_without_the_base(hub, client, tmp_path, adapter):
    hub.add_repo("alice/EXAONE-theirs", private=True)
    hub.add_repo("alice/EXAONE-open")
    hub.add_repo("alice/EXAONE-bare", {"config.json": b'{"model_type": "exaone"}'})
    repos = set(hub.repos)
    for status in (401, 500):
        hub.fail_next("GET", "/api/whoami-v2", status=status)
    bare, unknown = (
        copy_with_base(adapter, tmp_path / base / "EXAONE-adapter", f"alice/EXAONE-{base}")
        for base in ("bare", "unknown")
    )
    theirs, public, new = "alice/EXAONE-theirs", "alice/EXAONE-open", "carol/EXAONE-new"
    forbidden = "this login has no permission"
    cases = {
        ("hf_bob", adapter, "--repo_id", theirs): f"{theirs}: {forbidden}",
        ("hf_bob", adapter, "--repo_id", public): f"{public}: {forbidden}",
        ("hf_bob", adapter, "--repo_id", new): f"{new}: {forbidden}",
        ("hf_wrong", adapter, "--repo_id", public): "the hub rejects this machine's token",
        ("", adapter): "not logged in to the hub",
        # whoami fails with 401.
        ("hf_alice", adapter): "the hub rejects this machine's token",
        # whoami fails with 500.
        ("hf_alice", bare, "--base_model", "alice/EXAONE-bare"): (
            "alice/EXAONE-bare: has no LICENSE"
        ),
        ("hf_alice", unknown, "--base_model", "alice/EXAONE-unknown"): (
            "alice/EXAONE-unknown: no such folder, and no such repository that this login can see"
        ),
    }
    ends = upload(client, tmp_path, *cases)
    for message, (code, _) in zip(cases.values(), ends, strict=True):
        assert code.startswith(f"error: {message}"), code
    assert [waits for _, waits in ends] == [[]] * 6 + [[1], []]
    assert hub.repos.keys() == repos
    assert all(len(repo["commits"]) <= 2 for repo in hub.repos.values())
    assert hub.repos["alice/EXAONE-open"]["files"].keys() == {".gitattributes"}


def test_upload_without_a_hub_ends_with_its_message(hub, client, tmp_path, adapter):
    case = ("hf_alice", adapter, "--repo_id", "alice/EXAONE-adapter")
    with hub.stopped():
        [(code, waits)] = upload(client, tmp_path, case)
    message = "alice/EXAONE-adapter: the hub cannot be reached (ConnectError). Run the same command"
    assert code.startswith(f"error: {message}"), code
    assert waits == [1, 2, 4]
