"""The loopback hub with the real client: requests, permissions and faults."""

import hashlib
import json
import os
import re
import urllib.error
import urllib.request

import pytest

from tests.loopback_hub import TOKENS, LoopbackHub, run_python

CLIENT = """
import json, sys
from huggingface_hub import HfApi, auth_check, hf_hub_download, snapshot_download

api, arguments = HfApi(), json.loads(sys.argv[1])

def outcome(call, *args, **kwargs):
    "'done', or an exception's name with its status or the exception that it was raised from."
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
    with LoopbackHub(TOKENS) as hub:
        yield hub


@pytest.fixture
def run_client(hub, tmp_path):
    """Run code in a client process and return the `result` that the code sets."""

    def run(code: str, token: str | None = "hf_alice", **arguments):
        folder = tmp_path / f"client{len(list(tmp_path.glob('client*')))}"
        folder.mkdir()
        script = CLIENT + code + "\nprint(json.dumps(result))"
        done = run_python(hub, folder, token, "-c", script, json.dumps(arguments))
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
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def omit_hidden(files):
    return {path: value for path, value in files.items() if not path.startswith(".")}


def test_a_folder_goes_up_and_comes_back(hub, run_client, folder, tmp_path):
    result = run_client(
        """
first = api.create_repo("alice/adapter", private=True)
again = api.create_repo("alice/adapter", private=True, exist_ok=True)
folder = dict(repo_id="alice/adapter", folder_path=arguments["folder"])
oids = [api.upload_folder(**folder).oid for _ in range(2)]
sizes = {file.filename: file.file_size for file in snapshot_download("alice/adapter", dry_run=True)}
local = snapshot_download("alice/adapter", local_dir=arguments["local"])
api.create_tag("alice/adapter", tag="v1")
api.delete_folder("checkpoint", "alice/adapter")
api.upload_file(path_or_fileobj=b"new", path_in_repo="empty.txt", repo_id="alice/adapter")
siblings = api.model_info("alice/adapter", files_metadata=True).siblings
result = dict(
    urls=[first, again], oids=oids, sizes=sizes, user=api.whoami()["name"],
    main=api.list_repo_files("alice/adapter", revision="main"),
    v1=api.list_repo_files("alice/adapter", revision="v1"),
    stale=outcome(api.delete_file, "README.md", "alice/adapter", parent_commit=oids[0]),
    top=sorted(entry.path for entry in api.list_repo_tree("alice/adapter", revision="v1")),
    blobs={file.rfilename: file.size for file in siblings},
)
""",
        folder=str(folder),
        local=str(tmp_path / "local"),
    )
    files = read_folder(folder)
    repo = hub.repos["alice/adapter"]
    uploaded = omit_hidden(repo["commits"][1]["files"])
    downloaded = omit_hidden(read_folder(tmp_path / "local"))
    assert uploaded == downloaded == files
    assert repo["private"]
    assert repo["files"]["empty.txt"] == b"new"
    assert result["urls"] == [f"{hub.url}/alice/adapter"] * 2
    assert result["user"] == "alice"
    oid = repo["commits"][1]["oid"]
    assert result["oids"] == [oid, oid], "the same content makes no second commit"
    assert [commit["author"] for commit in repo["commits"]] == ["alice"] * 4
    sizes = {path: len(content) for path, content in files.items()}
    assert omit_hidden(result["sizes"]) == sizes
    assert result["blobs"] == {path: len(content) for path, content in repo["files"].items()}
    assert set(result["v1"]) == files.keys() | {".gitattributes"}
    assert set(result["v1"]) - set(result["main"]) == {"checkpoint/상태.json"}
    assert "checkpoint" in result["top"]
    assert "checkpoint/상태.json" not in result["top"]
    assert result["stale"] == "HfHubHTTPError 412"
    large = [files[path] for path in ("adapter_model.safetensors", "tokenizer.json")]
    sent = [path for method, path, status in hub.requests if (method, status) == ("PUT", 200)]
    assert {path.split("/")[-1] for path in sent} == {
        hashlib.sha256(content).hexdigest() for content in large
    }
    assert not {None, 500, 501} & {status for _, _, status in hub.requests}
    assert "hf_alice" not in str(hub.requests)


def test_branches_go_their_own_ways(hub, run_client):
    hub.add_repo("alice/model", {"a.txt": b"1"})
    result = run_client(
        """
api.create_branch("alice/model", branch="next")
api.create_branch("alice/model", branch="next", exist_ok=True)
file = dict(path_or_fileobj=b"2", path_in_repo="a.txt", repo_id="alice/model")
oid = api.upload_file(**file, revision="next").oid
again = api.upload_file(**file, revision="next").oid
api.create_tag("alice/model", tag="v1", revision=oid)
refs = api.list_repo_refs("alice/model")
result = dict(
    oids=[oid, again],
    refs={ref.ref: ref.target_commit for ref in refs.branches + refs.tags},
    twice=outcome(api.create_tag, "alice/model", tag="v1"),
    nowhere=outcome(api.create_branch, "alice/model", branch="x", revision="y"),
    unknown=outcome(api.upload_file, **file, revision="none"),
)
"""
    )
    repo, oid = hub.repos["alice/model"], result["oids"][0]
    main = repo["branches"]["main"]
    assert result["oids"] == [oid, oid]
    assert main != oid
    assert result["refs"] == {"refs/heads/main": main, "refs/heads/next": oid, "refs/tags/v1": oid}
    assert repo["files"]["a.txt"] == b"1"
    assert hub.find_commit(repo, "next")["files"]["a.txt"] == b"2"
    assert result["twice"] == "HfHubHTTPError 409"
    assert result["nowhere"] == result["unknown"] == "RevisionNotFoundError 404"


MISSING, GATED, ERROR = "RepositoryNotFoundError", "GatedRepoError", "HfHubHTTPError"
NO_FILE, NO_REVISION = "RemoteEntryNotFoundError 404", "RevisionNotFoundError 404"
WHO = {"owner": "hf_alice", "other": "hf_bob", "nobody": None, "wrong token": "hf_wrong"}
# The answers to each call of WHO, in that order.
ANSWERS = {
    'snapshot_download, "alice/open"': ("done", "done", "done", f"{ERROR} 401"),
    'snapshot_download, "alice/gated"': ("done", f"{GATED} 403", f"{GATED} 401", f"{ERROR} 401"),
    'api.model_info, "alice/gated"': ("done", "done", "done", f"{ERROR} 401"),
    'auth_check, "alice/gated"': ("done", f"{GATED} 403", f"{GATED} 401", f"{ERROR} 401"),
    'snapshot_download, "alice/private"': (
        "done",
        f"{MISSING} 404",
        f"{MISSING} 401",
        f"{ERROR} 401",
    ),
    'auth_check, "alice/private"': ("done", f"{MISSING} 404", f"{MISSING} 401", f"{ERROR} 401"),
    'auth_check, "alice/open", write=True': (
        "done",
        f"{ERROR} 403",
        f"{MISSING} 401",
        f"{ERROR} 401",
    ),
    'snapshot_download, "alice/unknown"': (
        *(f"{MISSING} 404", f"{MISSING} 404", f"{MISSING} 401", f"{ERROR} 401"),
    ),
    'hf_hub_download, "alice/open", "nothing.json"': (*[NO_FILE] * 3, f"{ERROR} 401"),
    'snapshot_download, "alice/open", revision="v9"': (*[NO_REVISION] * 3, f"{ERROR} 401"),
    'api.create_repo, "alice/new"': ("done", f"{ERROR} 403", f"{ERROR} 401", f"{ERROR} 401"),
    'api.create_repo, "alice/data", repo_type="dataset"': (
        *(f"{ERROR} 501", f"{ERROR} 501", f"{ERROR} 401", f"{ERROR} 401"),
    ),
    'api.delete_file, "config.json", "alice/open"': (
        *("done", f"{ERROR} 403", f"{MISSING} 401", f"{ERROR} 401"),
    ),
    "api.whoami": ("done", "done", "LocalTokenNotFoundError", f"{ERROR} 401"),
}


@pytest.mark.parametrize("who", WHO)
def test_everybody_gets_the_real_hubs_answers(hub, run_client, who):
    files = {"config.json": b"{}"}
    hub.add_repo("alice/open", files)
    hub.add_repo("alice/gated", files, gated=True)
    hub.add_repo("alice/private", files, private=True)
    calls = ", ".join(f"outcome({call})" for call in ANSWERS)
    answers = run_client(f"result = [{calls}]", WHO[who])
    column = list(WHO).index(who)
    expected = {call: row[column] for call, row in ANSWERS.items()}
    assert dict(zip(ANSWERS, answers, strict=True)) == expected
    assert ("alice/new" in hub.repos) == (who == "owner")
    assert "hf_" not in str(hub.requests)


def test_a_gate_opens_for_those_who_have_access(hub, run_client):
    hub.add_repo("alice/gated", {"config.json": b"{}"}, gated=True)["granted"].add("bob")
    code = (
        'result = [outcome(auth_check, "alice/gated"), outcome(snapshot_download, "alice/gated")]'
    )
    assert run_client(code, "hf_bob") == ["done", "done"]


DONE, ERROR_500 = "done", "HfHubHTTPError 500"
CONTENT = ("snapshot", "GET", "^/{}/resolve/.*safetensors")
COMMIT = ("upload", "POST", "/{}/commit/")
NOW = {"Retry-After": "0"}
# Name: call, method, path, fault, and the outcome for the client.
FAULTS = {
    # A download survives everything except a 500 on the info or on the content.
    "info-500": (
        *("snapshot", "GET", "/{}/revision/", {"status": 500}),
        "LocalEntryNotFoundError from HfHubHTTPError",
    ),
    "tree-500": ("snapshot", "GET", "/{}/tree/", {"status": 500}, DONE),
    "head-500": ("snapshot", "HEAD", "^/{}/resolve/.*safetensors", {"status": 500}, DONE),
    "content-500": (*CONTENT, {"status": 500}, ERROR_500),
    "content-429": (*CONTENT, {"status": 429, "headers": NOW}, DONE),
    "content-cut": (*CONTENT, {"cut_after": 100_000}, DONE),
    "content-cut-late": (*CONTENT, {"cut_after": 11_000_000}, DONE),
    # An upload retries everything except the commit.
    "preupload-500": ("upload", "POST", "/{}/preupload/", {"status": 500}, DONE),
    "batch-429": ("upload", "POST", "^/{}.git/.*/batch", {"status": 429, "headers": NOW}, DONE),
    "put-500": ("upload", "PUT", "^/lfs/{}/", {"status": 500}, DONE),
    "put-cut": ("upload", "PUT", "^/lfs/{}/", {"cut_after": 100_000}, DONE),
    "put-403": (
        *("upload", "PUT", "^/lfs/{}/", {"status": 403}),
        "RuntimeError from HfHubHTTPError",
    ),
    "verify-404": (
        *("upload", "POST", "^/{}.git/.*/verify", {"status": 404}),
        "RuntimeError from HfHubHTTPError",
    ),
    "commit-500": (*COMMIT, {"status": 500}, ERROR_500),
    "commit-429": (*COMMIT, {"status": 429, "headers": NOW}, "HfHubHTTPError 429"),
    # Which of the two errors depends on how much of the request is already sent.
    "commit-cut": (*COMMIT, {"cut_after": 10}, "(Read|RemoteProtocol)Error from .*"),
    # These calls have no retries.
    "create-500": ("create", "POST", "^/api/repos/create", {"status": 500}, ERROR_500),
    "whoami-500": ("whoami", "GET", "^/api/whoami-v2", {"status": 500}, ERROR_500),
    "check-500": ("check", "GET", "/{}/auth-check", {"status": 500}, ERROR_500),
}
MEET_FAULTS = """
from concurrent.futures import ThreadPoolExecutor

file = dict(path_or_fileobj=b"v" * 500_000, path_in_repo="new.safetensors")
calls = {
    "snapshot": snapshot_download,
    "upload": lambda repo: api.upload_file(**file, repo_id=repo),
    "create": lambda repo: api.create_repo(repo, exist_ok=True),
    "whoami": lambda repo: api.whoami(),
    "check": auth_check,
}

def meet(name):
    return outcome(calls[arguments[name]], f"alice/{name}")

with ThreadPoolExecutor(len(arguments)) as pool:
    result = dict(zip(arguments, pool.map(meet, arguments)))
"""


def test_the_client_meets_faults(hub, run_client):
    """Each fault in a repository of its own, all at once, because retries take time."""
    for name, (_, method, path, fault, _) in FAULTS.items():
        size = 12_000_000 if name == "content-cut-late" else 1_000_000
        hub.add_repo(f"alice/{name}", {"model.safetensors": b"w" * size})
        hub.fail_next(method, path.format(f"alice/{name}"), **fault)
    answers = run_client(MEET_FAULTS, **{name: call for name, (call, *_) in FAULTS.items()})
    unexpected = {
        name: answers[name]
        for name, (*_, expected) in FAULTS.items()
        if not re.fullmatch(expected, answers[name])
    }
    assert unexpected == {}
    assert hub.faults == []
    uploaded = {name for name in FAULTS if "new.safetensors" in hub.repos[f"alice/{name}"]["files"]}
    assert uploaded == {"preupload-500", "batch-429", "put-500", "put-cut"}

    def list_statuses(method, pattern):
        requests = [request for request in hub.requests if request[0] == method]
        return [status for _, path, status in requests if re.search(pattern, path)]

    def list_downloads(name):
        return list_statuses("GET", f"^/alice/{name}/resolve/.*/model.safetensors")

    # The client keeps blocks of 10 MB. Before the end of the first one it starts again.
    assert list_downloads("content-cut") == [200, 200]
    # From the second block, it continues after the break.
    assert list_downloads("content-cut-late") == [200, 206]
    assert list_downloads("content-429") == [429, 200]
    assert list_statuses("PUT", "/lfs/alice/put-500/") == [500, 200]
    assert list_statuses("PUT", "/lfs/alice/put-cut/") == [None, 200]


def test_impossible_fault_is_refused(hub):
    for wrong in ({}, {"status": 500, "cut_after": 3}):
        with pytest.raises(ValueError, match="either"):
            hub.fail_next("GET", "/", **wrong)
    with pytest.raises(ValueError, match="no body"):
        hub.fail_next("HEAD", "/", cut_after=3)


def request_status(hub, method, path, body, token="hf_alice"):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(hub.url + path, body, headers, method=method)
    try:
        return urllib.request.urlopen(request).status
    except urllib.error.HTTPError as error:
        return error.code


def test_an_object_is_stored_as_announced_or_not_at_all(hub):
    """Mistakes that the real client never makes."""
    hub.add_repo("alice/model")
    oid = hashlib.sha256(b"weights").hexdigest()
    commit = json.dumps({"key": "lfsFile", "value": {"path": "w.safetensors", "oid": oid}}).encode()

    def announce(size, token="hf_alice"):
        body = json.dumps({"objects": [{"oid": oid, "size": size}]}).encode()
        return request_status(hub, "POST", "/alice/model.git/info/lfs/objects/batch", body, token)

    def put(body):
        return request_status(hub, "PUT", f"/lfs/alice/model/{oid}", body, token=None)

    answers = [put(b"weights"), announce(7, "hf_bob"), put(b"weights")]
    assert answers == [403, 403, 403], "nothing was announced"
    assert [announce(8), put(b"weights")] == [200, 400], "another size than announced"
    assert [announce(7), put(b"WEIGHTS")] == [200, 400], "other content than announced"
    path = "/api/models/alice/model/commit/main"
    assert request_status(hub, "POST", path, commit) == 400
    assert put(b"weights") == 200
    assert request_status(hub, "POST", path, commit) == 200
    assert hub.repos["alice/model"]["files"]["w.safetensors"] == b"weights"
    assert request_status(hub, "POST", f"{path}?token=hf_alice", commit) == 200
    assert len(hub.repos["alice/model"]["commits"]) == 2, "the same content makes no commit"
    assert "hf_" not in str(hub.requests)


def test_a_closed_hub_answers_nobody():
    with LoopbackHub() as closed:
        closed.add_repo("alice/model")
        assert request_status(closed, "GET", "/api/models/alice/model", None, token=None) == 200
    with pytest.raises(urllib.error.URLError):
        request_status(closed, "GET", "/api/models/alice/model", None, token=None)
