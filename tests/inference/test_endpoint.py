"""Answers from an OpenAI-compatible server on loopback, through the real client."""

import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import ChatCompletionOutput, ChatCompletionOutputLogprob

import evaluate_hub
from ner.cli import InputError
from ner.inference import endpoint
from ner.inference.endpoint import EndpointRecognizer, locate_tokens
from ner.text.answers import Answer, Piece
from ner.text.grammar import write_gbnf
from ner.text.task import build_task
from tests.evaluation.runs import ALL, MEMORIZED, check_same_results, read_lines
from tests.helpers import ROOT

NOWHERE = "http://127.0.0.1:9/v1"
KEY = "the-servers-key"


class ChatServer(ThreadingHTTPServer):
    """An OpenAI-compatible server that answers with the stand-in, one request at a time.

    The first request fails with status 503. `requests` holds the path, the authorization and the
    content of each. If `refuses_grammars`, it answers a request with a grammar as vLLM does. If it
    has an `other_page`, it answers with this.
    """

    refuses_grammars = False
    other_page: str | None = None

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
            elif self.server.refuses_grammars and "structured_outputs" in content:
                message = f"Invalid grammar specification. {self.headers['Authorization']}"
                self.reply(400, {"error": {"message": message, "code": 400}})
            elif self.server.other_page:
                self.reply(200, self.server.other_page)
            else:
                self.reply(200, self.complete(content))

    def reply(self, status: int, content: dict | str):
        reply = (content if isinstance(content, str) else json.dumps(content)).encode()
        self.send_response(status)
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
        if content["logprobs"]:
            choice["logprobs"] = {"content": describe_tokens(answer)}
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


def describe_tokens(answer: Answer) -> list[dict]:
    """The tokens of an answer as in OpenAI's replies, with the end-of-turn marker."""
    texts, start = [], 0
    for piece in answer.pieces:
        texts.append((answer.text[start : piece.end], piece.logprob))
        start = piece.end
    described = [
        {"token": text, "bytes": list(text.encode()), "logprob": logprob, "top_logprobs": []}
        for text, logprob in [*texts, ("[|endofturn|]", -0.5)]
    ]
    if broken := len(answer.text) - start:  # stopped at the limit, within a character
        described[-2]["bytes"] += b"\x80" * (broken - 1) + BOM[:1]
        del described[-1]
    return described


@pytest.fixture
def server(generator):
    with ChatServer(generator) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def command(server, tmp_path) -> list[str]:
    """The flags of evaluate_hub.py on a server."""
    return ["--endpoint", server.url, "--model", "stand-in", *ALL, "--output_dir", str(tmp_path)]


@pytest.fixture
def online(monkeypatch) -> None:
    """A machine with a network and the server's key.

    huggingface_hub sends nothing if HF_HUB_OFFLINE was set when it was imported, as it is here.
    """
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("ENDPOINT_API_KEY", KEY)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.mark.usefixtures("online")
def test_endpoint_gives_the_same_metrics_and_never_gets_the_hubs_token(
    server, command, uninterrupted, tmp_path
):
    """As a script, whose environment holds both tokens."""
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    environment["HF_TOKEN"] = "hf_secret"
    script = [sys.executable, str(ROOT / "evaluate_hub.py")]
    done = subprocess.run([*script, *command], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    check_same_results(tmp_path, uninterrupted)
    assert len(server.requests) == 49
    for path, authorization, content in server.requests:
        assert path == "/v1/chat/completions"
        assert authorization == f"Bearer {KEY}"
        assert content["model"] == "stand-in"
        assert content["temperature"] == 0
        assert content["max_tokens"] == 100
        assert "structured_outputs" not in content
    header, *rows = read_lines(tmp_path)
    assert "constrain" not in header["settings"]  # earlier evaluations can be continued
    for row in rows:
        ends = [end for end, _ in row["pieces"]]
        assert ends == sorted(ends)
        assert len(row["answer"].rstrip("\ufffd")) <= ends[-1] <= len(row["answer"])
        assert all(logprob <= 0 for _, logprob in row["pieces"])


@pytest.mark.usefixtures("online")
def test_each_request_has_the_grammar_of_its_sentence(server, command, tmp_path):
    evaluate_hub.main([*command, "--prompt", "marked", "--constrain", "--max_new_tokens", "4"])
    header, *rows = read_lines(tmp_path)
    assert header["settings"]["constrain"] is True
    grammars = {}
    for _, _, content in server.requests:
        grammars[content["messages"][-1]["content"]] = content["structured_outputs"]["grammar"]
    sentences = ["".join(row["tokens"]) for row in rows]
    assert grammars == {sentence: write_gbnf(sentence) for sentence in sentences}


@pytest.mark.usefixtures("online")
def test_server_that_refuses_grammars(server, command, capfd):
    server.refuses_grammars = True
    with pytest.raises(InputError) as stop:
        evaluate_hub.main([*command, "--prompt", "marked", "--constrain"])
    assert str(stop.value) == (
        f"{server.url}: no answer from stand-in (status 400: Invalid grammar specification. "
        "Bearer …). It may refuse the grammar. Leave out --constrain, or start vLLM with a backend "
        "that takes grammars: --structured-outputs-config.backend auto"
    )
    assert KEY not in "".join(capfd.readouterr())


def test_grammar_is_for_marked_answers():
    with pytest.raises(InputError, match=r"--constrain is for marked answers.*--prompt marked"):
        EndpointRecognizer(NOWHERE, "stand-in", build_task("basic"), constrain=True)


def test_server_that_does_not_answer(tmp_path, monkeypatch):
    monkeypatch.setattr(endpoint, "PAUSES", ())
    flags = ["--endpoint", NOWHERE, "--model", "stand-in", *MEMORIZED]
    message = f"{NOWHERE}: no answer from stand-in .*ENDPOINT_API_KEY"
    with pytest.raises(InputError, match=message):
        evaluate_hub.main([*flags, "--output_dir", str(tmp_path)])


@pytest.mark.usefixtures("online")
@pytest.mark.parametrize("page", ["<html>봄</html>", '{"error": "봄"}', '{"choices": []}', "[]"])
def test_server_that_is_no_language_model(server, page, pauses):
    server.other_page = page
    recognizer = EndpointRecognizer(server.url, "stand-in", build_task("basic"))
    with pytest.raises(InputError, match=r"no answer from stand-in .*Check that the address"):
        list(recognizer.answer({0: "봄"}))


class FailingClient:
    """A client whose first requests fail. `requests` holds the settings of each."""

    def __init__(self, *errors: Exception):
        self.errors = list(errors)
        self.requests: list[dict] = []

    def chat_completion(self, *arguments, **settings):
        self.requests.append(settings)
        if self.errors:
            raise self.errors.pop(0)
        message = {"role": "assistant", "content": "봄"}
        choice = {"finish_reason": "stop", "message": message}
        return ChatCompletionOutput.parse_obj_as_instance({"choices": [choice]})


def make_status_error(status: int, text: str = "") -> Exception:
    from httpx2 import Request, Response
    from huggingface_hub.errors import BadRequestError, HfHubHTTPError

    response = Response(status, request=Request("POST", NOWHERE), text=text)
    error = BadRequestError if status == 400 else HfHubHTTPError
    return error(f"status {status}", response=response)


@pytest.fixture
def pauses(monkeypatch) -> list[float]:
    seconds = []
    monkeypatch.setattr(endpoint.time, "sleep", seconds.append)
    return seconds


def test_failing_server_is_asked_five_times(pauses):
    recognizer = EndpointRecognizer(NOWHERE, "stand-in", build_task("basic"))
    recognizer.client = FailingClient(*[make_status_error(503)] * 5)
    with pytest.raises(InputError, match=r"no answer from stand-in \(status 503\)"):
        list(recognizer.answer({0: "봄"}))
    assert pauses == [1, 2, 4, 8]
    assert recognizer.client.errors == []


@pytest.mark.parametrize("status", [401, 403, 404])
def test_permanent_error_is_not_repeated(pauses, status):
    recognizer = EndpointRecognizer(NOWHERE, "stand-in", build_task("basic"))
    recognizer.client = FailingClient(make_status_error(status))
    with pytest.raises(InputError, match=rf"\(status {status}\)"):
        list(recognizer.answer({0: "봄"}))
    assert pauses == []


@pytest.mark.parametrize("constrain", [False, True])
@pytest.mark.parametrize("status", [400, 422])
def test_server_that_refuses_logprobs_is_asked_without_them(pauses, status, constrain):
    recognizer = EndpointRecognizer(NOWHERE, "stand-in", build_task("marked"), constrain=constrain)
    recognizer.client = FailingClient(make_status_error(status))
    for sentence in ("봄", "이"):
        assert list(recognizer.answer({0: sentence})) == [Answer(0, "봄", True)]
    requests = recognizer.client.requests
    assert [request["logprobs"] for request in requests] == [True, None, None]
    assert all((request["extra_body"] is not None) == constrain for request in requests)
    assert pauses == []


@pytest.mark.parametrize("status", [400, 422])
def test_server_that_refuses_every_request_is_asked_twice(pauses, status):
    recognizer = EndpointRecognizer(NOWHERE, "stand-in", build_task("marked"))
    errors = [make_status_error(status, f'{{"message": "{text}"}}') for text in ("one", "two")]
    recognizer.client = FailingClient(*errors)
    message = rf"no answer from stand-in \(status {status}: two\)\. Check that the address"
    with pytest.raises(InputError, match=message):
        list(recognizer.answer({0: "봄"}))
    assert pauses == []


def test_busy_server_is_still_asked_for_logprobs(pauses):
    recognizer = EndpointRecognizer(NOWHERE, "stand-in", build_task("marked"))
    recognizer.client = FailingClient(make_status_error(503), make_status_error(500))
    list(recognizer.answer({0: "봄"}))
    assert all(request["logprobs"] for request in recognizer.client.requests)


def test_missing_logprobs_stop_the_run_at_once_if_required(monkeypatch):
    recognizer = EndpointRecognizer(
        NOWHERE, "stand-in", build_task("marked"), concurrency=1, require_logprobs=True
    )
    recognizer.client = FailingClient()
    build = endpoint.build_prompt
    monkeypatch.setattr(endpoint, "build_prompt", lambda *texts: time.sleep(0.02) or build(*texts))
    with pytest.raises(InputError, match=r"stand-in gives no probabilities .*--min_confidence"):
        list(recognizer.answer(dict.fromkeys(range(50), "봄")))
    assert len(recognizer.client.requests) < 25


@pytest.mark.parametrize(
    ("status", "text", "reason"),
    [
        (
            400,
            '{"error": {"message": "No \\"grammar\\"\\n\\uac00"}}',
            'status 400: No "grammar" 가',
        ),
        (422, '{"detail": "extra fields"}', "status 422: extra fields"),
        (422, '{"detail": [{"loc": ["body"]}]}', "status 422"),
        (500, '{"error": {"message": "", "code": 500}}', "status 500"),
        (400, "<html>", "status 400"),
        (400, '{"message": "' + "long " * 100 + '"}', "status 400: " + "long " * 39 + "…"),
    ],
)
def test_refused_grammar_is_explained(pauses, status, text, reason):
    recognizer = EndpointRecognizer(NOWHERE, "stand-in", build_task("marked"), constrain=True)
    recognizer.client = FailingClient(*[make_status_error(status, text)] * 5)
    with pytest.raises(InputError) as stop:
        list(recognizer.answer({0: "봄"}))
    explanation = f"no answer from stand-in ({reason}). It may refuse the grammar. Leave out"
    assert explanation in str(stop.value)


class ReplyingClient:
    """A client whose every reply has one choice."""

    def __init__(self, **choice):
        self.choice = choice

    def chat_completion(self, *arguments, **settings):
        return ChatCompletionOutput.parse_obj_as_instance({"choices": [self.choice]})


@pytest.mark.parametrize(
    ("logprobs", "pieces"),
    [
        ({}, None),
        ({"logprobs": None}, None),
        ({"logprobs": {"content": None}}, None),
        ({"logprobs": {"content": []}}, None),
        ({"logprobs": {"tokens": ["봄"], "token_logprobs": [-0.5]}}, None),
        ({"logprobs": {"content": [{"token": "봄", "logprob": -0.5}]}}, [(1, -0.5)]),
    ],
)
def test_probabilities_are_optional(logprobs, pieces):
    recognizer = EndpointRecognizer(NOWHERE, "stand-in", build_task("basic"))
    message = {"role": "assistant", "content": "봄"}
    recognizer.client = ReplyingClient(finish_reason="stop", message=message, **logprobs)
    [answer] = recognizer.answer({7: "봄"})
    assert answer == Answer(7, "봄", True, pieces)


def test_empty_answer_has_no_tokens():
    recognizer = EndpointRecognizer(
        NOWHERE, "stand-in", build_task("marked"), require_logprobs=True
    )
    message = {"role": "assistant", "content": None}
    recognizer.client = ReplyingClient(
        finish_reason="stop", message=message, logprobs={"content": []}
    )
    assert list(recognizer.answer({7: "봄"})) == [Answer(7, "", True, [])]


def describe_bytes(*tokens: bytes) -> list[dict]:
    """Tokens with their bytes, in which a part of a character cannot be written as text."""
    return [{"token": token.decode("utf-8", "replace"), "bytes": list(token)} for token in tokens]


BOM = "봄".encode()  # three bytes
EMOJI = "😀".encode()  # four bytes


@pytest.mark.parametrize(
    ("text", "tokens", "ends"),
    [
        ("<봄:PS>", describe_bytes(b"<", BOM, b":PS>"), [1, 2, 6]),
        ("봄이", describe_bytes(BOM[:1], BOM[1:2], BOM[2:], "이".encode()), [0, 0, 1, 2]),
        ("이봄 ", describe_bytes("이".encode() + BOM[:2], BOM[2:] + b" "), [1, 3]),
        ("a😀", describe_bytes(b"a" + EMOJI[:2], EMOJI[2:3], EMOJI[3:]), [1, 1, 2]),
        # As vLLM does: the last token of a character has all of it.
        ("봄", [{"token": "", "bytes": []}, {"token": "봄", "bytes": list(BOM)}], [0, 1]),
        ("봄이", [{"token": "봄", "bytes": None}, {"token": "이"}], [1, 2]),
        ("봄", [*describe_bytes(BOM), {"token": "[|endofturn|]", "bytes": None}], [1]),
        # Stopped at the limit.
        ("봄", describe_bytes(BOM, BOM[:2]), [1]),
        ("이봄", describe_bytes("이".encode(), BOM + EMOJI[:3]), [1, 2]),
        ("봄\ufffd", describe_bytes(BOM, BOM[:1], BOM[1:2]), [1, 1, 1]),
        ("\ufffd", describe_bytes(EMOJI[:3]), [0]),
        ("", [{"token": "[|endofturn|]"}], []),
        ("봄", [{"token": "\ufffd", "bytes": [239, 191, 189]}] * 3, None),
        ("봄", describe_bytes(BOM[:2]), None),
        ("봄이", describe_bytes(BOM), None),
        ("봄", describe_bytes(b" ", BOM), None),
        ("봄", describe_bytes("봄이".encode()), None),
        ("이", describe_bytes(BOM), None),
    ],
)
def test_tokens_are_located_in_the_text(text, tokens, ends):
    given = [ChatCompletionOutputLogprob.parse_obj(token | {"logprob": -0.5}) for token in tokens]
    expected = None if ends is None else [Piece(end, -0.5) for end in ends]
    assert locate_tokens(text, given) == expected
