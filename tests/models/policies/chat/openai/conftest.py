"""A server that speaks OpenAI's chat completions over real HTTP and does as it is told, faults
included.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from agent.language.chat import Conversation, Message, Picture
from models.policies.chat.openai.openai_chat import OpenAiChat
from models.policies.chat.openai.retry_policy import RetryPolicy
from models.runtime.resources import LanguageOptions


@dataclass(frozen=True)
class Said:
    """What the server answers: status, headers and body, in pieces of `chunk_bytes`, after each of
    which it may wait `linger_s`.

    `cut` closes the connection after so many bytes although more were announced.
    """

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    cut: int | None = None
    linger_s: float = 0.0
    chunk_bytes: int = 1 << 16


@dataclass(frozen=True)
class Heard:
    """A request as it came in."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


Script = Callable[[Heard], Said]


def completion(text: str | None = "ok", **more: Any) -> Said:
    """A plain answer; `more` are members of its message, `usage` and `finish_reason` those of the
    reply.
    """
    usage = more.pop("usage", {"prompt_tokens": 1000, "completion_tokens": 20})
    finish = more.pop("finish_reason", "stop")
    message = {"role": "assistant", "content": text, **more}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    reply = {"id": "chatcmpl-1", "model": "served", "choices": [choice], "usage": usage}
    return Said(json.dumps(reply).encode())


def refused(status: int, message: str = "", **headers: str) -> Said:
    """An error as OpenAI's service words it."""
    body = json.dumps({"error": {"message": message, "type": "error"}}).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Said(body, status, {"Content-Type": "application/json", **named})


class Server:
    """A server on a port of the loopback; `heard` is what it was asked, `most_at_once` how many at
    a time.
    """

    def __init__(self, script: Script) -> None:
        self.heard: list[Heard] = []
        self.most_at_once = 0
        self.leave = threading.Event()
        self._lock, self._at_once = threading.Lock(), 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                server._answer(self, script)

            def log_message(self, *_: object) -> None:
                """The tests' output is not the place."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.block_on_close = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def host(self) -> str:
        """The "host:port" it listens on."""
        return f"127.0.0.1:{self._http.server_port}"

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://{self.host}/v1"

    def close(self) -> None:
        """Stop, also what lingers."""
        self.leave.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def _answer(self, handler: BaseHTTPRequestHandler, script: Script) -> None:
        length = int(handler.headers.get("Content-Length", 0))
        body = json.loads(handler.rfile.read(length))
        heard = Heard(handler.path, dict(handler.headers), body)
        with self._lock:
            self.heard.append(heard)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            said = script(heard)
        try:
            self._say(handler, said)
        except OSError:  # the client has hung up, as some of these tests want
            handler.close_connection = True
        with self._lock:
            self._at_once -= 1

    def _say(self, handler: BaseHTTPRequestHandler, said: Said) -> None:
        if said.status == 0:  # not even a status line
            handler.close_connection = True
            self.leave.wait(said.linger_s)
            return
        handler.send_response(said.status)
        for name, value in said.headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(said.body)))
        handler.end_headers()
        body = said.body if said.cut is None else said.body[: said.cut]
        handler.close_connection = said.cut is not None
        for start in range(0, len(body), said.chunk_bytes):
            handler.wfile.write(body[start : start + said.chunk_bytes])
            handler.wfile.flush()
            if said.linger_s and self.leave.wait(said.linger_s):
                return


class FakeClock:
    """A clock that only moves when somebody sleeps."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.slept: list[float] = []
        self.today = 1_700_000_000.0

    def now(self) -> float:
        """See models.policies.chat.openai.retry_policy.Clock."""
        return self.seconds

    def time_of_day(self) -> float:
        """See models.policies.chat.openai.retry_policy.Clock."""
        return self.today + self.seconds

    async def sleep(self, seconds: float) -> None:
        """See models.policies.chat.openai.retry_policy.Clock."""
        self.slept.append(seconds)
        self.seconds += seconds


class _Longest:
    """Chance that always draws the longest wait."""

    def random(self) -> float:
        return 1.0


MakeServer = Callable[..., Server]
MakeChat = Callable[..., OpenAiChat]


def in_order(answers: list[Said]) -> Script:
    """These answers one after another, the last for ever."""
    return lambda _: answers.pop(0) if len(answers) > 1 else answers[0]


@pytest.fixture
def serve() -> Iterator[MakeServer]:
    """Starts servers: `serve(said, said, …)` answers in that order (the last for ever),
    `serve(script)` as a function says.
    """
    started: list[Server] = []

    def start(*said: Said | Script) -> Server:
        scripts = [one for one in said if not isinstance(one, Said)]
        answers = [one for one in said if isinstance(one, Said)]
        assert not scripts or (len(scripts) == 1 and not answers)
        started.append(Server(scripts[0] if scripts else in_order(answers)))
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.fixture
def clock() -> FakeClock:
    """A clock without waiting."""
    return FakeClock()


@pytest.fixture
def connect(clock: FakeClock) -> Iterator[MakeChat]:
    """Opens chats with servers, which are allowed unless `allowed_hosts` says otherwise;
    `timeout_s` is of real time.
    """
    opened: list[OpenAiChat] = []

    def open_chat(
        *servers: Server, timeout_s: float = 20.0, attempts: int = 3, **options: Any
    ) -> OpenAiChat:
        settled = {
            "model": "medsam-agent",
            "endpoints": tuple(server.url for server in servers),
            "allowed_hosts": tuple(server.host for server in servers),
        } | options
        patience = RetryPolicy(attempts, timeout_s, chance=_Longest())  # type: ignore[arg-type] # all of Random it uses
        opened.append(OpenAiChat(LanguageOptions(**settled), clock=clock, patience=patience))
        return opened[-1]

    yield open_chat
    for chat in opened:
        chat.close()


@pytest.fixture
def said() -> Callable[..., Said]:
    """Builds an answer, see Said."""
    return Said


@pytest.fixture(name="completion")
def completion_fixture() -> Callable[..., Said]:
    """Builds a completion."""
    return completion


@pytest.fixture(name="refused")
def refused_fixture() -> Callable[..., Said]:
    """Builds an error."""
    return refused


@pytest.fixture
def picture() -> Picture:
    """A small picture, red growing to the right and green downwards."""
    y, x = np.mgrid[:6, :8]
    return Picture(np.stack([x * 30, y * 40, np.zeros_like(x)], axis=2).astype(np.uint8))


@pytest.fixture
def question(picture: Picture) -> Conversation:
    """System, and a user with words and a picture."""
    messages: Sequence[Message] = (
        Message("system", ("You draw.",)),
        Message("user", ("The target is: liver", picture)),
    )
    return Conversation(tuple(messages))
