"""A real browser: Chromium without a window, driven through its DevTools pipe."""

import fcntl
import itertools
import json
import os
import select
import shutil
import subprocess
from pathlib import Path


def find_browser() -> str | None:
    """The program of the first browser that is installed."""
    for name in ("google-chrome", "chromium", "chromium-browser"):
        if program := shutil.which(name):
            return program
    return None


class Browser:
    """One tab.

    Chromium reads commands from its file descriptor 3 and answers on 4. Messages are JSON and end
    with a NUL.
    """

    def __init__(self, program: str, profile: Path):
        self.program = program
        commands, self.to_browser = os.pipe()
        self.from_browser, answers = os.pipe()
        # Numbers above 4, so that neither end overwrites the other when they become 3 and 4.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (commands, answers)]

        def place_ends() -> None:
            for number, end in enumerate(ends, start=3):
                os.dup2(end, number)

        self.process = subprocess.Popen(
            [
                program,
                *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
                *("--disable-quic", "--no-first-run", "--disable-background-networking"),
                *("--disable-component-update", "--disable-sync"),
                *("--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}"),
                "--remote-debugging-pipe",
            ],
            preexec_fn=place_ends,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in (commands, answers, *ends):
            os.close(end)
        self.numbers = itertools.count(1)
        self.events: list[dict] = []
        self.buffer = b""
        self.tab: dict[str, str] = {}
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.tab = {"sessionId": session}
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def receive(self) -> dict:
        """The next message: an answer or an event."""
        while b"\0" not in self.buffer:
            readable, _, _ = select.select([self.from_browser], [], [], 60)
            if not readable:
                raise TimeoutError("the browser sent nothing for a minute")
            chunk = os.read(self.from_browser, 1 << 20)
            if not chunk:
                raise EOFError(f"{self.program} ended")
            self.buffer += chunk
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    def call(self, method: str, **parameters) -> dict:
        """Call a method of the DevTools protocol and return its result."""
        number = next(self.numbers)
        command = {"id": number, "method": method, "params": parameters, **self.tab}
        os.write(self.to_browser, json.dumps(command).encode() + b"\0")
        while (message := self.receive()).get("id") != number:
            self.events.append(message)
        assert "error" not in message, (method, message["error"])
        return message["result"]

    def open(self, address: str) -> None:
        """Load a page from scratch. Afterwards `events` holds only this page's events."""
        for url in ("about:blank", address):
            self.events.clear()
            self.call("Page.navigate", url=url)
            while not self.list_events("Page.loadEventFired"):
                self.events.append(self.receive())

    def list_events(self, method: str) -> list[dict]:
        return [event["params"] for event in self.events if event["method"] == method]

    def run(self, script: str):
        """Run JavaScript in the page and return its value."""
        result = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def press(self, key: str, code: int, text: str = "") -> None:
        for kind in ("keyDown", "keyUp"):
            characters = {"text": text} if kind == "keyDown" else {}
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                windowsVirtualKeyCode=code,
                **characters,
            )

    def close(self) -> None:
        self.tab = {}
        self.call("Browser.close")
        self.process.wait(timeout=30)
        os.close(self.to_browser)
        os.close(self.from_browser)
