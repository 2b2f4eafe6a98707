"""Files and folders that are written atomically.

A folder is replaced only if it holds the same kind of output.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ner.cli import InputError


def write_atomically(path: Path, content: str) -> None:
    """Write a file. After a failure at any point, the file is as it was before."""
    with replace_file(path) as file:
        file.write(content.encode("utf-8"))


@contextmanager
def replace_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a file to write. It replaces `path` on success and is removed on failure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read_json(path: Path) -> dict | None:
    """The JSON object in a file that this project wrote; None if the file does not exist."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def write_json(path: Path, content: dict) -> None:
    """Write a JSON object, for people and for `read_json`."""
    write_atomically(path, json.dumps(content, ensure_ascii=False, indent=2) + "\n")


def find_existing_parent(path: Path) -> Path:
    """The path itself or its nearest parent that exists."""
    resolved = path.resolve()
    return next(parent for parent in [resolved, *resolved.parents] if parent.exists())


def free_bytes(folder: Path) -> int:
    """Free space on the disk of a folder, which need not exist yet."""
    return shutil.disk_usage(find_existing_parent(folder)).free


def check_parent(path: Path) -> None:
    """Check that `path` can be created. Raises InputError."""
    parent = find_existing_parent(path.resolve().parent)
    try:
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written in {parent} ({error.strerror}). Choose another place"
        ) from None


def check_writable(path: Path) -> None:
    """Check that a file can be written at `path`. Raises InputError."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder. Choose a file")
    check_parent(path)


def check_replaceable(folder: Path, marker: str) -> None:
    """Check that `replace_folder` may write `folder`: it is new, empty, or holds `marker`."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file. Choose a folder")
    if folder.resolve().is_mount():
        raise InputError(
            f"{folder}: is a mount point, so it cannot be replaced. Choose a folder in it"
        )
    if folder.is_dir() and any(folder.iterdir()) and not (folder / marker).is_file():
        raise InputError(
            f"{folder}: holds other files (no {marker}), which would be lost. Choose another folder"
        )
    check_parent(folder)


def format_json_line(content: dict) -> str:
    """A line of a JSON Lines file."""
    return json.dumps(content, ensure_ascii=False) + "\n"


@contextmanager
def replace_folder(folder: Path, marker: str) -> Iterator[Path]:
    """Yield an empty folder to fill. It replaces `folder` on success and is removed on failure."""
    check_replaceable(folder, marker)
    folder = folder.resolve()
    part, old = folder.with_name(f".{folder.name}.part"), folder.with_name(f".{folder.name}.old")
    if old.exists() and not folder.exists():
        old.rename(folder)  # an earlier run ended between the two renamings below
    for leftover in (part, old):
        shutil.rmtree(leftover, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        if folder.exists():
            folder.rename(old)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        if old.exists() and not folder.exists():
            old.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
