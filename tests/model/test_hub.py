"""Check a base model before its download, with the real client and a local hub."""

import json
from pathlib import Path

import pytest

from ner.cli import InputError
from ner.model.hub import Base, download_base, explain_hub_errors
from ner.model.names import EXAONE
from tests.loopback_hub import TOKENS, LoopbackHub, run_python

FIND_BASE = """
import collections, json, os, shutil, sys
from ner.cli import InputError
from ner.model.hub import find_base

for token, free, *base in json.loads(sys.argv[1]):
    os.environ["HF_TOKEN"] = token
    usage = collections.namedtuple("usage", "total used free")(9e9, 1e9, free)
    shutil.disk_usage = lambda path: usage
    try:
        print("revision", find_base(*base).revision)
    except InputError as error:
        print(error)
"""


@pytest.fixture
def hub():
    with LoopbackHub(TOKENS) as hub:
        files = {"config.json": b"{}", "model.safetensors": b"\0" * 3_000_000}
        hub.add_repo(EXAONE, files, gated=True)
        hub.repos[EXAONE]["granted"].add("alice")
        yield hub


def test_base_is_checked_before_it_is_downloaded(hub, tmp_path):
    cases = [
        ("hf_bob", 9e9, EXAONE),
        ("", 9e9, EXAONE),
        ("hf_wrong", 9e9, EXAONE),
        ("hf_alice", 9e9, "alice/nothing"),
        ("hf_alice", 9e9, EXAONE, "v9"),
        ("hf_alice", 2e6, EXAONE),
        ("hf_alice", 9e9, EXAONE),
    ]
    done = run_python(hub, tmp_path, None, "-c", FIND_BASE, json.dumps(cases))
    *refused, plan, good = done.stdout.splitlines()
    gated, anonymous, wrong, unknown, no_revision, no_room = refused
    assert [path for _, path, _ in hub.requests if path.endswith("/auth-check")]
    assert gated == anonymous
    assert gated == (
        f"{EXAONE} is gated and this machine has no access to it. Accept its terms on "
        f"{hub.url}/{EXAONE}, then log in: hf auth login"
    )
    assert wrong == (
        "the hub rejects this machine's token. Log in again (hf auth login) or renew HF_TOKEN"
    )
    assert unknown.startswith("alice/nothing: no such folder, and no such repository that this")
    assert no_revision == f"{EXAONE} has no such revision. See {hub.url}/{EXAONE}/commits"
    assert no_room.startswith(f"{EXAONE}: 3.0 MB to download, but")
    assert "2.0 MB free" in no_room
    assert plan == f"{EXAONE}: 2 files to download, 0.003 GB"
    assert good == f"revision {hub.repos[EXAONE]['commits'][-1]['oid']}"
    content = [path for method, path, _ in hub.requests if method == "GET" and "/resolve/" in path]
    assert not content


# What hf_xet raises when its server answers with an error, and when there is none.
XET_FAILURES = [
    "Task error: File reconstruction error: CAS Client Error: Request error: HTTP status 503",
    "Data processing error: CAS service error : Reqwest Error: error sending request",
]


@pytest.mark.parametrize("text", XET_FAILURES)
def test_failed_xet_transfer_is_a_network_failure(text):
    """It is a RuntimeError without a cause."""
    message = f"^{EXAONE}: the hub cannot be reached .*Try again$"
    with pytest.raises(InputError, match=message), explain_hub_errors(EXAONE, "Try again"):
        raise RuntimeError(text)


def test_other_runtime_errors_go_up():
    with pytest.raises(RuntimeError, match="CUDA"), explain_hub_errors(EXAONE, "Try again"):
        raise RuntimeError("CUDA error: unspecified launch failure")


def test_weights_are_downloaded_one_file_at_a_time(monkeypatch):
    """A file that breaks off begins again, and eight at a time could lose all that they had."""
    asked = {}

    def download(name: str, **flags: object) -> str:
        asked.update(flags)
        return "folder"

    monkeypatch.setattr("ner.model.hub.snapshot_download", download)
    assert download_base(Base(EXAONE, "c0ffee")) == Path("folder")
    assert (asked["revision"], asked["max_workers"]) == ("c0ffee", 1)


def test_server_error_is_reported_as_one(hub, tmp_path):
    hub.fail_next("GET", "/api/models/", status=500, times=9)
    cases = [("hf_alice", 9e9, EXAONE)]
    done = run_python(hub, tmp_path, None, "-c", FIND_BASE, json.dumps(cases))
    assert "the hub answered with an error (500)" in done.stdout
