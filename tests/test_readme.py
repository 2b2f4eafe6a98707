"""The two READMEs: the same commands and figures in both, and nothing named that is not there."""
import argparse
import importlib
import re
import shlex

import pytest

from conftest import ROOT

FILES_TABLE = {"README.md": "## What the files are", "README.ko.md": "## 파일 구성"}
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in FILES_TABLE}
MODULES = [path.stem for path in ROOT.glob("*.py")] + [f"tests.{path.stem}" for path in ROOT.glob("tests/measure_*.py")]
FOREIGN_FLAGS = {"--logdir"}  # TensorBoard's
BLOCK = re.compile(r"^```.*?^```$|^ {4}[^\n]+", re.M | re.S)
NUMBER = re.compile(r"(?<![A-Za-z\d])([+−-]?\d+(?:[.,]\d+)*)(?:\s?(%))?")
COMMAND = re.compile(r"(?:python -m |python |accelerate launch )(\S+?)(?:\.py)?(?: (.*))?")
PARTS = {
    "commands": BLOCK.findall,
    "names": lambda text: sorted(re.findall(r"`[^`\n]+`", text)),
    "addresses": lambda text: sorted(re.findall(r"\]\((http[^)]+)\)", text)),
    "headings": lambda text: re.findall(r"^#+(?= )", BLOCK.sub("", text), re.M),
    "tables": lambda text: [(row.count(" | "), NUMBER.findall(row)) for row in re.findall(r"^\|.*", text, re.M)],
    "figures": lambda text: [sorted(NUMBER.findall(part)) for part in re.split(r"^#+ ", BLOCK.sub("", text), flags=re.M)],
}


@pytest.fixture(scope="module")
def parsers() -> dict[str, argparse.ArgumentParser]:
    """Every script's parser, as its main() would use it, but that it takes no abbreviations."""
    def catch(parser, *_):
        parser.allow_abbrev = False
        raise SystemExit(parser)

    found = {}
    for name in MODULES:
        main = importlib.import_module(name).main
        with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as caught:
            patch.setattr(argparse.ArgumentParser, "parse_args", catch)
            main()
        found[name] = caught.value.code
    return found


@pytest.mark.parametrize("part", PARTS)
def test_both_say_the_same(part):
    english, korean = map(PARTS[part], TEXTS.values())
    assert english and english == korean


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_commands_and_flags_are_the_scripts_own(text, parsers):
    snippets = [line.strip() for line in text.splitlines()] + re.findall(r"`([^`\n]+)`", text)
    commands = list(filter(None, map(COMMAND.fullmatch, snippets)))
    for command in commands:
        parsers[command[1]].parse_args(shlex.split(command[2] or ""))  # exits where the script would not understand it
    known = {flag for parser in parsers.values() for flag in parser._option_string_actions}
    assert len(commands) > 20 and set(re.findall(r"(?<![\w-])--[A-Za-z][\w-]*", text)) - FOREIGN_FLAGS <= known


@pytest.mark.parametrize("name", TEXTS)
def test_nothing_is_missing(name):
    table = TEXTS[name].split(f"\n{FILES_TABLE[name]}\n")[1].split("\n## ")[0]
    files = set(re.findall(r"[\w/*]+(?:\.py|/)", "".join(re.findall(r"^\|.*", table, re.M))))
    assert {path.name for path in ROOT.glob("*.py")} <= files and all(any(ROOT.glob(file)) for file in files)
    places = {re.sub(r"[^\w\- #]", "", line.lower()).replace(" ", "-") for line in re.findall(r"^##+( .*)", TEXTS[name], re.M)}
    links = set(re.findall(r"\]\((?!http)([^)]+)\)", TEXTS[name]))
    assert TEXTS.keys() - {name} <= links and all(link.replace("#", "-") in places or (ROOT / link).is_file() for link in links)
    assert not re.findall(r"@\w+@|(?:(?<![\w/:.])/|~/|\b[A-Z]:\\)\w\S*", TEXTS[name])  # to be filled in, or a machine's own path
