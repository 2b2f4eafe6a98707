"""The report page, opened in a real browser."""

import json
import re

import pytest

from ner.evaluation.page.render import embed_json, render_page
from ner.evaluation.page.sentences import KINDS, pack_sentence
from ner.evaluation.predictions import retag
from ner.evaluation.summary import compute_metrics
from ner.evaluation.systems import System, compare_systems
from tests.evaluation.browser import Browser, find_browser
from tests.evaluation.rows import CONFIDENT, MARKED_ANSWERS, TAGS_ALONE, make_row

MARKUP = (
    "<script>document.title = 'owned'</script>"
    "<img src=x onerror=\"document.title = 'owned'\"></pre>"
)
SENTENCES = [
    ("<손흥민:PS>은 <춘천:LC>에서 태어났다.", '{"PS": ["손흥민"], "LC": ["춘천"]}'),
    ("<손흥민:PS>은 <춘천:LC>에서 자랐다.", '{"PS": ["손흥민"], "OG": ["춘천"]}'),
    ("<서울대:OG> 정문에서 <세 시:TI>에 만나자.", '{"OG": ["서울대 정문"]}'),
    ("아무도 없었다.", json.dumps({"PS": [MARKUP], "CV": ["아무"], "QT": ["도"]})),
    ("<김:PS>씨와 <이:PS>씨", '```json\n{"PS": ["김", "김"]}\n```'),
    ("<내일:DT> 보자.", '{"DT": ["내일"], "PS": ["보'),
    ("<내일:DT> 또 보자.", "없음 " * 200),
    *[(f"<{number}명:QT>이 왔다.", f'{{"QT": ["{number}명"]}}') for number in range(60)],
]
SETTINGS = {"model": "some/<model>", "versions": {"torch": "2"}}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    program = find_browser()
    if program is None:
        pytest.skip("no Chromium or Chrome on this machine; Debian's package is chromium")
    browser = Browser(program, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    rows = [make_row(number, *sentence) for number, sentence in enumerate(SENTENCES)]
    for row in rows:
        row["stopped"] = row["diagnosis"]["read"] != "cut off"
    return rows


@pytest.fixture(scope="module")
def metrics(rows) -> dict:
    return compute_metrics(rows)


@pytest.fixture(scope="module")
def address(rows, metrics, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render_page(rows, metrics, SETTINGS), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def unsure_rows() -> list[dict]:
    return retag(CONFIDENT, {}, 0.55)


@pytest.fixture(scope="module")
def unsure_address(unsure_rows, tmp_path_factory) -> str:
    """A page with probabilities and a threshold."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    metrics = compute_metrics(unsure_rows, 0.55, CONFIDENT)
    path.write_text(render_page(unsure_rows, metrics, SETTINGS), encoding="utf-8")
    return path.as_uri()


def read_texts(browser: Browser, selector: str) -> list[str]:
    """The texts of all elements that a selector finds."""
    nodes = f"[...document.querySelectorAll({json.dumps(selector)})]"
    return browser.run(f"{nodes}.map((node) => node.textContent)")


def list_shown(browser: Browser) -> list[int]:
    """The ids of the sentences on the page."""
    links = read_texts(browser, "#list > li .top a")
    return [int(text.removeprefix("#")) for text in links]


def test_scores_equal_the_metrics(browser, address, metrics):
    browser.open(address)
    for name, figures in metrics["scores"].items():
        f1, element = figures["f1"], f"document.getElementById('{name}')"
        assert browser.run(f"Number({element}.value)") == f1["value"]
        words = browser.run(f"{element}.closest('td').textContent").split()
        assert " ".join(words) == "{value:.4f} {low:.4f} to {high:.4f}".format(**f1)
    assert browser.run("document.title") == "Named entities: some/<model>"


def test_markup_in_settings_is_text(browser, address):
    browser.open(address)
    assert read_texts(browser, "h1") == ["some/<model>"]
    assert read_texts(browser, "#settings dd") == ["some/<model>", '{"torch": "2"}']


@pytest.mark.parametrize(
    "filters, shown",
    [
        ("show=wrong", [1, 2, 3, 4, 6]),
        ("kind=wrong_label", [1]),
        ("kind=missed&label=TI", [2]),
        ("kind=missed&label=OG", []),
        ("label=OG", [1, 2]),
        ("label=LC%3EOG", [1]),
        ("kind=unknown_label", [3]),
        ("kind=not_in_sentence", [3]),
        ("kind=made_up&label=QT", [3]),
        ("kind=repeated", [4]),
        ("kind=repaired", [4]),
        ("kind=repaired&label=PS", [4]),
        ("kind=repaired&label=LC", []),
        ("kind=cut_off", [5]),
        ("kind=token_limit&show=right", [5]),
        ("kind=unreadable", [6]),
        ("q=자랐다", [1]),
        ("q=ONERROR", [3]),
        ("q=서울대 정문", [2]),  # verbatim in the answer and in the sentence
        ("id=5", [5]),
        ("show=nonsense&kind=missed", [2, 4, 6]),
    ],
)
def test_hash_filters(browser, address, rows, filters, shown):
    browser.open(f"{address}#{filters}")
    assert list_shown(browser) == shown
    assert read_texts(browser, "#count") == [f"{len(shown)} of {len(rows)} sentences"]


def test_keyboard_filters_and_writes_the_hash(browser, address):
    browser.open(address)
    browser.run("document.querySelector('[name=show]').focus()")
    browser.press("w", 87, "w")
    assert browser.run("location.hash") == "#show=wrong"
    for _ in range(3):
        browser.press("Tab", 9)
    browser.call("Input.insertText", text="손흥민")
    assert list_shown(browser) == [1]
    query = browser.run("new URLSearchParams(location.hash.slice(1)).get('q')")
    assert query == "손흥민"
    assert browser.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.press("Tab", 9)
    browser.press("Enter", 13, "\r")
    assert browser.run("location.hash") == ""
    count = f"{len(SENTENCES)} of {len(SENTENCES)} sentences"
    assert read_texts(browser, "#count") == [count]


def test_figure_links_to_its_sentences(browser, address):
    browser.open(address)
    browser.run("document.querySelector('a[href=\"#kind=made_up\"]').click()")
    browser.run("new Promise((done) => setTimeout(done, 100))")
    assert list_shown(browser) == [3]
    assert browser.run("document.querySelector('[name=kind]').value") == "made_up"


def test_sentences_come_in_portions(browser, address):
    browser.open(address)
    assert list_shown(browser) == list(range(50))
    browser.run("document.getElementById('more').click()")
    assert list_shown(browser) == list(range(len(SENTENCES)))
    assert browser.run("document.activeElement.querySelector('a').textContent") == "#50"
    assert browser.run("document.getElementById('more').hidden")


def test_entities_are_marked_in_place_with_their_error(browser, address):
    browser.open(f"{address}#id=1")
    gold, predicted = read_texts(browser, "#list .line[lang=ko]")
    assert gold == "손흥민PS은 춘천LC wrong label에서 자랐다."
    assert predicted == "손흥민PS은 춘천OG wrong label에서 자랐다."


def test_confidence_is_drawn_and_written(browser, unsure_address):
    browser.open(unsure_address)
    lines = browser.run(
        "Object.fromEntries([...document.querySelectorAll('.curve polyline')]"
        ".map((line) => [line.getAttribute('class'), line.getAttribute('points')]))"
    )
    # Four of six entities are right, out of five; then from 0.9 on one of one.
    assert lines["precision"].split()[0] == "0.00,33.33"
    assert lines["recall"].split()[-1] == "90.00,80.00"
    assert lines["f1"].split()[0] == "0.00,27.27"
    assert len(set(lines)) == 3
    (caption,) = read_texts(browser, "#curve")
    assert "F1 is highest at 0.6000: precision 1.0000, recall 0.6000, F1 0.7500." in " ".join(
        caption.split()
    )
    assert read_texts(browser, ".halves td") == [
        *("0.0000", "0.8000", "0.8000"),
        *("0.5500", "0.6667", "0.5000"),
    ]
    assert read_texts(browser, ".calibration tbody tr:last-child td") == ["1", "0.900", "1.000"]
    (header,) = read_texts(browser, "header .quiet")
    words = " ".join(header.split())
    assert words.endswith("3 predicted with a confidence of at least 0.55")


def test_mentions_have_their_confidence(browser, unsure_address):
    browser.open(f"{unsure_address}#show=right")
    assert list_shown(browser) == [0, 1, 3]
    marks = ["손흥민PS", "손흥민PS 0.90", "부산LC", "부산LC", "부산LC 0.60", "부산LC 0.60"]
    assert read_texts(browser, "#list mark") == marks
    browser.run("document.querySelector('a[href=\"#kind=unsure\"]').click()")
    browser.run("new Promise((done) => setTimeout(done, 100))")
    assert list_shown(browser) == [2, 3, 4]
    (note, *_) = read_texts(browser, "#list .small")
    assert note == "plain JSON · 0 placed · below the threshold: 춘천 OG 0.20"


def test_a_page_without_probabilities_has_no_confidence(browser, address):
    browser.open(address)
    assert "Confidence" not in read_texts(browser, "h2")
    assert read_texts(browser, ".curve") == []


def test_a_page_of_tags_alone_has_no_answers(browser, tmp_path):
    rows = retag(TAGS_ALONE, {})
    path = tmp_path / "report.html"
    path.write_text(render_page(rows, compute_metrics(rows), SETTINGS), encoding="utf-8")
    browser.open(path.as_uri() + "#q=손흥민")
    assert list_shown(browser) == [0]
    assert read_texts(browser, "#list b") == ["gold", "predicted"]
    assert read_texts(browser, "#list mark") == ["손흥민PS", "춘천LC"] * 2
    assert read_texts(browser, "optgroup[label=Answers], optgroup[label=Mentions]") == []
    assert read_texts(browser, ".search") == ["Search in sentences"]
    titles = [" ".join(text.split()) for text in read_texts(browser, ".budget h3")]
    assert titles == ["9 gold entities", "7 tagged entities"]
    assert "token limit" not in browser.run("document.body.innerText")
    assert not browser.list_events("Runtime.exceptionThrown")
    browser.run("document.querySelector('a[href=\"#kind=made_up\"]').click()")
    browser.run("new Promise((done) => setTimeout(done, 100))")
    assert list_shown(browser) == [3]


def set_width(browser, width: int) -> None:
    """Show the page on a screen of this many pixels."""
    browser.call(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=800,
        deviceScaleFactor=1,
        mobile=True,
    )


@pytest.mark.parametrize("width", [360, 1280])
def test_systems_are_drawn_in_the_page_s_colors(browser, rows, metrics, tmp_path, width):
    others = [row | {"tags": row["gold"]} for row in rows]
    systems = [System(name, tmp_path, each) for name, each in ((MARKUP, rows), ("gold", others))]
    comparison = compare_systems(systems)
    path = tmp_path / "report.html"
    path.write_text(render_page(rows, metrics, SETTINGS, comparison), encoding="utf-8")
    set_width(browser, width)
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.call("Emulation.setEmulatedMedia", features=features)
        browser.open(path.as_uri())
        ink, fill = browser.run(
            "[getComputedStyle(document.body).color,"
            " getComputedStyle(document.querySelector('svg .name')).fill]"
        )
        assert ink == fill
    assert read_texts(browser, "svg .name") == [MARKUP[:83] + "…", "gold"]
    assert read_texts(browser, ".compared thead th") == ["", MARKUP, "gold"]
    f1 = comparison["systems"][1]["difference"]["scores"]["seqeval"]["f1"]
    (cell,) = read_texts(browser, ".compared tr:nth-child(2) td:last-child")
    assert cell.split() == "{value:+.4f} * {low:+.4f} to {high:+.4f}".format(**f1).split()
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert not browser.list_events("Log.entryAdded")
    browser.call("Emulation.clearDeviceMetricsOverride")
    browser.call("Emulation.setEmulatedMedia", features=[])


def test_markup_in_an_answer_is_text(browser, address, rows):
    browser.open(f"{address}#id=3")
    assert read_texts(browser, "#list pre") == [rows[3]["answer"]]
    assert MARKUP in browser.run("document.querySelector('#list').innerText")
    assert browser.run("document.querySelectorAll('#list script, #list img').length") == 0
    assert browser.run("document.title").startswith("Named entities")
    assert not browser.list_events("Runtime.exceptionThrown")
    assert not browser.list_events("Log.entryAdded")


ATTEMPT = """new Promise((done) => {
    addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective),
        { once: true });
    setTimeout(() => done("nothing was refused"), 5000);
    %s;
})"""


def test_no_request_leaves_the_page(browser, address):
    browser.open(address)
    browser.run("document.getElementById('more').click()")
    browser.run("new Promise((done) => setTimeout(done, 300))")
    requests = browser.list_events("Network.requestWillBeSent")
    assert {event["request"]["url"] for event in requests} == {address}
    script = "Object.assign(document.createElement('script'), { text: '1' })"
    for attempt, directive in [
        ("new Image().src = 'http://localhost/'", "img-src"),
        ("fetch('http://localhost/').catch(() => 0)", "connect-src"),
        (f"document.body.append({script})", "script-src-elem"),
    ]:
        assert browser.run(ATTEMPT % attempt) == directive


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("page", ["address", "unsure_address"])
def test_nothing_is_wider_than_the_window(browser, request, page, width):
    set_width(browser, width)
    browser.open(request.getfixturevalue(page))
    assert browser.run("document.documentElement.scrollWidth") <= width
    browser.call("Emulation.clearDeviceMetricsOverride")


def test_every_count_has_its_sentences(rows, metrics, unsure_rows):
    """The filter finds as many errors of each kind as the error budget counts."""
    kinds = {kind for group in KINDS.values() for kind in group}
    verdicts = set()
    for answers, budget in (
        (rows, metrics["budget"]),
        (MARKED_ANSWERS, compute_metrics(MARKED_ANSWERS)["budget"]),
        (unsure_rows, compute_metrics(unsure_rows)["budget"]),
    ):
        errors = [error[0] for row in answers for error in pack_sentence(row)["errors"]]
        for kind in kinds - {"token_limit"}:
            counted = sum(counts.get(kind, 0) for counts in budget.values())
            assert errors.count(kind) == counted, kind
        verdicts |= {verdict for counts in budget.values() for verdict in counts}
    assert verdicts - {"total", "right", "plain_json", "copied"} == kinds - {"token_limit"}
    assert "token_limit" in kinds


def test_page_without_settings_is_rendered(rows, metrics):
    page = render_page(rows, metrics, {})
    assert "<h1>a model</h1>" in page and "names no settings" in page


def test_embedded_json_cannot_end_its_element():
    value = ["</script><!--<script>", "&lt;", "\u2028\u2029", "\ud800", "손흥민", "😀"]
    text = embed_json(value)
    assert not re.search("[<>&\u2028\u2029]", text) and "손흥민" in text
    assert json.loads(text.encode()) == value
