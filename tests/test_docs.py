"""The documentation: commands that parse, links that resolve, two READMEs that agree."""

import argparse
import doctest
import importlib
import re
import shlex
from pathlib import Path

import pytest

from tests.helpers import ROOT

READMES = ["README.md", "README.ko.md"]
DOCS = [
    *READMES,
    "CONTRIBUTING.md",
    *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/*.md")),
]
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in DOCS}
MODULES = [
    *(path.stem for path in sorted(ROOT.glob("*.py"))),
    *(
        f"benchmarks.{path.stem}"
        for path in sorted(ROOT.glob("benchmarks/*.py"))
        if "def main(" in path.read_text(encoding="utf-8")
    ),
    "tests.stand_in",
]
FEWEST_COMMANDS = dict.fromkeys(READMES, 12) | {"docs/training.md": 8, "docs/evaluation.md": 8}
# Of pip, TensorBoard, llama.cpp and vLLM.
FOREIGN_FLAGS = {"--index-url", "--logdir", "--outfile", "--served-model-name"}
MOST_WORDS = 1000

BLOCK = re.compile(r"^```.*?^```$|^ {4}[^\n]+", re.MULTILINE | re.DOTALL)
TABLE_ROW = re.compile(r"^\|.*", re.MULTILINE)
HEADING = re.compile(r"^#+ (.*)", re.MULTILINE)
INLINE_CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
NUMBER = re.compile(r"(?<![A-Za-z\d])([+−-]?\d+(?:[.,]\d+)*)(?:\s?(%))?")
COMMAND = re.compile(r"(?:python -m |python |accelerate launch )(\S+?)(?:\.py)?(?: (.*))?")
FLAG = re.compile(r"(?<![\w-])--[A-Za-z][\w-]*")
MAKE_TARGET = re.compile(r"make(?: \w+=\S+)* (\w+)")
# Anything below a folder of the project, and files beside the README.
PROJECT_PATH = re.compile(
    r"(?<![\w/.-])"
    r"((?:ner|tests|benchmarks|docs|data/sample|\.ci)/[\w./*-]*|\w[\w.]*\.(?:py|md|toml))"
    r"(?![\w/])",
    re.ASCII,
)
MODULE_NAME = re.compile(r"(?<![\w/.-])((?:ner|tests|benchmarks)(?:\.\w+)+)(?![\w.(])", re.ASCII)
# An unfilled placeholder, or a path on somebody's machine.
PRIVATE = re.compile(r"@\w+@|(?:(?<![\w/:.])/|~/|\b[A-Z]:\\)\w\S*")

PARTS = {
    "commands": BLOCK.findall,
    "inline code": lambda text: sorted(INLINE_CODE.findall(text)),
    "links": lambda text: sorted(set(LINK.findall(text)) - set(READMES)),
    "headings": lambda text: [line.partition(" ")[0] for line in list_headings(text)],
    "tables": lambda text: [
        (row.count(" | "), NUMBER.findall(row)) for row in TABLE_ROW.findall(text)
    ],
    "figures": lambda text: [
        sorted(NUMBER.findall(section)) for section in re.split(r"^#+ ", prose(text), flags=re.M)
    ],
}


def prose(text: str) -> str:
    """The text without fenced and indented blocks."""
    return BLOCK.sub("", text)


def list_headings(text: str) -> list[str]:
    return [match[0] for match in HEADING.finditer(prose(text))]


def list_anchors(text: str) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    titles = HEADING.findall(prose(text))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def list_commands(text: str) -> list[re.Match]:
    """The commands of a page that run a module of this project, each alone on a line or in code."""
    snippets = [line.strip() for line in text.splitlines()] + INLINE_CODE.findall(text)
    return [command for snippet in snippets if (command := COMMAND.fullmatch(snippet))]


def find_parser(module: str) -> argparse.ArgumentParser:
    """The parser that a script's `main` uses, except that it takes no abbreviations."""

    def catch(parser, *_):
        parser.allow_abbrev = False
        raise SystemExit(parser)

    main = importlib.import_module(module).main
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as caught:
        patch.setattr(argparse.ArgumentParser, "parse_args", catch)
        main([])
    return caught.value.code


@pytest.fixture(scope="module")
def parsers() -> dict[str, argparse.ArgumentParser]:
    return {module: find_parser(module) for module in MODULES}


@pytest.mark.parametrize("part", PARTS)
def test_both_readmes_agree(part):
    english, korean = (PARTS[part](TEXTS[name]) for name in READMES)
    assert english
    assert english == korean


@pytest.mark.parametrize("name", READMES)
def test_readmes_link_each_other_and_every_page(name):
    links = {link.partition("#")[0] for link in LINK.findall(TEXTS[name])}
    assert set(DOCS) - {name} <= links


def test_readme_is_short():
    assert len(TEXTS["README.md"].split()) <= MOST_WORDS


@pytest.mark.parametrize("name", READMES)
def test_readme_says_where_everything_is(name):
    """Its tables name every script and every folder of the package."""
    table = "".join(TABLE_ROW.findall(TEXTS[name]))
    scripts = {path.name for path in ROOT.glob("*.py")}
    rooms = {f"ner/{path.parent.name}/" for path in ROOT.glob("ner/*/__init__.py")}
    assert len(scripts) == 7 and len(rooms) == 7
    assert scripts | rooms <= set(INLINE_CODE.findall(table))


@pytest.mark.parametrize("name", DOCS)
def test_commands_parse(name, parsers):
    commands = list_commands(TEXTS[name])
    assert len(commands) >= FEWEST_COMMANDS.get(name, 0)
    for command in commands:
        # An unknown flag or a wrong value ends the test with the script's own message.
        parsers[command[1]].parse_args(shlex.split(command[2] or ""))


@pytest.mark.parametrize("name", [name for name, text in TEXTS.items() if ">>>" in text])
def test_examples_give_what_they_show(name):
    failed, attempted = doctest.testfile(str(ROOT / name), module_relative=False, encoding="utf-8")
    assert attempted
    assert not failed


@pytest.mark.parametrize("name", DOCS)
def test_flags_exist(name, parsers):
    known = {flag for parser in parsers.values() for flag in parser._option_string_actions}
    assert set(FLAG.findall(TEXTS[name])) - FOREIGN_FLAGS <= known


@pytest.mark.parametrize("name", DOCS)
def test_make_targets_exist(name):
    snippets = [*BLOCK.findall(TEXTS[name]), *INLINE_CODE.findall(TEXTS[name])]
    targets = [match[1] for text in snippets if (match := MAKE_TARGET.fullmatch(text.strip()))]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert set(targets) <= set(re.findall(r"^(\w+):", makefile, re.MULTILINE))


@pytest.mark.parametrize("name", DOCS)
def test_links_resolve(name):
    folder = (ROOT / name).parent
    for link in LINK.findall(TEXTS[name]):
        if link.startswith("http"):
            continue
        file, _, anchor = link.partition("#")
        path = folder / file if file else ROOT / name
        assert path.is_file(), link
        if anchor:
            assert anchor in list_anchors(path.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("name", DOCS)
def test_paths_and_modules_exist(name):
    # Links are relative to the page, and another test follows them.
    text = LINK.sub("]", TEXTS[name])
    paths = set(PROJECT_PATH.findall(text))
    assert [path for path in sorted(paths) if not any(ROOT.glob(path.rstrip("/.")))] == []
    modules = {Path(*module.split(".")) for module in MODULE_NAME.findall(text)}
    places = {module: (ROOT / module, ROOT / f"{module}.py") for module in modules}
    assert [m for m, found in sorted(places.items()) if not any(p.exists() for p in found)] == []


@pytest.mark.parametrize("name", DOCS)
def test_no_place_on_somebody_s_machine(name):
    assert PRIVATE.findall(TEXTS[name]) == []
