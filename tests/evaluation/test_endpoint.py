"""Answers from an OpenAI-compatible server on loopback, through the real client."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import evaluate_hub
from ner.cli import InputError
from ner.evaluation import endpoint
from ner.evaluation.endpoint import EndpointRecognizer
from tests.evaluation.runs import ALL, MEMORIZED, read_metrics
from tests.helpers import ROOT

NOWHERE = "http://127.0.0.1:9/v1"


class ChatServer(ThreadingHTTPServer):
    """An OpenAI-compatible server that answers with the stand-in, one request at a time.

    The first request fails with status 503. `requests` holds the path, the authorization and the
    content of each.
    """

    def __init__(self, generator):
        super().__init__(("127.0.0.1", 0), ChatHandler)
        self.generator = generator
        self.lock = threading.Lock()
        self.requests: list[tuple[str, str | None, dict]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class ChatHandler(BaseHTTPRequestHandler):
    server: ChatServer

    def do_POST(self):
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.requests.append((self.path, self.headers.get("Authorization"), content))
            if len(self.server.requests) == 1:
                self.send_error(503)
                return
            reply = json.dumps(self.complete(content)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def complete(self, content: dict) -> dict:
        generator = self.server.generator
        chat = generator.tokenizer.apply_chat_template(
            content["messages"], add_generation_prompt=True
        )
        prompts = {0: chat["input_ids"]}
        [answer] = generator.generate(prompts, [], 1, content["max_tokens"])
        choice = {
            "index": 0,
            "finish_reason": "stop" if answer.stopped else "length",
            "message": {"role": "assistant", "content": answer.text},
        }
        return {
            "id": "1",
            "object": "chat.completion",
            "created": 0,
            "model": content["model"],
            "usage": None,
            "choices": [choice],
        }

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(generator):
    with ChatServer(generator) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def evaluate_endpoint(url: str, folder: Path) -> subprocess.CompletedProcess:
    """Run evaluate_hub.py on a server, online.

    huggingface_hub sends nothing if HF_HUB_OFFLINE was set when it was imported, as it is here.
    """
    command = ["--endpoint", url, "--model", "stand-in", *ALL, "--output_dir", str(folder)]
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    environment |= {"HF_TOKEN": "hf_secret", "no_proxy": "127.0.0.1"}
    return subprocess.run(
        [sys.executable, str(ROOT / "evaluate_hub.py"), *command],
        capture_output=True,
        text=True,
        env=environment,
    )


def test_endpoint_gives_the_same_metrics_and_never_gets_the_hubs_token(
    server, uninterrupted, tmp_path
):
    done = evaluate_endpoint(server.url, tmp_path)
    assert done.returncode == 0, done.stderr
    assert read_metrics(tmp_path) | {"settings": None} == uninterrupted | {"settings": None}
    assert len(server.requests) == 49
    for path, authorization, content in server.requests:
        assert path == "/v1/chat/completions"
        assert "hf_secret" not in str(authorization)
        assert content["model"] == "stand-in"
        assert content["temperature"] == 0
        assert content["max_tokens"] == 100


def test_server_that_does_not_answer(tmp_path, monkeypatch):
    monkeypatch.setattr(endpoint, "PAUSES", ())
    flags = ["--endpoint", NOWHERE, "--model", "stand-in", *MEMORIZED]
    message = f"{NOWHERE}: no answer from stand-in .*ENDPOINT_API_KEY"
    with pytest.raises(InputError, match=message):
        evaluate_hub.main([*flags, "--output_dir", str(tmp_path)])


class FailingClient:
    """A client whose first requests fail."""

    def __init__(self, *errors: Exception):
        self.errors = list(errors)

    def chat_completion(self, *arguments, **settings):
        raise self.errors.pop(0)


def make_status_error(status: int) -> Exception:
    from httpx2 import Request, Response
    from huggingface_hub.errors import HfHubHTTPError

    response = Response(status, request=Request("POST", NOWHERE))
    return HfHubHTTPError(f"status {status}", response=response)


@pytest.fixture
def pauses(monkeypatch) -> list[float]:
    seconds = []
    monkeypatch.setattr(endpoint.time, "sleep", seconds.append)
    return seconds


def test_failing_server_is_asked_five_times(pauses):
    recognizer = EndpointRecognizer(NOWHERE, "stand-in", "basic")
    recognizer.client = FailingClient(*[make_status_error(503)] * 5)
    with pytest.raises(InputError, match=r"no answer from stand-in \(status 503\)"):
        list(recognizer.answer({0: "봄"}))
    assert pauses == [1, 2, 4, 8]
    assert recognizer.client.errors == []


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_permanent_error_is_not_repeated(pauses, status):
    recognizer = EndpointRecognizer(NOWHERE, "stand-in", "basic")
    recognizer.client = FailingClient(make_status_error(status))
    with pytest.raises(InputError, match=rf"\(status {status}\)"):
        list(recognizer.answer({0: "봄"}))
    assert pauses == []
