"""Ask the hub again when it is busy, fails, or breaks the connection."""

import re
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from httpx2 import HTTPError
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

RETRY_WAITS = [1, 2, 4]  # seconds before each further try
LONG_WAITS = [10, 60, 300]  # for long transfers, which nobody watches
LONGEST_WAIT = 60  # seconds; if the hub asks for a longer wait, there is no further try
TEMPORARY = [408, 409, 429, 500, 502, 503, 504]  # statuses after which another try may succeed
# "Task error: File reconstruction error: CAS Client Error: ..."
XET_FAILURE = re.compile(r"(Task|Data processing|File reconstruction) error: |CAS Client Error")

Result = TypeVar("Result")


def with_retries(call: Callable[[], Result], waits: Sequence[float] = RETRY_WAITS) -> Result:
    """Call the hub, and again after each of `waits` seconds if another try may succeed."""
    for wait in waits:
        try:
            return call()
        except (HTTPError, OSError, RuntimeError) as error:
            delay = find_retry_delay(error)
            if delay is None:
                raise
            seconds = max(wait, delay)
            cause = type(find_cause(error)).__name__
            print(f"The hub failed ({cause}). Retrying in {seconds:.0f} seconds")
            time.sleep(seconds)
    return call()


def find_retry_delay(error: Exception) -> float | None:
    """Seconds that the hub asks to wait before another try, or None if no further try can help."""
    cause = find_cause(error)
    if isinstance(cause, OfflineModeIsEnabled):
        return None
    if isinstance(cause, HfHubHTTPError):
        if cause.response.status_code not in TEMPORARY:
            return None
        seconds = cause.response.headers.get("Retry-After", "0")
        if not seconds.isdigit() or float(seconds) > LONGEST_WAIT:
            return None
        return float(seconds)
    return 0 if isinstance(cause, (HTTPError, ConnectionError)) else None


def find_cause(error: Exception) -> BaseException | None:
    """The hub's answer, or the failure of the network. None if the error is neither.

    A download that cannot even list its files wraps it in a LocalEntryNotFoundError, and a failed
    transfer of a large file in a RuntimeError. hf_xet, which moves large files, keeps no cause,
    only a text.
    """
    if isinstance(error, LocalEntryNotFoundError):
        return error.__cause__ or error
    if not isinstance(error, RuntimeError):
        return error
    return ConnectionError(str(error)) if XET_FAILURE.match(str(error)) else error.__cause__
