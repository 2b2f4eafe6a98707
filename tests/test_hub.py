"""Against a hub on loopback, with the real client: access, room on the disk, and an adapter there and back."""
import json
import shutil
import subprocess
import sys

import pytest
from huggingface_hub import ModelCard

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


def evaluate(hub, tmp_path, adapter) -> dict:
    done = run(hub, tmp_path, "hf_alice", ROOT / "evaluate_hub.py", "--adapter", adapter, "--dataset", SAMPLE, "--split", "train",
               "--num_samples", "24", "--output_dir", "evaluation")
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "evaluation" / "metrics.json").read_text())
    shutil.move(tmp_path / "evaluation", tmp_path / f"evaluation-{len(list(tmp_path.glob('evaluation-*')))}")
    return metrics


def read_code(card: str) -> str:
    return card.split("```python\n")[1].split("```")[0]


def test_adapter_goes_to_the_hub_and_works_from_there(hub, tmp_path, adapter, stand_in, chats_file):
    """Evaluated, published with its scores, deleted here, evaluated from there; the card's lines run; trained further."""
    add_base(hub, stand_in)
    local = tmp_path / "EXAONE-adapter"
    shutil.copytree(adapter, local)
    before = evaluate(hub, tmp_path, local)
    uploaded = run(hub, tmp_path, "hf_alice", ROOT / "upload_hub.py", "--adapter", local, "--base_model", "alice/EXAONE-base",
                   "--metrics", tmp_path / "evaluation-0" / "metrics.json", "--tag", "v1")
    assert uploaded.returncode == 0, uploaded.stderr
    assert f"uploaded: {hub.url}/alice/EXAONE-adapter at " in uploaded.stdout and "tag v1" in uploaded.stdout
    repo = hub.repos["alice/EXAONE-adapter"]
    assert repo["private"] and repo["tags"] == {"v1": repo["branches"]["main"]}
    assert set(repo["files"]) - {".gitattributes"} == {"LICENSE", "README.md", "adapter_config.json", "adapter_model.safetensors",
                                                       "chat_template.jinja", "tokenizer.json", "tokenizer_config.json"}
    shutil.rmtree(local)

    after = evaluate(hub, tmp_path, "EXAONE-adapter")
    assert after["settings"]["adapter_sha256"] == before["settings"]["adapter_sha256"]
    assert {**after, "settings": None} == {**before, "settings": None}
    assert after["scores"]["seqeval"]["f1"]["value"] == 1
    (tmp_path / "README.md").write_bytes(repo["files"]["README.md"])
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.base_model == "alice/EXAONE-base" and card.data.model_name == "EXAONE-adapter"
    assert card.data.eval_results[0].metric_value == round(before["scores"]["seqeval"]["precision"]["value"], 4)

    code = read_code(card.content)
    assert len(code.splitlines()) == 5 and code.count("손흥민은 춘천에서 태어났다.") == 1
    _, sentence, answer = json.loads(chats_file.read_text().splitlines()[0])["messages"]
    code = code.replace("손흥민은 춘천에서 태어났다.", sentence["content"])
    done = run(hub, tmp_path, "hf_alice", "-c", code, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == answer["content"] + "[|endofturn|]"

    trained = run(hub, tmp_path, "hf_alice", ROOT / "train.py", "--adapter", "EXAONE-adapter@v1", "--data", chats_file, "--max_steps", "1",
                  "--learning_rate", "0", "--output_dir", "EXAONE-further")
    assert trained.returncode == 0, trained.stderr
    assert (tmp_path / "EXAONE-further" / "adapter_model.safetensors").read_bytes() == (adapter / "adapter_model.safetensors").read_bytes()
    assert json.loads((tmp_path / "EXAONE-further" / "training.json").read_text())["base"] == {
        "name": "alice/EXAONE-base", "revision": hub.repos["alice/EXAONE-base"]["branches"]["main"]}

    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 20 and not [content for content in [*written, *repo["files"].values()] if b"hf_alice" in content]


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


UPLOADS = """
import json, os, sys, time
sys.path.insert(0, sys.argv[1])
import upload_hub
waited = []
time.sleep = waited.append
for token, *arguments in json.loads(sys.argv[2]):
    waited.clear()
    os.environ["HF_TOKEN"], code = token, 0
    try:
        upload_hub.run_script(lambda: upload_hub.main(arguments))
    except SystemExit as stop:
        code = stop.code
    print("ENDED", json.dumps([code, waited]), flush=True)
"""


def upload(hub, tmp_path, *cases) -> list[tuple[int | str, list[float]]]:
    """Run upload_hub.py for each (token, folder, *arguments), one after the other: how each ended, and its waits."""
    cases = [[token, "--adapter", str(folder), "--base_model", "alice/EXAONE-base", *arguments] for token, folder, *arguments in cases]
    done = run(hub, tmp_path, None, "-c", UPLOADS, ROOT, json.dumps(cases))
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert not [token for token in hub.tokens if token in done.stdout + done.stderr]
    return [json.loads(line.removeprefix("ENDED ")) for line in done.stdout.splitlines() if line.startswith("ENDED ")]


RIGHT = "alice/EXAONE-{}: this login has no right to it. Use a token that may write there: hf auth login"
AGAIN = "Run the same command again: what is there already is not sent twice"
FAULTS = {
    # What no retry mends: told at once.
    "put-403": ("PUT", "^/lfs/{}/", {"status": 403}, RIGHT),
    "commit-403": ("POST", "/{}/commit/", {"status": 403}, RIGHT),
    "commit-401": ("POST", "/{}/commit/", {"status": 401}, "the hub does not accept this machine's token. Log in again"),
    # What one does.
    "preupload-500": ("POST", "/{}/preupload/", {"status": 500}, None),
    "put-500": ("PUT", "^/lfs/{}/", {"status": 500}, None),
    "put-cut": ("PUT", "^/lfs/{}/", {"cut_after": 100_000}, None),
    "commit-500": ("POST", "/{}/commit/", {"status": 500, "times": 3}, None),
    "commit-cut": ("POST", "/{}/commit/", {"cut_after": 10}, None),
    "commit-409": ("POST", "/{}/commit/", {"status": 409}, None),
    "commit-429": ("POST", "/{}/commit/", {"status": 429, "headers": {"Retry-After": "7"}}, None),
    "branch-500": ("POST", "/{}/branch/", {"status": 500}, None),
    "tag-503": ("POST", "/{}/tag/", {"status": 503}, None),
    # What goes on for too long.
    "always-500": ("POST", "/{}/commit/", {"status": 500, "times": 4}, "alice/EXAONE-{}: the hub answered with an error (500). " + AGAIN),
    "always-cut": ("POST", "/{}/commit/", {"cut_after": 10, "times": 4}, "alice/EXAONE-{}: the hub cannot be reached ("),
    "later-429": ("POST", "/{}/commit/", {"status": 429, "headers": {"Retry-After": "900"}},
                  "alice/EXAONE-{}: the hub answered with an error (429). It wants 900 seconds of peace first. " + AGAIN),
}


def test_every_fault_is_mended_or_told(hub, tmp_path, adapter, stand_in):
    """Each in a repository of its own; and each, run again, finishes without sending a large file a second time."""
    add_base(hub, stand_in)
    for name, (method, path, fault, _) in FAULTS.items():
        hub.fail_next(method, path.format(f"alice/EXAONE-{name}"), **fault)
    cases = [("hf_alice", adapter, "--revision", "next", "--tag", "v1", "--repo_id", f"alice/EXAONE-{name}") for name in FAULTS]
    ended = upload(hub, tmp_path, *cases, *cases)
    first, second = dict(zip(FAULTS, ended[:len(FAULTS)], strict=True)), ended[len(FAULTS):]
    for name, (code, _) in first.items():
        message = FAULTS[name][3]
        assert code == 0 if message is None else code.startswith("error: " + message.format(name)), (name, code)
    assert second == [[0, []]] * len(FAULTS) and not hub.faults
    waits = {name: waited for name, (_, waited) in first.items()}
    assert waits["commit-500"] == waits["always-500"] == [1, 2, 4] and waits["commit-429"] == [7] and waits["later-429"] == []
    assert waits["commit-403"] == waits["commit-401"] == []
    for name in FAULTS:
        repo = hub.repos[f"alice/EXAONE-{name}"]
        files = hub.find_commit(repo, "next")["files"]
        assert len(files) == 8 and repo["files"].keys() == {".gitattributes"} and repo["tags"] == {"v1": repo["branches"]["next"]}
        assert [commit["title"] for commit in repo["commits"]] == ["initial commit", "Upload LoRA adapter, tokenizer and card"]
        sent = [path for method, path, status in hub.requests if (method, status) == ("PUT", 200) and f"EXAONE-{name}/" in path]
        assert len(sent) == len(set(sent)) == len(repo["objects"]), name


def test_release_is_not_moved_and_a_repository_stays_as_public_as_it_is(hub, tmp_path, adapter, stand_in):
    other = tmp_path / "other"
    shutil.copytree(adapter, other)
    (other / "chat_template.jinja").write_text("{{ 'another' }}")
    public, kept, private = upload(
        hub, tmp_path, ("hf_alice", adapter, "--repo_id", "alice/EXAONE-a", "--public", "--tag", "v1"),
        ("hf_alice", other, "--repo_id", "alice/EXAONE-a", "--tag", "v1"), ("hf_alice", adapter, "--repo_id", "alice/EXAONE-b"))
    repo = hub.repos["alice/EXAONE-a"]
    assert public[0] == private[0] == 0 and not repo["private"] and hub.repos["alice/EXAONE-b"]["private"]
    assert f"its tag v1 stands at {repo['tags']['v1'][:7]}, and a release is not moved" in kept[0]
    assert repo["tags"]["v1"] == repo["commits"][1]["oid"] != repo["branches"]["main"]


def test_upload_that_may_not_be(hub, tmp_path, adapter):
    hub.add_repo("alice/EXAONE-theirs", private=True)
    hub.add_repo("alice/EXAONE-open")
    hub.add_repo("alice/EXAONE-bare", {"config.json": b'{"model_type": "exaone"}'})
    for status in (401, 500):
        hub.fail_next("GET", "/api/whoami-v2", status=status)
    folders = {base: tmp_path / base / "EXAONE-adapter" for base in ("bare", "unknown")}
    for base, folder in folders.items():
        shutil.copytree(adapter, folder)
        config = json.loads((folder / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": f"alice/EXAONE-{base}"}))
    cases = [
        ("hf_bob", adapter, ["--repo_id", "alice/EXAONE-theirs"], "alice/EXAONE-theirs: this login has no right to it"),
        ("hf_bob", adapter, ["--repo_id", "alice/EXAONE-open"], "alice/EXAONE-open: this login has no right to it"),
        ("hf_bob", adapter, ["--repo_id", "carol/EXAONE-new"], "carol/EXAONE-new: this login has no right to it"),
        ("hf_wrong", adapter, ["--repo_id", "alice/EXAONE-open"], "the hub does not accept this machine's token"),
        ("", adapter, [], "not logged in to the hub"),
        ("hf_alice", adapter, [], "the hub does not accept this machine's token"),  # whoami's 401
        ("hf_alice", folders["bare"], ["--base_model", "alice/EXAONE-bare"], "alice/EXAONE-bare: holds no LICENSE"),  # after its 500
        ("hf_alice", folders["unknown"], ["--base_model", "alice/EXAONE-unknown"],
         "alice/EXAONE-unknown: no such folder, and nothing of that name on the hub"),
    ]
    ended = upload(hub, tmp_path, *((token, folder, *arguments) for token, folder, arguments, _ in cases))
    for (*_, message), (code, _) in zip(cases, ended, strict=True):
        assert code.startswith(f"error: {message}"), code
    assert [waited for _, waited in ended] == [[]] * 6 + [[1], []]
    assert len(hub.repos) == 4 and all(len(repo["commits"]) <= 2 for repo in hub.repos.values())
    assert hub.repos["alice/EXAONE-open"]["files"].keys() == {".gitattributes"}


def test_upload_without_a_network_ends_with_its_message(hub, tmp_path, adapter):
    done = run(hub, tmp_path, "hf_alice", ROOT / "upload_hub.py", "--adapter", adapter, "--base_model", "alice/EXAONE-base",
               "--repo_id", "alice/EXAONE-adapter", HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 1 and "alice/EXAONE-adapter: the hub cannot be reached (ConnectError). Run the same command" in done.stderr
    assert "Traceback" not in done.stderr
