"""The loopback hub against the real client: what it accepts, what it refuses, and what it does about faults."""

import hashlib
import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from loopback_hub import LoopbackHub

CLIENT = """
import json, sys
from huggingface_hub import HfApi, auth_check, hf_hub_download, snapshot_download

api, arguments = HfApi(), json.loads(sys.argv[1])

def outcome(call, *args, **kwargs):
    "'done', or the exception: its name and its status, or the exception that it was raised from."
    try:
        call(*args, **kwargs)
        return "done"
    except Exception as error:
        name, response = type(error).__name__, getattr(error, "response", None)
        if response is not None:
            return f"{name} {response.status_code}"
        return name if error.__cause__ is None else f"{name} from {type(error.__cause__).__name__}"

"""


@pytest.fixture
def hub():
    with LoopbackHub(tokens={"hf_alice": "alice", "hf_bob": "bob"}) as hub:
        yield hub


@pytest.fixture
def run_client(hub, tmp_path):
    """Run code that sets `result` in a client process and return the result."""

    def run(code: str, token: str | None = "hf_alice", **arguments):
        home = tmp_path / f"home{len(list(tmp_path.glob('home*')))}"
        script = CLIENT + code + "\nprint(json.dumps(result))"
        command = [sys.executable, "-c", script, json.dumps(arguments)]
        done = subprocess.run(command, env=hub.environment(home, token), capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "adapter"
    (folder / "checkpoint").mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(os.urandom(1_000_000))
    (folder / "adapter_config.json").write_text('{"r": 32}')
    (folder / "checkpoint" / "상태.json").write_text("{}")
    (folder / "tokenizer.json").write_text(json.dumps(["토큰"] * 2_000))
    (folder / "empty.txt").touch()
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# A card\n")
    return folder


def read_folder(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_goes_up_and_comes_back(hub, run_client, folder, tmp_path):
    result = run_client(
        """
first = api.create_repo("alice/adapter", private=True)
again = api.create_repo("alice/adapter", private=True, exist_ok=True)
upload = lambda: api.upload_folder(repo_id="alice/adapter", folder_path=arguments["folder"]).oid
oids = [upload(), upload()]
sizes = {file.filename: file.file_size for file in snapshot_download("alice/adapter", dry_run=True)}
local = snapshot_download("alice/adapter", local_dir=arguments["local"])
api.create_tag("alice/adapter", tag="v1")
api.delete_folder("checkpoint", "alice/adapter")
api.upload_file(path_or_fileobj=b"new", path_in_repo="empty.txt", repo_id="alice/adapter")
listing = lambda revision: api.list_repo_files("alice/adapter", revision=revision)
result = dict(urls=[first, again], oids=oids, sizes=sizes, main=listing("main"), v1=listing("v1"), user=api.whoami()["name"],
              stale=outcome(api.delete_file, "README.md", "alice/adapter", parent_commit=oids[0]),
              top=sorted(entry.path for entry in api.list_repo_tree("alice/adapter", revision="v1")),
              blobs={file.rfilename: file.size for file in api.model_info("alice/adapter", files_metadata=True).siblings})
""",
        folder=str(folder),
        local=str(tmp_path / "local"),
    )
    files = read_folder(folder)
    repo = hub.repos["alice/adapter"]
    uploaded = {path: content for path, content in repo["commits"][1]["files"].items() if path != ".gitattributes"}
    downloaded = {path: content for path, content in read_folder(tmp_path / "local").items() if path[0] != "."}
    assert uploaded == downloaded == files
    assert repo["private"] and repo["files"]["empty.txt"] == b"new"
    assert result["urls"] == [f"{hub.url}/alice/adapter"] * 2 and result["user"] == "alice"
    assert result["oids"] == [repo["commits"][1]["oid"]] * 2, "the same content makes no second commit"
    assert [commit["author"] for commit in repo["commits"]] == ["alice"] * 4
    assert {path: size for path, size in result["sizes"].items() if path[0] != "."} == {p: len(c) for p, c in files.items()}
    assert result["blobs"] == {path: len(content) for path, content in repo["files"].items()}
    assert set(result["v1"]) == files.keys() | {".gitattributes"}
    assert set(result["v1"]) - set(result["main"]) == {"checkpoint/상태.json"}
    assert "checkpoint" in result["top"] and "checkpoint/상태.json" not in result["top"]
    assert result["stale"] == "HfHubHTTPError 412"
    lfs = {hashlib.sha256(files[path]).hexdigest() for path in ("adapter_model.safetensors", "tokenizer.json")}
    assert {path.split("/")[-1] for method, path, status in hub.requests if (method, status) == ("PUT", 200)} == lfs
    assert not {None, 500, 501} & {status for _, _, status in hub.requests}
    assert "hf_alice" not in str(hub.requests)


def test_branches_go_their_own_ways(hub, run_client):
    hub.add_repo("alice/model", {"a.txt": b"1"})
    result = run_client(
        """
api.create_branch("alice/model", branch="next")
api.create_branch("alice/model", branch="next", exist_ok=True)
oid = api.upload_file(path_or_fileobj=b"2", path_in_repo="a.txt", repo_id="alice/model", revision="next").oid
again = api.upload_file(path_or_fileobj=b"2", path_in_repo="a.txt", repo_id="alice/model", revision="next").oid
api.create_tag("alice/model", tag="v1", revision=oid)
refs = api.list_repo_refs("alice/model")
result = dict(oids=[oid, again], refs={ref.ref: ref.target_commit for ref in refs.branches + refs.tags},
              twice=outcome(api.create_tag, "alice/model", tag="v1"), nowhere=outcome(api.create_branch, "alice/model", branch="x", revision="y"),
              unknown=outcome(api.upload_file, path_or_fileobj=b"2", path_in_repo="a.txt", repo_id="alice/model", revision="none"))
""")
    main, oid = hub.repos["alice/model"]["branches"]["main"], result["oids"][0]
    assert result["oids"] == [oid, oid] and main != oid
    assert result["refs"] == {"refs/heads/main": main, "refs/heads/next": oid, "refs/tags/v1": oid}
    assert hub.repos["alice/model"]["files"]["a.txt"] == b"1"
    assert hub.find_commit(hub.repos["alice/model"], "next")["files"]["a.txt"] == b"2"
    assert result["twice"] == "HfHubHTTPError 409" and result["nowhere"] == result["unknown"] == "RevisionNotFoundError 404"


MISSING, GATED, ERROR = "RepositoryNotFoundError", "GatedRepoError", "HfHubHTTPError"
NO_FILE, NO_REVISION = "RemoteEntryNotFoundError 404", "RevisionNotFoundError 404"
WHO = {"owner": "hf_alice", "other": "hf_bob", "nobody": None, "wrong token": "hf_wrong"}
ANSWERS = {  # what the owner, another user, nobody and somebody with a wrong token are told
    'snapshot_download, "alice/open"': ("done", "done", "done", f"{ERROR} 401"),
    'snapshot_download, "alice/gated"': ("done", f"{GATED} 403", f"{GATED} 401", f"{ERROR} 401"),
    'api.model_info, "alice/gated"': ("done", "done", "done", f"{ERROR} 401"),
    'auth_check, "alice/gated"': ("done", f"{GATED} 403", f"{GATED} 401", f"{ERROR} 401"),
    'snapshot_download, "alice/private"': ("done", f"{MISSING} 404", f"{MISSING} 401", f"{ERROR} 401"),
    'auth_check, "alice/private"': ("done", f"{MISSING} 404", f"{MISSING} 401", f"{ERROR} 401"),
    'auth_check, "alice/open", write=True': ("done", f"{ERROR} 403", f"{MISSING} 401", f"{ERROR} 401"),
    'snapshot_download, "alice/unknown"': (f"{MISSING} 404", f"{MISSING} 404", f"{MISSING} 401", f"{ERROR} 401"),
    'hf_hub_download, "alice/open", "nothing.json"': (NO_FILE, NO_FILE, NO_FILE, f"{ERROR} 401"),
    'snapshot_download, "alice/open", revision="v9"': (NO_REVISION, NO_REVISION, NO_REVISION, f"{ERROR} 401"),
    'api.create_repo, "alice/new"': ("done", f"{ERROR} 403", f"{ERROR} 401", f"{ERROR} 401"),
    'api.create_repo, "alice/data", repo_type="dataset"': (f"{ERROR} 501", f"{ERROR} 501", f"{ERROR} 401", f"{ERROR} 401"),
    'api.delete_file, "config.json", "alice/open"': ("done", f"{ERROR} 403", f"{MISSING} 401", f"{ERROR} 401"),
    "api.whoami": ("done", "done", "LocalTokenNotFoundError", f"{ERROR} 401"),
}


@pytest.mark.parametrize("who", WHO)
def test_everybody_is_told_what_the_hub_tells_them(hub, run_client, who):
    for name in ("open", "gated", "private"):
        hub.add_repo(f"alice/{name}", {"config.json": b"{}"}, private=name == "private", gated=name == "gated")
    answers = run_client("result = [" + ", ".join(f"outcome({question})" for question in ANSWERS) + "]", WHO[who])
    column = list(WHO).index(who)
    assert dict(zip(ANSWERS, answers, strict=True)) == {question: row[column] for question, row in ANSWERS.items()}
    assert ("alice/new" in hub.repos) == (who == "owner")
    assert "hf_" not in str(hub.requests)


def test_a_gate_opens_for_whom_it_was_granted(hub, run_client):
    hub.add_repo("alice/gated", {"config.json": b"{}"}, gated=True)["granted"].add("bob")
    code = 'result = [outcome(auth_check, "alice/gated"), outcome(snapshot_download, "alice/gated")]'
    assert run_client(code, "hf_bob") == ["done", "done"]


FAULTS = {
    # A download survives everything but a 500 on the info or on the content.
    "info-500": ("snapshot", "GET", "/{}/revision/", {"status": 500}, "LocalEntryNotFoundError from HfHubHTTPError"),
    "tree-500": ("snapshot", "GET", "/{}/tree/", {"status": 500}, "done"),
    "head-500": ("snapshot", "HEAD", "^/{}/resolve/.*safetensors", {"status": 500}, "done"),
    "content-500": ("snapshot", "GET", "^/{}/resolve/.*safetensors", {"status": 500}, "HfHubHTTPError 500"),
    "content-429": ("snapshot", "GET", "^/{}/resolve/.*safetensors", {"status": 429, "headers": {"Retry-After": "0"}}, "done"),
    "content-cut": ("snapshot", "GET", "^/{}/resolve/.*safetensors", {"cut_after": 100_000}, "done"),
    "content-cut-late": ("snapshot", "GET", "^/{}/resolve/.*safetensors", {"cut_after": 11_000_000}, "done"),
    # An upload retries everything but the commit.
    "preupload-500": ("upload", "POST", "/{}/preupload/", {"status": 500}, "done"),
    "batch-429": ("upload", "POST", "^/{}.git/.*/batch", {"status": 429, "headers": {"Retry-After": "0"}}, "done"),
    "put-500": ("upload", "PUT", "^/lfs/{}/", {"status": 500}, "done"),
    "put-cut": ("upload", "PUT", "^/lfs/{}/", {"cut_after": 100_000}, "done"),
    "put-403": ("upload", "PUT", "^/lfs/{}/", {"status": 403}, "RuntimeError from HfHubHTTPError"),
    "verify-404": ("upload", "POST", "^/{}.git/.*/verify", {"status": 404}, "RuntimeError from HfHubHTTPError"),
    "commit-500": ("upload", "POST", "/{}/commit/", {"status": 500}, "HfHubHTTPError 500"),
    "commit-429": ("upload", "POST", "/{}/commit/", {"status": 429, "headers": {"Retry-After": "0"}}, "HfHubHTTPError 429"),
    # Which of the two depends on how much of the request was on its way.
    "commit-cut": ("upload", "POST", "/{}/commit/", {"cut_after": 10}, "(Read|RemoteProtocol)Error from .*"),
    # What is asked once.
    "create-500": ("create", "POST", "^/api/repos/create", {"status": 500}, "HfHubHTTPError 500"),
    "whoami-500": ("whoami", "GET", "^/api/whoami-v2", {"status": 500}, "HfHubHTTPError 500"),
    "check-500": ("check", "GET", "/{}/auth-check", {"status": 500}, "HfHubHTTPError 500"),
}


def test_the_client_meets_faults(hub, run_client):
    """Every fault in a repo of its own, all of them at once: most of the time the client waits before it retries."""
    for name, (_, method, path, fault, _) in FAULTS.items():
        size = 12_000_000 if name == "content-cut-late" else 1_000_000
        hub.add_repo(f"alice/{name}", {"model.safetensors": b"w" * size})
        hub.fail_next(method, path.format(f"alice/{name}"), **fault)
    answers = run_client(
        """
from concurrent.futures import ThreadPoolExecutor

calls = {
    "snapshot": snapshot_download,
    "upload": lambda repo: api.upload_file(path_or_fileobj=b"v" * 500_000, path_in_repo="new.safetensors", repo_id=repo),
    "create": lambda repo: api.create_repo(repo, exist_ok=True),
    "whoami": lambda repo: api.whoami(),
    "check": auth_check,
}
with ThreadPoolExecutor(len(arguments)) as pool:
    meet = lambda name: outcome(calls[arguments[name]], f"alice/{name}")
    result = dict(zip(arguments, pool.map(meet, arguments)))
""",
        **{name: action for name, (action, *_) in FAULTS.items()},
    )
    assert {name: answers[name] for name in FAULTS if not re.fullmatch(FAULTS[name][-1], answers[name])} == {}
    assert hub.faults == []
    uploaded = {name for name in FAULTS if "new.safetensors" in hub.repos[f"alice/{name}"]["files"]}
    assert uploaded == {"preupload-500", "batch-429", "put-500", "put-cut"}

    def statuses(method, pattern):
        return [status for name, path, status in hub.requests if name == method and re.search(pattern, path)]

    def content(name):
        return statuses("GET", f"^/alice/{name}/resolve/.*/model.safetensors")

    assert content("content-cut") == [200, 200], "the client keeps blocks of 10 MB, so it starts again"
    assert content("content-cut-late") == [200, 206], "and from its second block it goes on where it was cut off"
    assert content("content-429") == [429, 200]
    assert statuses("PUT", "/lfs/alice/put-500/") == [500, 200]
    assert statuses("PUT", "/lfs/alice/put-cut/") == [None, 200]


def test_what_cannot_be_a_fault_is_refused(hub):
    for wrong in ({}, {"status": 500, "cut_after": 3}):
        with pytest.raises(ValueError, match="either"):
            hub.fail_next("GET", "/", **wrong)
    with pytest.raises(ValueError, match="no body"):
        hub.fail_next("HEAD", "/", cut_after=3)


def request_status(hub, method, path, body, token="hf_alice"):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        return urllib.request.urlopen(urllib.request.Request(hub.url + path, body, headers, method=method)).status
    except urllib.error.HTTPError as error:
        return error.code


def test_an_object_is_stored_as_announced_or_not_at_all(hub):
    """What the client never gets wrong by itself."""
    hub.add_repo("alice/model")
    oid = hashlib.sha256(b"weights").hexdigest()
    commit = json.dumps({"key": "lfsFile", "value": {"path": "w.safetensors", "oid": oid}}).encode()

    def announce(size, token="hf_alice"):
        body = json.dumps({"objects": [{"oid": oid, "size": size}]}).encode()
        return request_status(hub, "POST", "/alice/model.git/info/lfs/objects/batch", body, token)

    def put(body):
        return request_status(hub, "PUT", f"/lfs/alice/model/{oid}", body, token=None)

    assert [put(b"weights"), announce(7, "hf_bob"), put(b"weights")] == [403, 403, 403], "nothing was announced"
    assert [announce(8), put(b"weights")] == [200, 400], "another size than announced"
    assert [announce(7), put(b"WEIGHTS")] == [200, 400], "other content than announced"
    assert request_status(hub, "POST", "/api/models/alice/model/commit/main", commit) == 400
    assert put(b"weights") == 200
    assert request_status(hub, "POST", "/api/models/alice/model/commit/main", commit) == 200
    assert hub.repos["alice/model"]["files"]["w.safetensors"] == b"weights"
    assert request_status(hub, "POST", "/api/models/alice/model/commit/main?token=hf_alice", commit) == 200
    assert len(hub.repos["alice/model"]["commits"]) == 2, "the same content makes no commit"
    assert "hf_" not in str(hub.requests)


def test_a_hub_that_was_left_answers_nobody(run_client):
    with LoopbackHub() as gone:
        gone.add_repo("alice/model")
        assert request_status(gone, "GET", "/api/models/alice/model", None, token=None) == 200
    with pytest.raises(urllib.error.URLError):
        request_status(gone, "GET", "/api/models/alice/model", None, token=None)
