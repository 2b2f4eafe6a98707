"""A Hugging Face Hub in memory, for tests with the real client. It serves only models.

    with LoopbackHub(tokens={"hf_alice": "alice"}) as hub:
        hub.add_repo("alice/model", {"config.json": b"{}"}, gated=True)
        hub.fail_next("GET", r"config\\.json$", status=500)
        run_python(hub, tmp_path, "hf_alice", "-c", "from huggingface_hub import whoami; whoami()")
        assert ("GET", "/api/whoami-v2", 200) in hub.requests

The client reads its endpoint when it is imported, so it runs in a process of its own. If the hub
does not serve a request, it answers 501 and names the request. It differs from the real hub in two
ways: every file of more than 10 kB is an LFS file, and LFS content comes without a redirect.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote

from tests.helpers import ROOT
from tests.loopback_endpoints import ENDPOINTS, Refused, Reply, Request, file_etag

TOKENS = {"hf_alice": "alice", "hf_bob": "bob"}
GITATTRIBUTES = b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"


class Fault(NamedTuple):
    method: str
    path_pattern: str
    status: int | None
    headers: dict[str, str]
    cut_after: int | None


class LoopbackHub:
    """The hub's state, the methods that tests call, and those that the endpoints call.

    - `tokens`: token → user name. A repository belongs to the user that its id starts with.
    - `repos`: repository id → its state, a dictionary of
        - `private`, `gated` and `granted`, the users who have access in spite of the gate;
        - `commits`, oldest first, each with `oid`, `title`, `author` and `files`;
        - `branches` and `tags`, name → oid;
        - `files`, path → bytes, those of `main`. Change them with `commit`, not in place;
        - `announced`, sha256 → size, and `objects`, sha256 → bytes, for LFS.
    - `requests`: (method, path, status) in the order of the answers. They hold no tokens, because
      they have no query and no headers. The status is None if the connection ended before the
      request was complete.
    - `faults`: the faults that have not happened yet.
    """

    def __init__(self, tokens: dict[str, str] | None = None) -> None:
        self.tokens = dict(tokens or {})
        self.repos: dict[str, dict[str, Any]] = {}
        self.requests: list[tuple[str, str, int | None]] = []
        self.faults: list[Fault] = []
        self.lock = threading.RLock()
        self.server = Server(self)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> "LoopbackHub":
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Meanwhile, the hub cannot be reached."""
        self.__exit__()
        try:
            yield
        finally:
            self.server = Server(self, self.server.server_port)
            self.__enter__()

    def environment(self, home: str | Path, token: str | None = None) -> dict[str, str]:
        """The environment of a client process, with a cache in `home` and no other settings."""
        foreign = ("HF_", "HUGGING", "TRANSFORMERS_")
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(foreign)
        }
        environment |= {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }
        if token:
            environment["HF_TOKEN"] = token
        return environment

    def add_repo(
        self,
        repo_id: str,
        files: dict[str, bytes] | None = None,
        private: bool = False,
        gated: bool = False,
    ) -> dict[str, Any]:
        """Create a repository with `.gitattributes`, as the hub does, and commit `files` to it."""
        self.repos[repo_id] = {
            "private": private,
            "gated": gated,
            "granted": set(),
            "commits": [],
            "files": {},
            "branches": {},
            "tags": {},
            "announced": {},
            "objects": {},
        }
        self.commit(repo_id, {".gitattributes": GITATTRIBUTES}, "initial commit")
        self.commit(repo_id, files or {}, "Add files")
        return self.repos[repo_id]

    def commit(
        self,
        repo_id: str,
        changes: dict[str, bytes | None],
        title: str = "Change files",
        author: str | None = None,
        branch: str = "main",
    ) -> str:
        """Write files (bytes) and delete files (None). Without changes there is no commit.

        Returns the oid of the branch's head.
        """
        repo = self.repos[repo_id]
        before = self.find_commit(repo, branch)["files"] if repo["commits"] else {}
        changed = before | changes
        files = {path: content for path, content in changed.items() if content is not None}
        if files != before:
            listing = sorted((path, file_etag(path, content)) for path, content in files.items())
            identity = repr((repo_id, len(repo["commits"]), title, listing))
            oid = hashlib.sha1(identity.encode()).hexdigest()
            author = author or repo_id.split("/")[0]
            repo["commits"].append({"oid": oid, "title": title, "author": author, "files": files})
            repo["branches"][branch] = oid
            repo["files"] = self.find_commit(repo, "main")["files"]
        return repo["branches"][branch]

    def fail_next(
        self,
        method: str,
        path_pattern: str,
        status: int | None = None,
        headers: dict[str, str] | None = None,
        times: int = 1,
        cut_after: int | None = None,
    ) -> None:
        """Make the next `times` requests with this method and a matching path fail.

        They get an error `status` (and `headers`, such as Retry-After), or the connection breaks
        after `cut_after` bytes of the body. For GET that is the body of the answer, for PUT and
        POST that of the request.
        """
        if (status is None) == (cut_after is None):
            raise ValueError("give either `status` or `cut_after`")
        if cut_after is not None and method not in ("GET", "PUT", "POST"):
            raise ValueError(f"a {method} request has no body that could be cut")
        self.faults += [Fault(method, path_pattern, status, headers or {}, cut_after)] * times

    def take_fault(self, method: str, path: str) -> Fault | None:
        for index, fault in enumerate(self.faults):
            if fault.method == method and re.search(fault.path_pattern, path):
                return self.faults.pop(index)
        return None

    def answer(self, method: str, path: str, authorization: str | None, **request: Any) -> Reply:
        """Find the endpoint of a path, which is still quoted, and call it."""
        try:
            user = self.tokens.get((authorization or "").removeprefix("Bearer "))
            if authorization is not None and user is None:
                raise Refused(401, "Invalid credentials in Authorization header")
            for methods, pattern, endpoint in ENDPOINTS:
                match = re.fullmatch(pattern, path)
                if match and method in methods.split():
                    parts = {
                        name: unquote(part) for name, part in match.groupdict(default="").items()
                    }
                    return endpoint(self, Request(user, **request), **parts)
            message = f"the loopback hub does not serve {method} {path}"
            raise Refused(501, f"{message} (is HF_HUB_DISABLE_XET=1 set?)")
        except Refused as refused:
            return refused.reply

    def open_repo(
        self, repo_id: str, user: str | None, write: bool = False, content: bool = False
    ) -> dict[str, Any]:
        """A repository, if `user` may see it and, on request, write to it or read its files."""
        repo, owner = self.repos.get(repo_id), repo_id.split("/")[0]
        hidden = repo is None or (repo["private"] and user != owner)
        if user is None and (hidden or write):
            # At https addresses, a 401 alone means a missing repository. The code says so here too.
            raise Refused(401, "Invalid username or password.", "RepoNotFound")
        if hidden:
            raise Refused(404, "Repository not found", "RepoNotFound")
        if write and user != owner:
            raise Refused(403, f"Forbidden: you don't have write access to {repo_id}")
        if content and repo["gated"] and user != owner and user not in repo["granted"]:
            raise Refused(
                403 if user else 401, f"Access to model {repo_id} is restricted.", "GatedRepo"
            )
        return repo

    def find_commit(self, repo: dict[str, Any], revision: str) -> dict[str, Any]:
        oid = (repo["branches"] | repo["tags"]).get(revision, revision)
        for commit in repo["commits"]:
            if commit["oid"] == oid:
                return commit
        raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def open_branch(self, repo_id: str, request: Request, revision: str) -> dict[str, Any]:
        """A repository, for a change of one of its branches."""
        repo = self.open_repo(repo_id, request.user, write=True)
        if revision not in repo["branches"]:
            raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        if "create_pr" in request.query:
            raise Refused(501, "the loopback hub has no pull requests")
        return repo


class Server(ThreadingHTTPServer):
    """The HTTP server of one hub. Port 0 is a free one."""

    def __init__(self, hub: LoopbackHub, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.hub = hub


class Handler(BaseHTTPRequestHandler):
    """HTTP around `LoopbackHub.answer`. Reads requests, sends replies and makes faults happen."""

    protocol_version = "HTTP/1.1"

    def serve(self) -> None:
        hub, (path, _, query) = self.server.hub, self.path.partition("?")
        # One request per connection, so that a hub that was shut down no longer answers.
        self.close_connection = True
        with hub.lock:
            fault = hub.take_fault(self.command, unquote(path))
        length = int(self.headers.get("Content-Length", 0))
        cut_after = fault.cut_after if fault else None
        cut_request = cut_after is not None and self.command != "GET"
        body = self.rfile.read(min(cut_after, length) if cut_request else length)
        reply = None
        if fault and fault.status:
            message = f"injected fault {fault.status}"
            reply = Refused(fault.status, message, headers=fault.headers).reply
        elif "Transfer-Encoding" in self.headers:
            reply = Refused(501, "the loopback hub does not read chunked requests").reply
        elif len(body) == length and not cut_request:
            reply = self.find_reply(path, query, body)
        with hub.lock:
            hub.requests.append((self.command, unquote(path), reply.status if reply else None))
        if reply:
            self.send(reply, cut_after)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = serve

    def find_reply(self, path: str, query: str, body: bytes) -> Reply:
        hub, authorization = self.server.hub, self.headers.get("Authorization")
        byte_range = self.headers.get("Range", "")
        with hub.lock:
            return hub.answer(
                self.command,
                path,
                authorization,
                query=parse_qs(query),
                range=byte_range,
                body=body,
            )

    def send(self, reply: Reply, cut_after: int | None) -> None:
        if isinstance(reply.content, bytes):
            content, content_type = reply.content, "application/octet-stream"
        else:
            content, content_type = json.dumps(reply.content).encode(), "application/json"
        self.send_response(reply.status)
        headers = reply.headers | {
            "Content-Type": content_type,
            "Connection": "close",
            "Content-Length": str(len(content)),
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[:cut_after])

    def log_message(self, *args: object) -> None:
        """Prints nothing. The requests are in `LoopbackHub.requests`."""


def add_base(hub: LoopbackHub, folder: Path, repo_id: str = "alice/EXAONE-base") -> None:
    """Add a model's folder as a private repository."""
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    hub.add_repo(repo_id, files, private=True)


def run_python(
    hub: LoopbackHub, folder: Path, token: str | None, *command: object, **environment: str
) -> subprocess.CompletedProcess:
    """Run Python in `folder` as a client of `hub` with a cache of its own.

    Checks that nothing printed holds the token.
    """
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=folder,
        env={
            **hub.environment(folder / "home", token),
            "PYTHONPATH": str(ROOT),
            **environment,
        },
    )
    assert token is None or token not in done.stdout + done.stderr
    return done
