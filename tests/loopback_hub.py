"""A Hugging Face Hub for tests: models only, in memory, on 127.0.0.1, driven by the real `huggingface_hub` client.

    with LoopbackHub(tokens={"hf_alice": "alice"}) as hub:
        hub.add_repo("alice/model", {"config.json": b"{}"}, gated=True)
        hub.fail_next("GET", r"config\\.json$", status=500)
        subprocess.run([sys.executable, "-c", code], env=hub.environment(tmp_path, token="hf_alice"))
        assert ("GET", "/api/whoami-v2", 200) in hub.requests

The client reads its endpoint when it is imported, so it runs in a process of its own. Whatever it asks for that is
not served here is answered with 501 and the name of what is missing. What differs from the real hub: any file of more
than 10 kB is an LFS file, and LFS content comes without a redirect.
"""

import base64
import hashlib
import json
import os
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote, unquote

GITATTRIBUTES = b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"


class Request(NamedTuple):
    user: str | None  # None for an anonymous request
    query: dict[str, list[str]]
    range: str
    body: bytes

    def json(self) -> dict[str, Any]:
        return json.loads(self.body)


class Reply(NamedTuple):
    status: int
    content: Any  # bytes are sent as they are, anything else as JSON
    headers: dict[str, str] = {}


class Fault(NamedTuple):
    method: str
    path_pattern: str
    status: int | None
    headers: dict[str, str]
    cut_after: int | None


class Refused(Exception):
    """An error in the hub's words: the client picks its exception by the status and `X-Error-Code`."""

    def __init__(self, status: int, message: str, code: str | None = None, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        error = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self.reply = Reply(status, {"error": message}, error | (headers or {}))


def is_lfs(path: str, size: int) -> bool:
    # The client sends an empty file as a regular one, whatever the hub said.
    return size > 0 and (path.endswith(".safetensors") or size > 10_000)


def git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def describe_file(path: str, content: bytes) -> dict[str, Any]:
    """One file as the tree endpoint lists it. Git holds an LFS file as a pointer, so its `oid` is the pointer's."""
    entry = {"type": "file", "path": path, "size": len(content), "oid": git_oid(content)}
    if is_lfs(path, len(content)):
        sha256 = hashlib.sha256(content).hexdigest()
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {len(content)}\n".encode()
        lfs = {"oid": sha256, "sha256": sha256, "size": len(content), "pointerSize": len(pointer)}
        entry |= {"oid": git_oid(pointer), "lfs": lfs}
    return entry


def file_etag(path: str, content: bytes) -> str:
    return hashlib.sha256(content).hexdigest() if is_lfs(path, len(content)) else git_oid(content)


class LoopbackHub:
    """The hub's state, what a test does with it, and its endpoints.

    `tokens`: token -> user name. A repo belongs to the user its id starts with.
    `repos`: repo id -> {"private", "gated", "granted": users let through the gate, "commits": oldest first, each
    {"oid", "title", "author", "files"}, "branches" and "tags": {name: oid}, "files": {path: bytes} of `main`, and for LFS
    "announced": {sha256: size} and "objects": {sha256: bytes}}. Change files with `commit`, not in place.
    `requests`: (method, path, status) in the order of the answers, without query and headers, so without tokens;
    the status is None when the connection ended before the request was complete.
    `faults`: the faults that have not happened yet.
    """

    def __init__(self, tokens: dict[str, str] | None = None) -> None:
        self.tokens = dict(tokens or {})
        self.repos: dict[str, dict[str, Any]] = {}
        self.requests: list[tuple[str, str, int | None]] = []
        self.faults: list[Fault] = []
        self.lock = threading.RLock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.hub = self
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> "LoopbackHub":
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def environment(self, home: str | Path, token: str | None = None) -> dict[str, str]:
        """The environment for a client process: this hub, a cache in `home`, and nobody else's token, proxy or settings."""
        foreign = ("HF_", "HUGGING", "TRANSFORMERS_")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        ours = {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        ours |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"} | ({"HF_TOKEN": token} if token else {})
        return inherited | ours

    def add_repo(
        self, repo_id: str, files: dict[str, bytes] | None = None, private: bool = False, gated: bool = False
    ) -> dict[str, Any]:
        """Create a repo as the hub does, with an initial commit that holds `.gitattributes`, and commit `files` to it."""
        repo = {"private": private, "gated": gated, "granted": set(), "commits": [], "files": {}, "branches": {}, "tags": {}}
        self.repos[repo_id] = repo | {"announced": {}, "objects": {}}
        self.commit(repo_id, {".gitattributes": GITATTRIBUTES}, "initial commit")
        self.commit(repo_id, files or {}, "Add files")
        return self.repos[repo_id]

    def commit(
        self, repo_id: str, changes: dict[str, bytes | None], title: str = "Change files", author: str | None = None,
        branch: str = "main",
    ) -> str:
        """Write (bytes) and delete (None) files and return the oid of the branch's head; no change makes no commit."""
        repo = self.repos[repo_id]
        before = self.find_commit(repo, branch)["files"] if repo["commits"] else {}
        files = {path: content for path, content in (before | changes).items() if content is not None}
        if files != before:
            listing = sorted((path, file_etag(path, content)) for path, content in files.items())
            oid = hashlib.sha1(repr((repo_id, len(repo["commits"]), title, listing)).encode()).hexdigest()
            author = author or repo_id.split("/")[0]
            repo["commits"].append({"oid": oid, "title": title, "author": author, "files": files})
            repo["branches"][branch] = oid
            repo["files"] = self.find_commit(repo, "main")["files"]
        return repo["branches"][branch]

    def fail_next(
        self, method: str, path_pattern: str, status: int | None = None, headers: dict[str, str] | None = None,
        times: int = 1, cut_after: int | None = None,
    ) -> None:
        """Let the next `times` requests with this method, and a path in which `path_pattern` is found, fail.

        Either with an error `status` (and `headers`, such as Retry-After), or with a connection that is cut after
        `cut_after` bytes of the body which carries the data: the answer's for GET, the request's for PUT and POST.
        """
        if (status is None) == (cut_after is None):
            raise ValueError("give either the status to answer with or the number of bytes to cut the connection after")
        if cut_after is not None and method not in ("GET", "PUT", "POST"):
            raise ValueError(f"a {method} request has no body that could be cut")
        self.faults += [Fault(method, path_pattern, status, headers or {}, cut_after)] * times

    def take_fault(self, method: str, path: str) -> Fault | None:
        for index, fault in enumerate(self.faults):
            if fault.method == method and re.search(fault.path_pattern, path):
                return self.faults.pop(index)
        return None

    def answer(self, method: str, path: str, authorization: str | None, **request: Any) -> Reply:
        """Find the endpoint for a path (still quoted) and let it answer."""
        try:
            user = self.tokens.get((authorization or "").removeprefix("Bearer "))
            if authorization is not None and user is None:
                raise Refused(401, "Invalid credentials in Authorization header")
            for methods, pattern, endpoint in ENDPOINTS:
                match = re.fullmatch(pattern, path)
                if match and method in methods.split():
                    parts = {name: unquote(part) for name, part in match.groupdict(default="").items()}
                    return endpoint(self, Request(user, **request), **parts)
            raise Refused(501, f"the loopback hub does not serve {method} {path} (is HF_HUB_DISABLE_XET=1 set?)")
        except Refused as refused:
            return refused.reply

    def open_repo(self, repo_id: str, user: str | None, write: bool = False, content: bool = False) -> dict[str, Any]:
        """The repo, if `user` may see it and, where asked for, write to it and read the content of its files."""
        repo, owner = self.repos.get(repo_id), repo_id.split("/")[0]
        hidden = repo is None or (repo["private"] and user != owner)
        if user is None and (hidden or write):
            # A bare 401 is a missing repo to the client, but only at https addresses; the code has it so here, too.
            raise Refused(401, "Invalid username or password.", "RepoNotFound")
        if hidden:
            raise Refused(404, "Repository not found", "RepoNotFound")
        if write and user != owner:
            raise Refused(403, f"Forbidden: you don't have write access to {repo_id}")
        if content and repo["gated"] and user != owner and user not in repo["granted"]:
            raise Refused(403 if user else 401, f"Access to model {repo_id} is restricted.", "GatedRepo")
        return repo

    def find_commit(self, repo: dict[str, Any], revision: str) -> dict[str, Any]:
        oid = (repo["branches"] | repo["tags"]).get(revision, revision)
        for commit in repo["commits"]:
            if commit["oid"] == oid:
                return commit
        raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def show_user(self, request: Request) -> Reply:
        if request.user is None:
            raise Refused(401, "Invalid username or password.")
        token = {"displayName": "test", "role": "write"}
        return Reply(200, {"type": "user", "name": request.user, "orgs": [], "auth": {"accessToken": token}})

    def create_repo(self, request: Request) -> Reply:
        if request.user is None:
            raise Refused(401, "Invalid username or password.")
        wanted = request.json()
        namespace = wanted["organization"] or request.user
        repo_id = f"{namespace}/{wanted['name']}"
        if wanted.get("type", "model") != "model":
            raise Refused(501, f"the loopback hub has models only, no {wanted['type']}s")
        if namespace != request.user:
            raise Refused(403, f'You don\'t have the rights to create a model under the namespace "{namespace}"')
        created = {"url": f"{self.url}/{repo_id}", "name": repo_id}
        if repo_id in self.repos:
            return Reply(409, created | {"error": "You already created this model repo"})
        self.add_repo(repo_id, private=wanted.get("visibility") == "private")
        return Reply(200, created)

    def validate_card(self, request: Request) -> Reply:
        """The real hub reads the metadata as YAML; here they only have to be there."""
        has_metadata = request.json()["content"].startswith("---\n")
        warnings = [] if has_metadata else [{"message": "empty or missing yaml metadata in repo card"}]
        return Reply(200, {"errors": [], "warnings": warnings})

    def check_access(self, request: Request, repo_id: str, write: str) -> Reply:
        self.open_repo(repo_id, request.user, write=bool(write), content=True)
        return Reply(200, {})

    def show_repo(self, request: Request, repo_id: str, revision: str) -> Reply:
        repo = self.open_repo(repo_id, request.user)
        commit = self.find_commit(repo, revision or "main")
        siblings = []
        for path, content in sorted(commit["files"].items()):
            entry = describe_file(path, content)
            sizes = {"size": entry["size"], "blobId": entry["oid"], "lfs": entry.get("lfs")}
            siblings.append({"rfilename": path} | (sizes if "blobs" in request.query else {}))
        info = {"_id": repo_id, "id": repo_id, "modelId": repo_id, "author": repo_id.split("/")[0], "sha": commit["oid"]}
        gated = "auto" if repo["gated"] else False
        return Reply(200, info | {"private": repo["private"], "gated": gated, "tags": [], "siblings": siblings})

    def add_tag(self, request: Request, repo_id: str, revision: str) -> Reply:
        repo, tag = self.open_repo(repo_id, request.user, write=True), request.json()["tag"]
        if tag in repo["tags"]:
            raise Refused(409, "Tag reference exists already")
        repo["tags"][tag] = self.find_commit(repo, revision)["oid"]
        return Reply(200, {})

    def add_branch(self, request: Request, repo_id: str, branch: str) -> Reply:
        repo = self.open_repo(repo_id, request.user, write=True)
        if branch in repo["branches"]:
            raise Refused(409, "Reference already exists")
        repo["branches"][branch] = self.find_commit(repo, request.json().get("startingPoint", "main"))["oid"]
        return Reply(200, {})

    def list_refs(self, request: Request, repo_id: str) -> Reply:
        repo = self.open_repo(repo_id, request.user)
        refs = {kind: [{"name": name, "ref": f"refs/{folder}/{name}", "targetCommit": oid} for name, oid in repo[kind].items()]
                for kind, folder in (("branches", "heads"), ("tags", "tags"))}
        return Reply(200, refs | {"converts": []})

    def list_tree(self, request: Request, repo_id: str, revision: str, folder: str) -> Reply:
        commit = self.find_commit(self.open_repo(repo_id, request.user), revision)
        entries = {path: describe_file(path, content) for path, content in commit["files"].items()}
        for parent in {str(parent) for path in entries for parent in PurePosixPath(path).parents} - {"."}:
            entries[parent] = {"type": "directory", "path": parent, "oid": git_oid(parent.encode()), "size": 0}
        prefix = f"{folder}/" if folder else ""
        paths = [path for path in sorted(entries) if path.startswith(prefix)]
        if folder and not paths:
            raise Refused(404, f"{folder} does not exist on {revision}", "EntryNotFound")
        recursive = request.query.get("recursive") == ["true"]
        return Reply(200, [entries[path] for path in paths if recursive or "/" not in path.removeprefix(prefix)])

    def resolve(self, request: Request, repo_id: str, revision: str, path: str) -> Reply:
        """A file, or the part of it that a broken download still lacks."""
        commit = self.find_commit(self.open_repo(repo_id, request.user, content=True), revision)
        headers = {"X-Repo-Commit": commit["oid"]}
        if path not in commit["files"]:
            raise Refused(404, "Entry not found", "EntryNotFound", headers)
        content = commit["files"][path]
        headers |= {"ETag": f'"{file_etag(path, content)}"', "Accept-Ranges": "bytes"}
        if is_lfs(path, len(content)):
            headers |= {"X-Linked-Size": str(len(content)), "X-Linked-Etag": headers["ETag"]}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.range)
        if wanted is None:
            return Reply(200, content, headers)
        first, last = wanted.groups()
        part = content[int(first) : int(last) + 1 if last else None]
        if not part:
            raise Refused(416, "Range Not Satisfiable", headers={"Content-Range": f"bytes */{len(content)}"})
        content_range = f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}"
        return Reply(206, part, headers | {"Content-Range": content_range})

    def open_branch(self, repo_id: str, request: Request, revision: str) -> dict[str, Any]:
        """The repo, for a change of one of its branches."""
        repo = self.open_repo(repo_id, request.user, write=True)
        if revision not in repo["branches"]:
            raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        if "create_pr" in request.query:
            raise Refused(501, "the loopback hub has no pull requests")
        return repo

    def choose_upload_modes(self, request: Request, repo_id: str, revision: str) -> Reply:
        repo, files = self.open_branch(repo_id, request, revision), []
        before = self.find_commit(repo, revision)["files"]
        for file in request.json()["files"]:
            path, mode = file["path"], "lfs" if is_lfs(file["path"], file["size"]) else "regular"
            files.append({"path": path, "uploadMode": mode, "shouldIgnore": False})
            if path in before:
                # By this the client leaves out what has not changed.
                files[-1]["oid"] = file_etag(path, before[path])
        return Reply(200, {"files": files})

    def announce_objects(self, request: Request, repo_id: str) -> Reply:
        """LFS batch: say where to send what is not here yet. The address is the permission: PUT carries no token."""
        repo, objects = self.open_repo(repo_id, request.user, write=True), []
        for wanted in request.json()["objects"]:
            oid, size = wanted["oid"], wanted["size"]
            objects.append({"oid": oid, "size": size})
            if oid not in repo["objects"]:
                repo["announced"][oid] = size
                upload = {"href": f"{self.url}/lfs/{quote(repo_id)}/{oid}"}
                verify = {"href": f"{self.url}/{quote(repo_id)}.git/info/lfs/objects/verify"}
                objects[-1]["actions"] = {"upload": upload, "verify": verify}
        return Reply(200, {"transfer": "basic", "objects": objects})

    def store_object(self, request: Request, repo_id: str, oid: str) -> Reply:
        repo = self.repos.get(repo_id)
        if repo is None or oid not in repo["announced"]:
            raise Refused(403, "no upload of this object was announced")
        if len(request.body) != repo["announced"][oid]:
            raise Refused(400, f"announced {repo['announced'][oid]} bytes, received {len(request.body)}")
        if hashlib.sha256(request.body).hexdigest() != oid:
            raise Refused(400, "the content does not have the announced sha256")
        repo["objects"][oid] = request.body
        return Reply(200, b"")

    def verify_object(self, request: Request, repo_id: str) -> Reply:
        wanted = request.json()
        content = self.open_repo(repo_id, request.user, write=True)["objects"].get(wanted["oid"])
        if content is None or len(content) != wanted["size"]:
            raise Refused(404, "the object was not uploaded")
        return Reply(200, {})

    def receive_commit(self, request: Request, repo_id: str, revision: str) -> Reply:
        """One JSON object a line: the header, then files in base64, LFS files by sha256, and deletions."""
        repo, changes, title = self.open_branch(repo_id, request, revision), {}, ""
        for operation in map(json.loads, request.body.splitlines()):
            key, value = operation["key"], operation["value"]
            if key == "header":
                title = value["summary"]
                if not repo["branches"][revision].startswith(value.get("parentCommit", "")):
                    raise Refused(412, "A commit has happened since. Please refresh and try again.")
            elif key == "file":
                changes[value["path"]] = base64.b64decode(value["content"], validate=True)
            elif key == "lfsFile":
                if value["oid"] not in repo["objects"]:
                    raise Refused(400, f"the LFS object of {value['path']} was not uploaded")
                changes[value["path"]] = repo["objects"][value["oid"]]
            elif key in ("deletedFile", "deletedFolder"):
                folder = value["path"].rstrip("/") + "/"
                deleted = [path for path in self.find_commit(repo, revision)["files"] if path == value["path"] or path.startswith(folder)]
                if not deleted:
                    raise Refused(404, f"A file with this name doesn't exist: {value['path']}", "EntryNotFound")
                changes |= dict.fromkeys(deleted)
            else:
                raise Refused(501, f"the loopback hub does not know the operation {key}")
        oid = self.commit(repo_id, changes, title, request.user, revision)
        url = f"{self.url}/{repo_id}/commit/{oid}"
        return Reply(200, {"success": True, "commitOid": oid, "commitUrl": url, "pullRequestUrl": None})


REPO, REVISION = r"(?P<repo_id>[^/]+/[^/]+)", r"(?P<revision>[^/]+)"
ENDPOINTS = (
    ("GET", r"/api/whoami-v2", LoopbackHub.show_user),
    ("POST", r"/api/repos/create", LoopbackHub.create_repo),
    ("POST", r"/api/validate-yaml", LoopbackHub.validate_card),
    ("GET", rf"/api/models/{REPO}/auth-check(?P<write>/write)?", LoopbackHub.check_access),
    ("GET", rf"/api/models/{REPO}(?:/revision/{REVISION})?", LoopbackHub.show_repo),
    ("POST", rf"/api/models/{REPO}/tag/{REVISION}", LoopbackHub.add_tag),
    ("POST", rf"/api/models/{REPO}/branch/(?P<branch>[^/]+)", LoopbackHub.add_branch),
    ("GET", rf"/api/models/{REPO}/refs", LoopbackHub.list_refs),
    ("GET", rf"/api/models/{REPO}/tree/{REVISION}(?:/(?P<folder>.+))?", LoopbackHub.list_tree),
    ("GET HEAD", rf"/{REPO}/resolve/{REVISION}/(?P<path>.+)", LoopbackHub.resolve),
    ("POST", rf"/api/models/{REPO}/preupload/{REVISION}", LoopbackHub.choose_upload_modes),
    ("POST", rf"/{REPO}\.git/info/lfs/objects/batch", LoopbackHub.announce_objects),
    ("PUT", rf"/lfs/{REPO}/(?P<oid>[0-9a-f]+)", LoopbackHub.store_object),
    ("POST", rf"/{REPO}\.git/info/lfs/objects/verify", LoopbackHub.verify_object),
    ("POST", rf"/api/models/{REPO}/commit/{REVISION}", LoopbackHub.receive_commit),
)


class Handler(BaseHTTPRequestHandler):
    """HTTP around `LoopbackHub.answer`: reads requests, sends replies, lets the faults happen."""

    protocol_version = "HTTP/1.1"

    def serve(self) -> None:
        hub, (path, _, query) = self.server.hub, self.path.partition("?")
        self.close_connection = True  # One request a connection: a hub that was shut down answers nobody.
        with hub.lock:
            fault = hub.take_fault(self.command, unquote(path))
        length = int(self.headers.get("Content-Length", 0))
        cut_after = fault.cut_after if fault else None
        cut_request = cut_after is not None and self.command != "GET"
        body = self.rfile.read(min(cut_after, length) if cut_request else length)
        reply = None
        if fault and fault.status:
            reply = Refused(fault.status, f"injected fault {fault.status}", headers=fault.headers).reply
        elif "Transfer-Encoding" in self.headers:
            reply = Refused(501, "the loopback hub does not read chunked requests").reply
        elif len(body) == length and not cut_request:
            request = {"query": parse_qs(query), "range": self.headers.get("Range", ""), "body": body}
            with hub.lock:
                reply = hub.answer(self.command, path, self.headers.get("Authorization"), **request)
        with hub.lock:
            hub.requests.append((self.command, unquote(path), reply.status if reply else None))
        if reply:
            self.send(reply, cut_after)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = serve

    def send(self, reply: Reply, cut_after: int | None) -> None:
        is_file = isinstance(reply.content, bytes)
        content = reply.content if is_file else json.dumps(reply.content).encode()
        self.send_response(reply.status)
        headers = {"Content-Type": "application/octet-stream" if is_file else "application/json", "Connection": "close"}
        for name, value in (reply.headers | headers | {"Content-Length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[:cut_after])

    def log_message(self, *args: object) -> None:
        """Nothing is printed: the requests are in `LoopbackHub.requests`."""
