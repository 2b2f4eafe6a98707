"""Against a hub on loopback, with the real client: access, room on the disk, and an adapter there and back."""
import json
import shutil
import subprocess
import sys

import pytest

from conftest import ROOT, SAMPLE
from exaone import EXAONE
from loopback_hub import LoopbackHub

CHECK_BASE = """
import collections, json, os, shutil, sys
sys.path.insert(0, sys.argv[1])
import exaone
for token, free, *base in json.loads(sys.argv[2]):
    os.environ["HF_TOKEN"] = token
    shutil.disk_usage = lambda path: collections.namedtuple("usage", "total used free")(9e9, 1e9, free)
    try:
        print("revision", exaone.check_base(*base))
    except exaone.InputError as error:
        print(error)
"""


@pytest.fixture
def hub():
    with LoopbackHub(tokens={"hf_alice": "alice", "hf_bob": "bob"}) as hub:
        hub.add_repo(EXAONE, {"config.json": b"{}", "model.safetensors": b"\0" * 3_000_000}, gated=True)
        hub.repos[EXAONE]["granted"].add("alice")
        yield hub


def add_base(hub, stand_in):
    hub.add_repo("alice/EXAONE-base", {path.name: path.read_bytes() for path in stand_in.iterdir()}, private=True)


def run(hub, tmp_path, token, *command, **environment) -> subprocess.CompletedProcess:
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True,
                          env=hub.environment(tmp_path / "home", token) | environment, cwd=tmp_path)
    assert token is None or token not in done.stdout + done.stderr
    return done


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
    done = run(hub, tmp_path, None, "-c", CHECK_BASE, ROOT, json.dumps(cases))
    gated, anonymous, wrong, unknown, no_revision, no_room, good = done.stdout.splitlines()
    assert [path for _, path, _ in hub.requests if path.endswith("/auth-check")]
    assert gated == anonymous == (f"{EXAONE} is gated and this machine has no access to it. Accept its terms on "
                                  f"{hub.url}/{EXAONE}, then log in: hf auth login")
    assert wrong == "the hub does not accept this machine's token. Log in again: hf auth login, or renew HF_TOKEN"
    assert unknown.startswith("alice/nothing: no such folder, and nothing of that name on the hub")
    assert no_revision == f"{EXAONE} has no such revision; see {hub.url}/{EXAONE}/commits"
    assert no_room.startswith(f"{EXAONE}: 3.0 MB to download, but") and "2.0 MB free" in no_room
    assert good == f"revision {hub.repos[EXAONE]['commits'][-1]['oid']}"
    assert not [path for method, path, _ in hub.requests if method == "GET" and "/resolve/" in path]


def test_server_error_is_told_as_one(hub, tmp_path):
    hub.fail_next("GET", "/api/models/", status=500, times=9)
    done = run(hub, tmp_path, None, "-c", CHECK_BASE, ROOT, json.dumps([("hf_alice", 9e9, EXAONE)]))
    assert "the hub answered with an error (500)" in done.stdout


def test_adapter_goes_to_the_hub_and_is_evaluated_from_there(hub, tmp_path, adapter):
    local = tmp_path / "EXAONE-adapter"
    shutil.copytree(adapter, local)
    uploaded = run(hub, tmp_path, "hf_alice", ROOT / "upload_hub.py", "--adapter", local)
    assert uploaded.returncode == 0, uploaded.stderr
    assert f"uploaded: {hub.url}/alice/EXAONE-adapter" in uploaded.stdout
    repo = hub.repos["alice/EXAONE-adapter"]
    assert repo["private"]
    assert set(repo["files"]) - {".gitattributes"} == {"adapter_config.json", "adapter_model.safetensors",
                                                       "chat_template.jinja", "tokenizer.json", "tokenizer_config.json"}
    shutil.rmtree(local)

    evaluated = run(hub, tmp_path, "hf_alice", ROOT / "evaluate_hub.py", "--adapter", "EXAONE-adapter",
                    "--dataset", SAMPLE, "--split", "train", "--num_samples", "24")
    assert evaluated.returncode == 0, evaluated.stderr
    assert "F1-Score: 1.0000" in evaluated.stdout


def test_public_repository_is_made_only_if_asked_for(hub, tmp_path, adapter):
    done = run(hub, tmp_path, "hf_alice", ROOT / "upload_hub.py", "--adapter", adapter, "--public")
    assert done.returncode == 0 and not hub.repos["alice/EXAONE-adapter"]["private"]


def test_base_of_the_hub_serves_offline_afterwards_and_stays_at_its_commit(hub, tmp_path, stand_in, chats_file):
    """Trained online; the branch moves on; resumed and evaluated without a network, from the cache and the same commit."""
    add_base(hub, stand_in)
    commit = hub.repos["alice/EXAONE-base"]["commits"][-1]["oid"]
    train = [ROOT / "train.py", "--model", "alice/EXAONE-base", "--data", chats_file, "--output_dir", "EXAONE-adapter",
             "--max_steps", "4", "--save_steps", "2", "--batch_size", "4", "--gradient_accumulation", "1"]
    done = run(hub, tmp_path, "hf_alice", *train)
    assert done.returncode == 0, done.stderr
    adapter = (tmp_path / "EXAONE-adapter" / "adapter_model.safetensors").read_bytes()
    assert json.loads((tmp_path / "EXAONE-adapter" / "adapter_config.json").read_text())["revision"] == commit

    hub.commit("alice/EXAONE-base", {"config.json": b"{}"})
    resumed = run(hub, tmp_path, "hf_alice", *train, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert (tmp_path / "EXAONE-adapter" / "adapter_model.safetensors").read_bytes() == adapter
    before = len(hub.requests)
    evaluated = run(hub, tmp_path, "hf_alice", ROOT / "evaluate_hub.py", "--adapter", "EXAONE-adapter", "--dataset", SAMPLE,
                    "--num_samples", "4", "--max_new_tokens", "8", HF_HUB_OFFLINE="1")
    assert evaluated.returncode == 0, evaluated.stderr
    assert json.loads((tmp_path / "evaluation" / "predictions.jsonl").open().readline())["settings"]["revision"] == commit
    assert len(hub.requests) == before


@pytest.mark.parametrize("method, path, status, message", [
    ("PUT", "/lfs/", 403, "this login has no right to it"),
    ("POST", "/commit/", 500, "the hub answered with an error (500). Run the same command again"),
])
def test_upload_that_fails_on_the_way(hub, tmp_path, adapter, method, path, status, message):
    hub.fail_next(method, path, status=status, times=9)
    done = run(hub, tmp_path, "hf_alice", ROOT / "upload_hub.py", "--adapter", adapter)
    assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("token, arguments, message", [
    ("hf_bob", ["--repo_id", "alice/EXAONE-adapter"], "this login has no right to it"),
    ("hf_wrong", [], "the hub does not accept this machine's token"),
    (None, [], "not logged in to the hub"),
])
def test_upload_that_may_not_be(hub, tmp_path, adapter, token, arguments, message):
    done = run(hub, tmp_path, token, ROOT / "upload_hub.py", "--adapter", adapter, *arguments)
    assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr
