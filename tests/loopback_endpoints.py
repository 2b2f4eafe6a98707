"""Endpoints of the loopback hub: one function for each call of the real client."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

if TYPE_CHECKING:
    from tests.loopback_hub import LoopbackHub


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
    headers: Mapping[str, str] = MappingProxyType({})


class Refused(Exception):
    """An error reply. The client chooses its exception by the status and `X-Error-Code`."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        error = {"X-Error-Message": message, **(headers or {})}
        if code:
            error["X-Error-Code"] = code
        self.reply = Reply(status, {"error": message}, error)


def is_lfs(path: str, size: int) -> bool:
    # The client always sends an empty file as a regular one.
    return size > 0 and (path.endswith(".safetensors") or size > 10_000)


def git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def describe_file(path: str, content: bytes) -> dict[str, Any]:
    """One file in the tree endpoint's list.

    Git holds a pointer instead of an LFS file, so the file's `oid` is that of the pointer.
    """
    entry = {"type": "file", "path": path, "size": len(content), "oid": git_oid(content)}
    if is_lfs(path, len(content)):
        sha256 = hashlib.sha256(content).hexdigest()
        pointer = (
            "version https://git-lfs.github.com/spec/v1\n"
            f"oid sha256:{sha256}\nsize {len(content)}\n"
        ).encode()
        lfs = {"oid": sha256, "sha256": sha256, "size": len(content), "pointerSize": len(pointer)}
        entry |= {"oid": git_oid(pointer), "lfs": lfs}
    return entry


def file_etag(path: str, content: bytes) -> str:
    return hashlib.sha256(content).hexdigest() if is_lfs(path, len(content)) else git_oid(content)


def show_user(hub: "LoopbackHub", request: Request) -> Reply:
    if request.user is None:
        raise Refused(401, "Invalid username or password.")
    token = {"displayName": "test", "role": "write"}
    return Reply(
        200, {"type": "user", "name": request.user, "orgs": [], "auth": {"accessToken": token}}
    )


def create_repo(hub: "LoopbackHub", request: Request) -> Reply:
    if request.user is None:
        raise Refused(401, "Invalid username or password.")
    fields = request.json()
    namespace = fields["organization"] or request.user
    repo_id = f"{namespace}/{fields['name']}"
    if fields.get("type", "model") != "model":
        raise Refused(501, f"the loopback hub has models only, no {fields['type']}s")
    if namespace != request.user:
        rights = "You don't have the rights to create a model under the namespace"
        raise Refused(403, f'{rights} "{namespace}"')
    created = {"url": f"{hub.url}/{repo_id}", "name": repo_id}
    if repo_id in hub.repos:
        return Reply(409, created | {"error": "You already created this model repo"})
    hub.add_repo(repo_id, private=fields.get("visibility") == "private")
    return Reply(200, created)


def validate_card(hub: "LoopbackHub", request: Request) -> Reply:
    """Check that a card has metadata. The real hub also checks that they are YAML."""
    warnings = []
    if not request.json()["content"].startswith("---\n"):
        warnings.append({"message": "empty or missing yaml metadata in repo card"})
    return Reply(200, {"errors": [], "warnings": warnings})


def check_access(hub: "LoopbackHub", request: Request, repo_id: str, write: str) -> Reply:
    hub.open_repo(repo_id, request.user, write=bool(write), content=True)
    return Reply(200, {})


def show_repo(hub: "LoopbackHub", request: Request, repo_id: str, revision: str) -> Reply:
    repo = hub.open_repo(repo_id, request.user)
    commit = hub.find_commit(repo, revision or "main")
    siblings = []
    for path, content in sorted(commit["files"].items()):
        sibling = {"rfilename": path}
        if "blobs" in request.query:
            entry = describe_file(path, content)
            sibling |= {"size": entry["size"], "blobId": entry["oid"], "lfs": entry.get("lfs")}
        siblings.append(sibling)
    info = {
        "_id": repo_id,
        "id": repo_id,
        "modelId": repo_id,
        "author": repo_id.split("/")[0],
        "sha": commit["oid"],
        "private": repo["private"],
        "gated": "auto" if repo["gated"] else False,
        "tags": [],
        "siblings": siblings,
    }
    return Reply(200, info)


def add_tag(hub: "LoopbackHub", request: Request, repo_id: str, revision: str) -> Reply:
    repo = hub.open_repo(repo_id, request.user, write=True)
    tag = request.json()["tag"]
    if tag in repo["tags"]:
        raise Refused(409, "Tag reference exists already")
    repo["tags"][tag] = hub.find_commit(repo, revision)["oid"]
    return Reply(200, {})


def add_branch(hub: "LoopbackHub", request: Request, repo_id: str, branch: str) -> Reply:
    repo = hub.open_repo(repo_id, request.user, write=True)
    if branch in repo["branches"]:
        raise Refused(409, "Reference already exists")
    start = request.json().get("startingPoint", "main")
    repo["branches"][branch] = hub.find_commit(repo, start)["oid"]
    return Reply(200, {})


def list_refs(hub: "LoopbackHub", request: Request, repo_id: str) -> Reply:
    repo = hub.open_repo(repo_id, request.user)
    refs = {"branches": [], "tags": [], "converts": []}
    for kind, folder in (("branches", "heads"), ("tags", "tags")):
        for name, oid in repo[kind].items():
            ref = {"name": name, "ref": f"refs/{folder}/{name}", "targetCommit": oid}
            refs[kind].append(ref)
    return Reply(200, refs)


def list_tree(
    hub: "LoopbackHub", request: Request, repo_id: str, revision: str, folder: str
) -> Reply:
    commit = hub.find_commit(hub.open_repo(repo_id, request.user), revision)
    entries = {path: describe_file(path, content) for path, content in commit["files"].items()}
    parents = {str(parent) for path in entries for parent in PurePosixPath(path).parents}
    for parent in parents - {"."}:
        oid = git_oid(parent.encode())
        entries[parent] = {"type": "directory", "path": parent, "oid": oid, "size": 0}
    prefix = f"{folder}/" if folder else ""
    paths = [path for path in sorted(entries) if path.startswith(prefix)]
    if folder and not paths:
        raise Refused(404, f"{folder} does not exist on {revision}", "EntryNotFound")
    if request.query.get("recursive") != ["true"]:
        paths = [path for path in paths if "/" not in path.removeprefix(prefix)]
    return Reply(200, [entries[path] for path in paths])


def resolve(hub: "LoopbackHub", request: Request, repo_id: str, revision: str, path: str) -> Reply:
    """A file, or the part of it that is missing after a broken download."""
    commit = hub.find_commit(hub.open_repo(repo_id, request.user, content=True), revision)
    headers = {"X-Repo-Commit": commit["oid"]}
    if path not in commit["files"]:
        raise Refused(404, "Entry not found", "EntryNotFound", headers)
    content = commit["files"][path]
    headers |= {"ETag": f'"{file_etag(path, content)}"', "Accept-Ranges": "bytes"}
    if is_lfs(path, len(content)):
        headers |= {"X-Linked-Size": str(len(content)), "X-Linked-Etag": headers["ETag"]}
    byte_range = re.fullmatch(r"bytes=(\d+)-(\d*)", request.range)
    if byte_range is None:
        return Reply(200, content, headers)
    first, last = byte_range.groups()
    part = content[int(first) : int(last) + 1 if last else None]
    if not part:
        content_range = f"bytes */{len(content)}"
        raise Refused(416, "Range Not Satisfiable", headers={"Content-Range": content_range})
    content_range = f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}"
    return Reply(206, part, headers | {"Content-Range": content_range})


def choose_upload_modes(hub: "LoopbackHub", request: Request, repo_id: str, revision: str) -> Reply:
    repo = hub.open_branch(repo_id, request, revision)
    files = []
    before = hub.find_commit(repo, revision)["files"]
    for file in request.json()["files"]:
        path = file["path"]
        mode = "lfs" if is_lfs(path, file["size"]) else "regular"
        answer = {"path": path, "uploadMode": mode, "shouldIgnore": False}
        if path in before:
            # The client leaves out the files whose oid has not changed.
            answer["oid"] = file_etag(path, before[path])
        files.append(answer)
    return Reply(200, {"files": files})


def announce_objects(hub: "LoopbackHub", request: Request, repo_id: str) -> Reply:
    """LFS batch: the addresses for objects that are not here yet.

    Whoever has such an address may write to it. PUT carries no token.
    """
    repo = hub.open_repo(repo_id, request.user, write=True)
    objects = []
    for announced in request.json()["objects"]:
        oid, size = announced["oid"], announced["size"]
        answer = {"oid": oid, "size": size}
        if oid not in repo["objects"]:
            repo["announced"][oid] = size
            upload = {"href": f"{hub.url}/lfs/{quote(repo_id)}/{oid}"}
            verify = {"href": f"{hub.url}/{quote(repo_id)}.git/info/lfs/objects/verify"}
            answer["actions"] = {"upload": upload, "verify": verify}
        objects.append(answer)
    return Reply(200, {"transfer": "basic", "objects": objects})


def store_object(hub: "LoopbackHub", request: Request, repo_id: str, oid: str) -> Reply:
    repo = hub.repos.get(repo_id)
    if repo is None or oid not in repo["announced"]:
        raise Refused(403, "no upload of this object was announced")
    if len(request.body) != repo["announced"][oid]:
        size = repo["announced"][oid]
        raise Refused(400, f"announced {size} bytes, received {len(request.body)}")
    if hashlib.sha256(request.body).hexdigest() != oid:
        raise Refused(400, "the content does not have the announced sha256")
    repo["objects"][oid] = request.body
    return Reply(200, b"")


def verify_object(hub: "LoopbackHub", request: Request, repo_id: str) -> Reply:
    announced = request.json()
    repo = hub.open_repo(repo_id, request.user, write=True)
    content = repo["objects"].get(announced["oid"])
    if content is None or len(content) != announced["size"]:
        raise Refused(404, "the object was not uploaded")
    return Reply(200, {})


def receive_commit(hub: "LoopbackHub", request: Request, repo_id: str, revision: str) -> Reply:
    """Commit a request of one JSON object per line: a header, then files and deletions."""
    repo = hub.open_branch(repo_id, request, revision)
    changes, title = {}, ""
    for operation in map(json.loads, request.body.splitlines()):
        key, value = operation["key"], operation["value"]
        if key == "header":
            title = value["summary"]
            if not repo["branches"][revision].startswith(value.get("parentCommit", "")):
                message = "A commit has happened since. Please refresh and try again."
                raise Refused(412, message)
        else:
            changes |= read_operation(hub, repo, revision, key, value)
    oid = hub.commit(repo_id, changes, title, request.user, revision)
    url = f"{hub.url}/{repo_id}/commit/{oid}"
    answer = {"success": True, "commitOid": oid, "commitUrl": url, "pullRequestUrl": None}
    return Reply(200, answer)


def read_operation(
    hub: "LoopbackHub", repo: dict[str, Any], revision: str, key: str, value: dict[str, Any]
) -> dict[str, bytes | None]:
    """The changes that one line asks for: path → content, or None for a deletion."""
    path = value["path"]
    if key == "file":
        return {path: base64.b64decode(value["content"], validate=True)}
    if key == "lfsFile":
        if value["oid"] not in repo["objects"]:
            raise Refused(400, f"the LFS object of {path} was not uploaded")
        return {path: repo["objects"][value["oid"]]}
    if key not in ("deletedFile", "deletedFolder"):
        raise Refused(501, f"the loopback hub does not know the operation {key}")
    prefix = path.rstrip("/") + "/"
    files = hub.find_commit(repo, revision)["files"]
    deleted = [file for file in files if file == path or file.startswith(prefix)]
    if not deleted:
        message = f"A file with this name doesn't exist: {path}"
        raise Refused(404, message, "EntryNotFound")
    return dict.fromkeys(deleted)


REPO, REVISION = r"(?P<repo_id>[^/]+/[^/]+)", r"(?P<revision>[^/]+)"
ENDPOINTS = (
    ("GET", r"/api/whoami-v2", show_user),
    ("POST", r"/api/repos/create", create_repo),
    ("POST", r"/api/validate-yaml", validate_card),
    ("GET", rf"/api/models/{REPO}/auth-check(?P<write>/write)?", check_access),
    ("GET", rf"/api/models/{REPO}(?:/revision/{REVISION})?", show_repo),
    ("POST", rf"/api/models/{REPO}/tag/{REVISION}", add_tag),
    ("POST", rf"/api/models/{REPO}/branch/(?P<branch>[^/]+)", add_branch),
    ("GET", rf"/api/models/{REPO}/refs", list_refs),
    ("GET", rf"/api/models/{REPO}/tree/{REVISION}(?:/(?P<folder>.+))?", list_tree),
    ("GET HEAD", rf"/{REPO}/resolve/{REVISION}/(?P<path>.+)", resolve),
    ("POST", rf"/api/models/{REPO}/preupload/{REVISION}", choose_upload_modes),
    ("POST", rf"/{REPO}\.git/info/lfs/objects/batch", announce_objects),
    ("PUT", rf"/lfs/{REPO}/(?P<oid>[0-9a-f]+)", store_object),
    ("POST", rf"/{REPO}\.git/info/lfs/objects/verify", verify_object),
    ("POST", rf"/api/models/{REPO}/commit/{REVISION}", receive_commit),
)
