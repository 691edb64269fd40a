"""A chat model behind any server that speaks OpenAI's chat completions: vLLM, SGLang, GPT.

The conversations of a batch are asked in parallel, a server that fails is replaced by the next, and
nothing leaves for a host that the site has not allowed (models/policies/chat/openai/egress.py). The
server sees each conversation as the one before plus new messages, to the letter, so that its prefix
cache holds.

The package openai (3.57.0 was tried, over a client without redirects and proxies) is not used. Its
timeout is for each read, so a reply that drips for 10 s passes one of 1 s; a body is read whole,
however long; `{"choices": "no"}` is returned as an answer; and each request names the operating
system, processor and interpreter. What is left for it, one POST, is twenty lines of attempts.py.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import httpx

from agent.errors import ChatFailed
from agent.language.chat import Answer, Conversation
from agent.protocol.coordinates import Coordinates, SizePx
from models.errors import LanguageMisconfigured
from models.policies.chat.families import coordinates_of, resized_px
from models.policies.chat.openai.attempts import Fault, Reply, attempt
from models.policies.chat.openai.background import Background
from models.policies.chat.openai.egress import checked
from models.policies.chat.openai.endpoints import REST_S, Endpoint, Endpoints
from models.policies.chat.openai.retry_policy import Clock, RetryPolicy, SystemClock
from models.policies.chat.openai.wire import (
    NoReply,
    Prices,
    ServerDialect,
    adapted,
    answer_of,
    data_url,
    request_body,
)
from models.runtime.resources import LanguageOptions

logger = logging.getLogger(__name__)

# messages that tell one episode from another: the rules, and the first picture with its question
_BEGINNING = 2
_KEPT_PICTURES = 64  # a history is said again every turn; its pictures are encoded once


class OpenAiChat:
    """See agent.language.chat.ChatModel. For any number of threads; `close` ends its connections.

    Raises LanguageMisconfigured at once for options that cannot work, and HostNotAllowed for an
    endpoint that is not on the allow-list, before anything is connected.
    """

    def __init__(
        self,
        options: LanguageOptions,
        *,
        clock: Clock | None = None,
        patience: RetryPolicy | None = None,
    ) -> None:
        self._options, self._clock = options, clock or SystemClock()
        self._patience = patience or RetryPolicy(options.attempts, options.timeout_s)
        self._prices = Prices(options.price_per_million_input, options.price_per_million_output)
        self._url_of = lru_cache(maxsize=_KEPT_PICTURES)(data_url)
        self._endpoints = _endpoints(options, self._clock)
        headers = _headers(options.api_key_file)
        self._background = Background("language-model")
        self._client, self._room = self._background.run(_open(headers, options.concurrency))
        self.name = options.model

    @property
    def coordinates(self) -> Coordinates:
        """What the family writes that the model's name tells."""
        return coordinates_of(self.name)

    def seen_px(self, size_px: SizePx) -> SizePx:
        """As a server's usual processor of Qwen2.5-VL resizes a picture; no other needs it."""
        return resized_px(size_px)

    def answer(
        self, conversations: Sequence[Conversation], *, temperature: float, max_new_tokens: int
    ) -> list[Answer]:
        """An answer for each conversation, in order; ChatFailed when one of them got none (the
        others are dropped).
        """
        asking = self._answer_all(conversations, temperature, max_new_tokens)
        try:
            return self._background.run(asking)
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None

    def close(self) -> None:
        """Close all connections; nothing can be asked afterwards."""
        self._background.run(self._client.aclose())
        self._background.close()

    async def _answer_all(
        self, conversations: Sequence[Conversation], temperature: float, max_new_tokens: int
    ) -> list[Answer]:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._answer(conversation, temperature, max_new_tokens))
                for conversation in conversations
            ]
        return [task.result() for task in tasks]

    async def _answer(
        self, conversation: Conversation, temperature: float, max_new_tokens: int
    ) -> Answer:
        """One conversation's answer, from whichever server gives it."""
        async with self._room:
            deadline_s = self._clock.now() + self._patience.deadline_s
            failed, beginning = 0, conversation.messages[:_BEGINNING]
            while True:
                endpoint = self._endpoints.next(beginning)
                manner = endpoint.manner
                body = request_body(
                    conversation,
                    manner,
                    temperature=temperature,
                    max_new_tokens=max_new_tokens,
                    url_of=self._url_of,
                )
                timeout_s = min(self._patience.timeout_s, deadline_s - self._clock.now())
                logger.info(
                    # where to and how much, never what
                    "asking the language model at %s: %d pictures",
                    endpoint.name,
                    len(conversation.pictures),
                )
                outcome = await self._ask(endpoint, body, timeout_s)
                if isinstance(outcome, Answer):
                    self._endpoints.answered(endpoint)
                    return outcome
                other = adapted(endpoint.manner, outcome.refusal) if outcome.refusal else None
                if other is not None:
                    endpoint.manner = other
                # also where another conversation has learnt it meanwhile
                if outcome.refusal and endpoint.manner != manner:
                    continue
                failed += 1
                await self._wait(endpoint, outcome, failed, deadline_s)

    async def _ask(
        self, endpoint: Endpoint, body: Mapping[str, Any], timeout_s: float
    ) -> Answer | Fault:
        now_s = self._clock.time_of_day()
        reply = await attempt(self._client, endpoint.completions_url, body, timeout_s, now_s)
        if not isinstance(reply, Reply):
            return reply
        try:
            return answer_of(reply.body, endpoint.manner.model, self._prices)
        except NoReply as nothing:
            return Fault(f"gave no answer: {nothing}", passing=True)

    async def _wait(self, endpoint: Endpoint, fault: Fault, failed: int, deadline_s: float) -> None:
        """Wait for the next attempt, not at all if another server may be asked; ChatFailed when
        there is none.
        """
        if not fault.passing:
            raise ChatFailed(f"the language model at {endpoint.name} {_hinted(fault)}")
        self._endpoints.failed(endpoint, max(fault.retry_after_s or 0.0, REST_S))
        wait_s = (
            0.0 if self._endpoints.another() else self._patience.wait_s(failed, fault.retry_after_s)
        )
        message = f"the language model at {endpoint.name} {fault.reason}"
        if failed >= self._patience.attempts:
            raise ChatFailed(f"{message}; tried {failed} times (language.attempts)")
        if self._clock.now() + wait_s >= deadline_s:
            raise ChatFailed(f"{message}; given up after {self._patience.deadline_s:g} s")
        logger.warning("%s; trying again in %.1f s", message, wait_s)
        await self._clock.sleep(wait_s)


def require_usable(options: LanguageOptions) -> None:
    """Raise what OpenAiChat raises for options that cannot work; opens nothing."""
    _endpoints(options, SystemClock())
    _headers(options.api_key_file)


def _endpoints(options: LanguageOptions, clock: Clock) -> Endpoints:
    if not options.endpoints:
        raise LanguageMisconfigured(
            "language.endpoints", "name at least one server, such as http://localhost:8000/v1"
        )
    if not options.model:
        raise LanguageMisconfigured("language.model", "name the model as the server knows it")
    manner = ServerDialect(options.model, options.native_tools)
    urls = [checked(endpoint_url, options.allowed_hosts) for endpoint_url in options.endpoints]
    return Endpoints([Endpoint(url, manner) for url in urls], clock.now)


def _headers(api_key_file: Path | None) -> dict[str, str]:
    # a reply that need not be unpacked cannot unpack to more than was read
    plain = {"Accept": "application/json", "Accept-Encoding": "identity"}
    if api_key_file is None:
        return plain
    try:
        key = api_key_file.read_text(encoding="ascii").strip()
    except OSError as error:
        raise LanguageMisconfigured(
            "language.api_key_file", f"cannot read {api_key_file} ({error.strerror})"
        ) from error
    except UnicodeDecodeError:
        key = ""
    if not key or not key.isprintable() or " " in key:
        raise LanguageMisconfigured(
            "language.api_key_file", f"{api_key_file} must hold one key on one line"
        )
    return plain | {"Authorization": f"Bearer {key}"}


async def _open(
    headers: Mapping[str, str], concurrency: int
) -> tuple[httpx.AsyncClient, asyncio.Semaphore]:
    """The connections and the room for requests at once; both belong to the loop they are made
    on.
    """
    client = httpx.AsyncClient(
        headers=headers,
        follow_redirects=False,
        # a proxy of the environment would be one more host, and nobody has allowed it
        trust_env=False,
        timeout=None,  # noqa: S113 - each attempt has its own, to the last byte
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=concurrency),
    )
    return client, asyncio.Semaphore(concurrency)


def _hinted(fault: Fault) -> str:
    """A refusal with the setting that mends it, where one is known to."""
    if "tool" in fault.refusal.lower():
        return f"{fault.reason}; where a server takes no tools set language.native_tools = false"
    return fault.reason
