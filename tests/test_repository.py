"""Rules that hold for every file of the repository."""

from pathlib import Path

from tests.helpers import ROOT

SUFFIXES = {".css", ".html", ".js", ".md", ".py", ".toml", ".txt", ".yml"}
NAMES = {"Makefile", "run"}
GENERATED = {".git", ".venv", "rehearsal"}


def list_files() -> list[Path]:
    """The text files of the repository, without those of packages and of the rehearsal."""
    paths = []
    for entry in ROOT.iterdir():
        if entry.name not in GENERATED:
            paths += [entry, *entry.rglob("*")]
    return [
        path for path in paths if path.is_file() and (path.suffix in SUFFIXES or path.name in NAMES)
    ]


def test_remote_code_is_never_asked_for():
    name = "_".join(["trust", "remote", "code"])  # so that this file does not contain it
    files = list_files()
    assert len(files) > 10
    assert not [path for path in files if name in path.read_text(encoding="utf-8")]
