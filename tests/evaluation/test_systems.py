"""Several systems on the same sentences: figures, names, the table and the picture."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ner.evaluation.comparison import compare
from ner.evaluation.page.render import draw_systems
from ner.evaluation.predictions import retag
from ner.evaluation.summary import compute_metrics
from ner.evaluation.systems import System, compare_systems, format_systems, name_systems
from tests.evaluation.rows import HAND_MADE, TAGS_ALONE, make_random_rows

pytestmark = pytest.mark.filterwarnings("error")

MARKUP = '<script>alert("x")</script> | [a](http://b) `c` & *d*\n\x00\ud800'
SHOWN = '<script>alert("x")</script> | [a](http://b) `c` & *d*'
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def systems() -> list[System]:
    """Random answers, the gold tags of the same sentences with some left out, and no entities."""
    rows = make_random_rows(200, 3)
    some = [row | {"tags": row["gold"] if row["id"] % 3 else row["tags"]} for row in rows]
    none = [row | {"tags": ["O"] * len(row["tags"])} for row in rows]
    return [
        System(name, Path(f"{name}.jsonl"), retag_tags(rows))
        for name, rows in (("first", rows), ("better", some), ("empty", none))
    ]


def retag_tags(rows: list[dict]) -> list[dict]:
    fields = ("id", "tokens", "gold", "tags")
    return retag([{name: row[name] for name in fields} for row in rows], {})


def test_figures_are_those_of_the_report_and_of_the_comparison(systems):
    comparison = compare_systems(systems)
    assert comparison["sentences"] == 200
    assert [system["name"] for system in comparison["systems"]] == ["first", "better", "empty"]
    for system, figures in zip(systems, comparison["systems"], strict=True):
        metrics = compute_metrics(system.rows)
        assert figures["scores"] == metrics["scores"]
        for label, scores in figures["per_label"].items():
            assert scores.items() <= metrics["per_label"][label].items()
    assert "difference" not in comparison["systems"][0]
    for system, figures in zip(systems[1:], comparison["systems"][1:], strict=True):
        expected = compare(system.rows, systems[0].rows)
        assert figures["difference"] == {name: expected[name] for name in ("scores", "per_label")}


def test_table_has_every_figure(systems):
    comparison = compare_systems(systems)
    heading, line, f1, difference, *labels = format_systems(comparison).split("\n\n")[0].split("\n")
    assert re.fullmatch(r"\| +\| first +\| better +\| empty +\|", heading)
    assert set(line) == set("|- ")
    assert len({len(row) for row in (heading, line, f1, difference, *labels)}) == 1
    better = comparison["systems"][1]
    score = better["scores"]["seqeval"]["f1"]
    assert f1.split(" | ")[2].strip() == "{value:.4f} ({low:.4f} to {high:.4f})".format(**score)
    score = better["difference"]["scores"]["seqeval"]["f1"]
    assert score["low"] > 0
    assert "| {value:+.4f} ({low:+.4f} to {high:+.4f}) * |".format(**score) in difference
    assert [row.split()[1] for row in labels] == ["PS", "LC", "OG", "DT", "TI", "QT"]
    assert labels[0].count("0.0000 (0.0000 to 0.0000)") == 1


def test_a_difference_without_a_star():
    rows = retag(TAGS_ALONE, {})
    same = [System(name, Path("x"), rows) for name in "ab"]
    table = format_systems(compare_systems(same))
    assert "+0.0000 (+0.0000 to +0.0000) |" in table


@pytest.mark.parametrize(
    ("models", "paths", "names"),
    [
        (["a", "b"], ["x/p", "y/p"], ["a", "b"]),
        (["a", "b", "a"], ["x/p", "y/p", "z/p"], ["a (x)", "b", "a (z)"]),
        (["a", "a"], ["1/x/p", "2/x/p"], ["a (1/x/p)", "a (2/x/p)"]),
        (["a", "a", "a"], ["x/p", "x/q", "y/p"], ["a (x/p)", "a (x/q)", "a (y)"]),
        ([MARKUP, "\x1b[1m a \t b"], ["x/p", "y/p"], [SHOWN, "[1m a b"]),
    ],
)
def test_names_differ_and_fit_on_a_line(models, paths, names):
    assert name_systems(models, [Path(path) for path in paths]) == names


def test_names_are_text_in_table_and_picture():
    rows = retag(HAND_MADE, {})
    long = "모델" * 60
    names = name_systems([MARKUP, long], [Path("x"), Path("y")])
    comparison = compare_systems([System(name, Path("x"), rows) for name in names])
    heading = format_systems(comparison).splitlines()[0]
    assert re.findall(r"(?<!\\)[|<>`*\[\]&]", heading) == ["|"] * 4
    picture = ElementTree.fromstring(draw_systems(comparison).encode())
    assert [text.text for text in picture.iter(f"{SVG}text") if text.get("class") == "name"] == [
        SHOWN,
        f"{long[:83]}…",
    ]
    assert [title.text for title in picture.iter(f"{SVG}title")] == names
    assert not list(picture.iter(f"{SVG}script"))


def test_picture_has_bars_intervals_and_values(systems):
    comparison = compare_systems(systems)
    text = draw_systems(comparison)
    picture = ElementTree.fromstring(text)
    assert "prefers-color-scheme: dark" in text
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|url\(|@import|href", text)
    bars = [bar for bar in picture.iter(f"{SVG}rect") if bar.get("class") == "bar"]
    rails = [bar for bar in picture.iter(f"{SVG}rect") if bar.get("class") == "rail"]
    groups = list(picture.iter(f"{SVG}g"))[:3]
    for bar, rail, group, system in zip(bars, rails, groups, comparison["systems"], strict=True):
        f1, plot = system["scores"]["seqeval"]["f1"], float(rail.get("width"))
        assert float(bar.get("width")) == pytest.approx(plot * f1["value"], abs=0.1)
        low, high = re.findall(r"M([\d.]+) 24v10", group.find(f"{SVG}path").get("d"))
        assert float(low) == pytest.approx(plot * f1["low"], abs=0.1)
        assert float(high) == pytest.approx(plot * f1["high"], abs=0.1)
        words = " ".join("".join(group.findall(f"{SVG}text")[1].itertext()).split())
        assert words == "{value:.4f} {low:.4f} to {high:.4f}".format(**f1)
    fewer = ElementTree.fromstring(draw_systems(compare_systems(systems[:2])))
    assert int(picture.get("height")) - int(fewer.get("height")) == 52
    assert picture.get("width") == fewer.get("width")
