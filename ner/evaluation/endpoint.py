"""Answers from an OpenAI-compatible server, such as vLLM's."""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed

from httpx2 import HTTPError
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

from ner.cli import InputError
from ner.text.answers import DEFAULT_MAX_NEW_TOKENS, Answer
from ner.text.prompts import SYSTEM_PROMPTS, build_prompt

PAUSES = (1, 2, 4, 8)  # seconds before another try
PERMANENT = (400, 401, 403, 404)  # another try would not help


class EndpointRecognizer:
    """Asks a server for the names in sentences, several sentences at a time, at temperature 0.

    The server's key comes from ENDPOINT_API_KEY. The hub's token is never sent to it.
    """

    def __init__(
        self,
        url: str,
        model: str,
        prompt: str,
        max_new_tokens: int | None = None,
        concurrency: int = 16,
    ):
        self.url, self.model, self.concurrency = url, model, concurrency
        self.prompt = prompt
        self.max_new_tokens = max_new_tokens or DEFAULT_MAX_NEW_TOKENS
        # Without a key of its own the client would send the hub's token.
        key = os.environ.get("ENDPOINT_API_KEY") or "none"
        self.client = InferenceClient(base_url=url, api_key=key, timeout=300)

    @property
    def settings(self) -> dict:
        """Everything the answers depend on."""
        return {
            "endpoint": self.url,
            "model": self.model,
            "prompt": self.prompt,
            "max_new_tokens": self.max_new_tokens,
        }

    def answer(self, sentences: dict[int, str]) -> Iterator[Answer]:
        """Yield answers by the sentences' indices as they arrive.

        Raises InputError if the server does not answer after several tries.
        """
        with ThreadPoolExecutor(self.concurrency) as pool:
            futures = [pool.submit(self.ask, *item) for item in sentences.items()]
            try:
                for future in as_completed(futures):
                    yield future.result()
            finally:
                pool.shutdown(cancel_futures=True)

    def ask(self, index: int, sentence: str) -> Answer:
        """One sentence's answer. Tries again after each pause. Raises InputError."""
        for pause in (*PAUSES, None):
            try:
                return self.request(index, sentence)
            except (HTTPError, OSError) as error:
                if pause is None or read_status(error) in PERMANENT:
                    raise self.explain(error) from None
                time.sleep(pause)
        raise AssertionError("unreachable: the last try returns or raises")

    def explain(self, error: Exception) -> InputError:
        status = read_status(error)
        reason = f"status {status}" if status else type(error).__name__
        return InputError(
            f"{self.url}: no answer from {self.model} ({reason}). Check that the address "
            "is right and ends in /v1, that the server has --model, and whether it needs "
            "ENDPOINT_API_KEY"
        )

    def request(self, index: int, sentence: str) -> Answer:
        messages = build_prompt(sentence, SYSTEM_PROMPTS[self.prompt])
        reply = self.client.chat_completion(
            messages, model=self.model, max_tokens=self.max_new_tokens, temperature=0
        ).choices[0]
        return Answer(index, reply.message.content or "", reply.finish_reason != "length")


def read_status(error: Exception) -> int | None:
    return error.response.status_code if isinstance(error, HfHubHTTPError) else None
