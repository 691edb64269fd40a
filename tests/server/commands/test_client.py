"""The client of a node, against servers that answer anything."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from server.commands.client import NodeClient
from server.errors import ConfigurationError, NodeUnreachable, RequestError

Seen = list[tuple[str, str, dict[str, str], bytes]]


@contextmanager
def answering(status: int, body: bytes) -> Iterator[tuple[str, Seen]]:
    """A server that answers everything the same way; its URL and what it was asked."""
    seen: Seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            headers = {name.lower(): text for name, text in self.headers.items()}
            path = self.requestline.split()[1]  # self.path has the first of two slashes taken out
            seen.append((self.command, path, headers, self.rfile.read(length)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - as the base class looks it up

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", seen
        finally:
            server.shutdown()
            thread.join()


def test_get_asks_with_the_token_and_reads_json() -> None:
    with answering(200, b'{"state": "DONE"}') as (url, seen):
        told = NodeClient(url, "secret").get("requests/1")

    assert told == {"state": "DONE"}
    method, path, headers, body = seen[0]
    assert (method, path, body) == ("GET", "/api/v1/requests/1", b"")
    assert headers["authorization"] == "Bearer secret"


@pytest.mark.parametrize("end", ["", "/"])  # as a browser shows it, and as the demo prints it
def test_post_sends_json(end: str) -> None:
    with answering(202, b"{}") as (url, seen):
        NodeClient(f"{url}{end}", "secret").post(
            "/requests", {"targets": ["Leber", "Milz für später"]}
        )

    method, path, headers, body = seen[0]
    assert (method, path) == ("POST", "/api/v1/requests")
    assert headers["content-type"] == "application/json"
    assert json.loads(body) == {"targets": ["Leber", "Milz für später"]}


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (409, b'{"detail": "the study is still arriving"}', "the study is still arriving"),
        (502, b"<html>a proxy</html>", "502"),
        (404, b"[]", "404"),
        (500, b"", "500"),
        (401, b'{"detail": null}', "None"),
    ],
    ids=["problem", "proxy", "a list", "nothing", "an empty problem"],
)
def test_a_refusal_is_told_in_the_nodes_words(status: int, body: bytes, said: str) -> None:
    with answering(status, body) as (url, _), pytest.raises(RequestError, match=said):
        NodeClient(url, "secret").get("requests")


def test_nobody_there_is_told_with_the_address() -> None:
    with answering(200, b"{}") as (url, _):
        pass

    with pytest.raises(NodeUnreachable, match=url):
        NodeClient(url, "secret").get("requests")


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\xfe"])
def test_a_server_that_is_no_node_is_told_apart(body: bytes) -> None:
    with answering(200, body) as (url, _), pytest.raises(NodeUnreachable, match="is no Segnode"):
        NodeClient(url, "secret").get("requests")


def test_a_server_that_does_not_speak_http_is_told_apart() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        speaker = threading.Thread(target=_greet, args=(listening,))
        speaker.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"

        with pytest.raises(NodeUnreachable, match="is no Segnode"):
            NodeClient(url, "secret").get("requests")
        speaker.join()


def _greet(listening: socket.socket) -> None:
    peer, _ = listening.accept()
    with peer:
        peer.recv(4096)
        peer.sendall(b"220 mail ready\r\n")


@pytest.mark.parametrize("url", ["", "localhost:8080", "file:///etc/passwd", "http://", "ftp://x"])
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(NodeUnreachable, match="http://host:port"):
        NodeClient(url, "secret")


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "Schl\u00fcssel"])
def test_a_token_that_is_none_is_refused_at_once(token: str) -> None:
    with pytest.raises(ConfigurationError, match="token"):
        NodeClient("http://127.0.0.1:1", token)
