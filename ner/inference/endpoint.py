"""Answers from an OpenAI-compatible server, such as vLLM's."""

import codecs
import json
import os
import re
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed

from httpx2 import HTTPError
from huggingface_hub import ChatCompletionOutputLogprob, InferenceClient
from huggingface_hub.errors import HfHubHTTPError

from ner.cli import InputError
from ner.text.answers import DEFAULT_MAX_NEW_TOKENS, Answer, Piece
from ner.text.grammar import write_gbnf
from ner.text.prompts import build_prompt
from ner.text.task import Task, check_marked

PAUSES = (1, 2, 4, 8)  # seconds before another try
PERMANENT = (400, 401, 403, 404, 422)  # another try would not help
REFUSED = (400, 422)  # a field of the request may be unknown
WITH_REASON = (*REFUSED, 500)
MESSAGE = re.compile(r'"(?:message|detail)":\s*("(?:[^"\\]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*")')


class EndpointRecognizer:
    """Asks a server for the names in sentences, several sentences at a time, at temperature 0.

    With `constrain`, each request has the grammar of its sentence's marked answers, in vLLM's field
    for it. With `require_logprobs`, an answer without the probabilities of its tokens is an error.
    The server's key comes from ENDPOINT_API_KEY. The hub's token is never sent to it.

    Raises InputError for `constrain` with a prompt that asks for JSON.
    """

    def __init__(
        self,
        url: str,
        model: str,
        task: Task,
        max_new_tokens: int | None = None,
        concurrency: int = 16,
        constrain: bool = False,
        require_logprobs: bool = False,
    ):
        if constrain:
            check_marked(task, "--constrain")
        self.url, self.model, self.concurrency = url, model, concurrency
        self.task, self.constrain = task, constrain
        self.require_logprobs = require_logprobs
        self.ask_logprobs = True
        self.max_new_tokens = max_new_tokens or DEFAULT_MAX_NEW_TOKENS
        self.key = os.environ.get("ENDPOINT_API_KEY")
        # Without a key of its own the client would send the hub's token.
        self.client = InferenceClient(base_url=url, api_key=self.key or "none", timeout=300)

    @property
    def settings(self) -> dict:
        """Everything the answers depend on."""
        settings = {
            "endpoint": self.url,
            "model": self.model,
            **self.task.record,
            "max_new_tokens": self.max_new_tokens,
        }
        # Only if on, so that runs that began before there was a grammar can continue.
        return settings | {"constrain": True} if self.constrain else settings

    def answer(self, sentences: dict[int, str]) -> Iterator[Answer]:
        """Yield answers by the sentences' indices as they arrive.

        Raises InputError if the server does not answer after several tries, or at the first answer
        that lacks required probabilities.
        """
        with ThreadPoolExecutor(self.concurrency) as pool:
            futures = [pool.submit(self.ask, *item) for item in sentences.items()]
            try:
                for future in as_completed(futures):
                    answer = future.result()
                    if self.require_logprobs and answer.pieces is None:
                        raise InputError(
                            f"{self.url}: {self.model} gives no probabilities of its tokens, so "
                            "there is no confidence to compare. Leave out --min_confidence"
                        )
                    yield answer
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
        if status in WITH_REASON:
            reason += read_message(error, self.key)
        if status in WITH_REASON and self.constrain:
            advice = (
                "It may refuse the grammar. Leave out --constrain, or start vLLM with a backend "
                "that takes grammars: --structured-outputs-config.backend auto"
            )
        else:
            advice = (
                "Check that the address is right and ends in /v1, that the server has --model, and "
                "whether it needs ENDPOINT_API_KEY"
            )
        return InputError(f"{self.url}: no answer from {self.model} ({reason}). {advice}")

    def request(self, index: int, sentence: str) -> Answer:
        """Ask once. If the server refuses to give probabilities, ask again without them."""
        logprobs = self.ask_logprobs  # other threads may change it
        try:
            return self.complete(index, sentence, logprobs)
        except HfHubHTTPError as error:
            if not logprobs or read_status(error) not in REFUSED:
                raise
        answer = self.complete(index, sentence, False)
        self.ask_logprobs = False
        return answer

    def complete(self, index: int, sentence: str, logprobs: bool) -> Answer:
        grammar = write_gbnf(sentence, self.task.labels) if self.constrain else None
        prompt = build_prompt(sentence, self.task.system_prompt)
        try:
            reply = self.client.chat_completion(
                prompt,
                model=self.model,
                max_tokens=self.max_new_tokens,
                temperature=0,
                logprobs=logprobs or None,  # None leaves the field out
                extra_body=grammar and {"structured_outputs": {"grammar": grammar}},
            ).choices[0]
            text = reply.message.content or ""
        except HfHubHTTPError:
            raise  # status 400 is a ValueError too
        except (ValueError, TypeError, IndexError, AttributeError) as error:
            raise self.explain(error) from None  # no chat completion, but a web page or the like
        tokens = reply.logprobs.content if reply.logprobs else None
        pieces = None if tokens is None else locate_tokens(text, tokens)
        return Answer(index, text, reply.finish_reason != "length", pieces)


def locate_tokens(text: str, tokens: list[ChatCompletionOutputLogprob]) -> list[Piece] | None:
    """Where each token of a reply ends in its text. None if the tokens do not give the text.

    A token that ends within a character ends after the last complete one. Tokens after the text,
    such as an end-of-turn marker, are left out. The text of an answer that was cut off within a
    character may end in U+FFFD.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    written, pieces = "", []
    for token in tokens:
        if len(written) >= len(text):
            break
        encoded = token.get("bytes")  # may be missing
        written += decoder.decode(token.token.encode() if encoded is None else bytes(encoded))
        pieces.append(Piece(len(written), token.logprob))
    return pieces if text in (written, written + decoder.decode(b"", final=True)) else None


def read_status(error: Exception) -> int | None:
    return error.response.status_code if isinstance(error, HfHubHTTPError) else None


def read_message(error: HfHubHTTPError, key: str | None) -> str:
    """The server's own message, shortened and without the key; empty if there is none."""
    found = MESSAGE.search(error.response.text)
    message = json.loads(found[1], strict=False) if found else ""
    if key:
        message = message.replace(key, "…")
    return message and ": " + textwrap.shorten(message, 200, placeholder=" …")
