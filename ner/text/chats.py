"""Training chats in a JSON Lines file, one `{"messages": [system, user, assistant]}` per line."""

import hashlib
import json
from pathlib import Path

from ner.cli import InputError
from ner.files import format_json_line, read_json, write_atomically, write_json
from ner.text.prompts import SYSTEM_PROMPTS
from ner.text.task import Task, read_task

REWRITE = "Write the file again: python data_processing.py"
ROLES = (["user", "assistant"], ["system", "user", "assistant"])


def source_path(path: Path) -> Path:
    """The file beside the chats that records the source of the chats."""
    return path.with_suffix(".source.json")


def write_chats(path: Path, chats: list[dict], source: dict) -> None:
    """Write chats and, beside them, their `source` with their number and SHA-256."""
    content = "".join(map(format_json_line, chats))
    record = source | {
        "chats": len(chats),
        "sha256": hashlib.sha256(content.encode()).hexdigest(),
    }
    write_atomically(path, content)
    write_json(source_path(path), record)


def describe_chats(path: Path) -> dict:
    """The SHA-256 of a file of chats, and their source, which includes the record of their task.

    If the file was edited since, it has no source, but the record of its task.
    """
    fingerprint = hashlib.sha256(path.read_bytes()).hexdigest()
    source = read_json(source_path(path))
    if source is not None and source.get("sha256") == fingerprint:
        return {"sha256": fingerprint, "source": source}
    system_prompt = load_chats(path)[0][0]["content"]
    return {"sha256": fingerprint, "source": None, **record_task(system_prompt, source or {})}


def record_task(system_prompt: str, source: dict) -> dict:
    """The record of the task that a system prompt belongs to: that of `source`, or one of KLUE's.

    Its `prompt` is None if it is neither.
    """
    task = read_task(source)
    if task and task.system_prompt == system_prompt:
        return task.record
    names = [name for name, text in SYSTEM_PROMPTS.items() if text == system_prompt]
    return {"prompt": names[0] if names else None}


def find_task(data: dict) -> Task | None:
    """The task of chats, from `describe_chats`. None if it is not known."""
    return read_task(data["source"] or data)


def load_chats(path: Path) -> list[list[dict]]:
    """Read chats as lists of messages that end with the assistant's answer.

    Raises InputError, with file and line, for a malformed one.
    """
    if not path.is_file():
        raise InputError(f"{path}: not found. Write it first: python data_processing.py")
    try:
        text = path.read_text(encoding="utf-8").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 (byte {error.start}). {REWRITE}") from None
    if not text:
        raise InputError(f"{path}: no chats. {REWRITE}")
    return [
        parse_chat(line, f"{path}:{number}")
        for number, line in enumerate(text.split("\n"), start=1)
    ]


def parse_chat(line: str, place: str) -> list[dict]:
    """The messages of one line. Raises InputError, which names `place`."""
    try:
        messages = json.loads(line)["messages"]
        roles = [message["role"] for message in messages]
        contents = [message["content"] for message in messages]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f'{place}: expected {{"messages": [{{"role": …, "content": …}}, …]}} '
            f"({type(error).__name__}: {error}). {REWRITE}"
        ) from None
    if roles not in ROLES:
        raise InputError(
            f"{place}: expected the roles system, user, assistant, found "
            f"{', '.join(map(str, roles))}. {REWRITE}"
        )
    if not all(isinstance(content, str) for content in contents):
        raise InputError(f"{place}: every content must be a string. {REWRITE}")
    return messages
