"""The report page, opened in a real browser: Chromium without a window, driven through its DevTools pipe."""
import fcntl
import itertools
import json
import os
import re
import select
import shutil
import subprocess

import pytest

from data_processing import parse_marked_sentence, tag_answer
from report import KINDS, compute_metrics, embed_json, pack_row, render_page

BROWSER = next(filter(None, map(shutil.which, ("google-chrome", "chromium", "chromium-browser"))), None)
MARKUP = "<script>document.title = 'owned'</script><img src=x onerror=\"document.title = 'owned'\"></pre>"
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


class Browser:
    """One tab. Chromium reads commands from its file descriptor 3 and answers on 4, as JSON that ends with a NUL."""

    def __init__(self, profile):
        commands, self.to_browser = os.pipe()
        self.from_browser, answers = os.pipe()
        # Above 4, so that neither overwrites the other on its way to 3 and 4.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (commands, answers)]
        self.process = subprocess.Popen(
            [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic",
             "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
             "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}", "--remote-debugging-pipe"],
            preexec_fn=lambda: [os.dup2(end, number) for number, end in enumerate(ends, start=3)],
            close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for end in (commands, answers, *ends):
            os.close(end)
        self.numbers, self.events, self.buffer, self.tab = itertools.count(1), [], b"", {}
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.tab = {"sessionId": self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def receive(self) -> dict:
        while b"\0" not in self.buffer:
            if not select.select([self.from_browser], [], [], 60)[0]:
                raise TimeoutError("the browser has said nothing for a minute")
            read = os.read(self.from_browser, 1 << 20)
            if not read:
                raise EOFError(f"{BROWSER} ended")
            self.buffer += read
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    def call(self, method: str, **parameters) -> dict:
        number = next(self.numbers)
        command = {"id": number, "method": method, "params": parameters, **self.tab}
        os.write(self.to_browser, json.dumps(command).encode() + b"\0")
        while (message := self.receive()).get("id") != number:
            self.events.append(message)
        assert "error" not in message, (method, message["error"])
        return message["result"]

    def open(self, address: str) -> None:
        """Open a page anew; `events` then holds all that happened since."""
        for address in ("about:blank", address):
            self.events.clear()
            self.call("Page.navigate", url=address)
            while not self.happened("Page.loadEventFired"):
                self.events.append(self.receive())

    def happened(self, method: str) -> list[dict]:
        return [event["params"] for event in self.events if event["method"] == method]

    def run(self, script: str):
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def press(self, key: str, code: int, text: str = "") -> None:
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, text=text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def close(self) -> None:
        self.tab = {}
        self.call("Browser.close")
        self.process.wait(timeout=30)
        os.close(self.to_browser)
        os.close(self.from_browser)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if BROWSER is None:
        pytest.skip("no Chromium or Chrome on this machine; Debian's package is chromium")
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    rows = []
    for number, (marked, answer) in enumerate(SENTENCES):
        tokens, gold = parse_marked_sentence(marked)
        tags, diagnosis = tag_answer(answer, tokens)
        rows.append({"id": number, "tokens": tokens, "gold": gold, "answer": answer, "tags": tags,
                     "diagnosis": diagnosis, "stopped": diagnosis["read"] != "cut off"})
    return rows


@pytest.fixture(scope="module")
def metrics(rows) -> dict:
    return compute_metrics(rows)


@pytest.fixture(scope="module")
def address(rows, metrics, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render_page(rows, metrics, {"model": "some/<model>", "versions": {"torch": "2"}}), encoding="utf-8")
    return path.as_uri()


def read_texts(browser: Browser, selector: str) -> list[str]:
    return browser.run(f"[...document.querySelectorAll({json.dumps(selector)})].map((node) => node.textContent)")


def list_shown(browser: Browser) -> list[int]:
    """The ids of the sentences on the page."""
    return [int(text.removeprefix("#")) for text in read_texts(browser, "#list > li .top a")]


def test_headline_equals_the_metrics(browser, address, metrics):
    browser.open(address)
    for name, figures in metrics["scores"].items():
        f1, found = figures["f1"], f"document.getElementById('{name}')"
        assert browser.run(f"Number({found}.value)") == f1["value"]
        assert browser.run(f"{found}.closest('td').textContent") == "{value:.4f}{low:.4f} to {high:.4f}".format(**f1)
    assert browser.run("document.title") == "Named entities: some/<model>"


@pytest.mark.parametrize("filters, shown", [
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
    ("kind=cut_off", [5]),
    ("kind=token_limit&show=right", [5]),
    ("kind=unreadable", [6]),
    ("q=자랐다", [1]),
    ("q=ONERROR", [3]),
    ("q=서울대 정문", [2]),  # stands so in the answer and in the sentence
    ("id=5", [5]),
    ("show=nonsense&kind=missed", [2, 4, 6]),
])
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
    assert browser.run("new URLSearchParams(location.hash.slice(1)).get('q')") == "손흥민"
    assert browser.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.press("Tab", 9)
    browser.press("Enter", 13, "\r")
    assert browser.run("location.hash") == ""
    assert read_texts(browser, "#count") == [f"{len(SENTENCES)} of {len(SENTENCES)} sentences"]


def test_figure_leads_to_its_sentences(browser, address):
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


def test_entities_are_marked_in_place_and_named(browser, address):
    browser.open(f"{address}#id=1")
    gold, predicted = read_texts(browser, "#list .line[lang=ko]")
    assert gold == "손흥민PS은 춘천LC wrong label에서 자랐다."
    assert predicted == "손흥민PS은 춘천OG wrong label에서 자랐다."


def test_markup_in_an_answer_is_text(browser, address, rows):
    browser.open(f"{address}#id=3")
    assert read_texts(browser, "#list pre") == [rows[3]["answer"]]
    assert MARKUP in browser.run("document.querySelector('#list').innerText")
    assert browser.run("document.querySelectorAll('#list script, #list img').length") == 0
    assert browser.run("document.title").startswith("Named entities")
    assert not browser.happened("Runtime.exceptionThrown") and not browser.happened("Log.entryAdded")


def test_no_request_leaves_the_page(browser, address):
    browser.open(address)
    browser.run("document.getElementById('more').click(); new Promise((done) => setTimeout(done, 300))")
    assert {event["request"]["url"] for event in browser.happened("Network.requestWillBeSent")} == {address}
    for attempt, refused in [
        ("new Image().src = 'http://localhost/'", "img-src"),
        ("fetch('http://localhost/').catch(() => 0)", "connect-src"),
        ("document.body.append(Object.assign(document.createElement('script'), { text: '1' }))", "script-src-elem"),
    ]:
        assert browser.run("""new Promise((done) => {
            addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective), { once: true });
            setTimeout(() => done("nothing was refused"), 5000);
            %s;
        })""" % attempt) == refused


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_wider_than_the_window(browser, address, width):
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=True)
    browser.open(address)
    assert browser.run("document.documentElement.scrollWidth") <= width
    browser.call("Emulation.clearDeviceMetricsOverride")


def test_every_count_has_its_sentences(rows, metrics):
    """What the filter finds adds up to what the loss budget says."""
    errors = [error[0] for row in rows for error in pack_row(row)["errors"]]
    budget = metrics["budget"].values()
    for kind in (kind for kinds in KINDS.values() for kind in kinds if kind != "token_limit"):
        assert errors.count(kind) == sum(group.get(kind, 0) for group in budget), kind
    named = {kind for group in budget for kind in group} - {"total", "right", "plain_json"}
    assert named | {"token_limit"} == {kind for kinds in KINDS.values() for kind in kinds}


def test_embedded_json_cannot_end_its_element():
    value = ["</script><!--<script>", "&lt;", "\u2028\u2029", "\ud800", "손흥민", "😀"]
    text = embed_json(value)
    assert not re.search("[<>&\u2028\u2029]", text) and "손흥민" in text
    assert json.loads(text.encode()) == value
