"""Which failures of the hub are retried, and downloads that survive them, with the real client."""

import json

import pytest
from httpx2 import ConnectError, Request, Response
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

from ner.cli import InputError
from ner.model.hub import Base, download_base
from ner.model.retries import find_retry_delay, with_retries
from tests.loopback_hub import TOKENS, LoopbackHub, run_python

DOWNLOADS = """
import json, os, sys, time
from ner.cli import InputError
from ner.model.adapter import download_adapter
from ner.model.hub import Base, download_base

os.environ["HF_TOKEN"] = "hf_alice"
waits = []
time.sleep = waits.append
for kind, name in json.loads(sys.argv[1]):
    waits.clear()
    try:
        download_base(Base(name)) if kind == "base" else download_adapter(name)
        message = "done"
    except InputError as error:
        message = str(error)
    print("ENDED", json.dumps([message, waits]), flush=True)
"""
WEIGHTS = ("GET", "^/{}/resolve/.*safetensors")
LISTING = ("GET", "/{}/revision/")
NO_XET = "run `export HF_HUB_DISABLE_XET=1` first"
# Name of the repository: kind, method, path, fault, waits, and how the message ends.
FAULTS = {
    "base-500": ("base", *WEIGHTS, {"status": 500, "times": 2}, [10, 60], "done"),
    "base-always-500": ("base", *WEIGHTS, {"status": 500, "times": 4}, [10, 60, 300], NO_XET),
    "base-403": ("base", *WEIGHTS, {"status": 403}, [], "this login has no permission"),
    # The client itself continues five times, a second after each break.
    "base-cut": ("base", *WEIGHTS, {"cut_after": 10, "times": 6}, [1, 1, 1, 1, 1, 10], "done"),
    "listing-500": ("base", *LISTING, {"status": 500}, [10], "done"),
    "adapter-503": ("adapter", *WEIGHTS, {"status": 503}, [1], "done"),
    "adapter-always-503": ("adapter", *LISTING, {"status": 503, "times": 4}, [1, 2, 4], NO_XET),
}


@pytest.fixture
def hub():
    with LoopbackHub(TOKENS) as hub:
        yield hub


def download(hub, tmp_path, cases: list[tuple[str, str]]) -> list[tuple[str, list[float]]]:
    """Download each (kind, repository) in one process. Returns messages and seconds waited."""
    done = run_python(hub, tmp_path, None, "-c", DOWNLOADS, json.dumps(cases))
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("ENDED ")]
    return [json.loads(line.removeprefix("ENDED ")) for line in lines]


def test_every_failed_download_is_retried_or_reported(hub, tmp_path):
    files = {
        "config.json": b"{}",
        "adapter_config.json": b"{}",
        "adapter_model.safetensors": b"w" * 100_000,
    }
    for name, (_, method, path, fault, *_) in FAULTS.items():
        hub.add_repo(f"alice/{name}", files)
        hub.fail_next(method, path.format(f"alice/{name}"), **fault)
    cases = [(kind, f"alice/{name}") for name, (kind, *_) in FAULTS.items()]
    ends = download(hub, tmp_path, cases)
    for (name, (*_, waits, end)), (message, seconds) in zip(FAULTS.items(), ends, strict=True):
        assert seconds == waits, name
        assert end in message, name
    assert hub.faults == []
    configs = [
        path for method, path, _ in hub.requests if (method, path[-12:]) == ("GET", "/config.json")
    ]
    assert len(configs) == len(set(configs)), "a complete file came twice"


def test_own_adapter_is_found_again_after_a_failure(hub, tmp_path):
    """The user's name comes from the hub too."""
    hub.add_repo("alice/EXAONE-mine", {"adapter_config.json": b"{}"}, private=True)
    hub.fail_next("GET", "/api/whoami-v2", status=502)
    assert download(hub, tmp_path, [("adapter", "EXAONE-mine")]) == [["done", [1]]]


def build_answer(status: int, **headers: str) -> HfHubHTTPError:
    request = Request("GET", "https://huggingface.co")
    response = Response(status, headers=headers, request=request)
    return HfHubHTTPError(str(status), response=response)


def wrap(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "delay"),
    [
        (build_answer(503), 0),
        (build_answer(429, **{"Retry-After": "7"}), 7),
        (build_answer(429, **{"Retry-After": "61"}), None),
        (build_answer(404), None),
        (ConnectError("no route"), 0),
        (ConnectionResetError("reset"), 0),
        (OSError(28, "No space left on device"), None),
        (OfflineModeIsEnabled("offline"), None),
        (RuntimeError("Task error: CAS Client Error: HTTP status 503"), 0),
        (wrap(RuntimeError("put"), build_answer(500)), 0),
        (RuntimeError("CUDA error"), None),
        (wrap(LocalEntryNotFoundError("listing"), ConnectError("no route")), 0),
        (wrap(LocalEntryNotFoundError("listing"), OfflineModeIsEnabled("offline")), None),
        (LocalEntryNotFoundError("not in the cache"), None),
    ],
    ids=lambda value: f"{type(value).__name__} {value}" if isinstance(value, Exception) else None,
)
def test_only_temporary_failures_are_retried(error, delay):
    assert find_retry_delay(error) == delay


def test_failed_xet_transfer_is_retried(monkeypatch, capsys):
    """hf_xet raises a RuntimeError without a cause."""
    waits, answers = [], [RuntimeError("Task error: CAS Client Error: HTTP status 503"), "sent"]

    def send() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr("time.sleep", waits.append)
    assert with_retries(send) == "sent"
    assert waits == [1]
    assert "The hub failed (ConnectionError). Retrying" in capsys.readouterr().out


def test_xet_failure_of_a_download_names_the_way_out(monkeypatch):
    waits = []

    def fail(*names, **flags) -> None:
        raise RuntimeError("Task error: File reconstruction error: CAS Client Error")

    monkeypatch.setattr("time.sleep", waits.append)
    monkeypatch.setattr("ner.model.hub.snapshot_download", fail)
    with pytest.raises(InputError, match=r"keeps complete files.*export HF_HUB_DISABLE_XET=1"):
        download_base(Base("alice/base"))
    assert waits == [10, 60, 300]
