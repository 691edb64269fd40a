"""A mirror of a hub on a real socket, whose faults a test chooses; the fixture `mirror` of
tests/conftest.py starts it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


@dataclass
class Asked:
    """A request as it came."""

    path: str
    headers: dict[str, str]


@dataclass
class Mirror:
    """What the server holds, path → bytes; `faults` are taken one a request, first come first; None
    is no fault.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    trees: dict[str, bytes] = field(default_factory=dict)
    etags: dict[str, str] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    extra: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    faults: list[Callable[[Handler, bytes], None] | None] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)

    def hold(self, repo: str, files: dict[str, bytes], large: Collection[str] = ()) -> None:
        """A repository with its tree; those in `large` are told by SHA-256, the others as git
        hashes them.
        """
        tree = []
        for name, content in files.items():
            self.files[f"/{repo}/resolve/main/{name}"] = content
            entry = {"type": "file", "path": name, "size": len(content), "oid": git_sha1(content)}
            if name in large:
                entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content)}
            tree.append(entry)
        self.trees[f"/api/models/{repo}/tree/main"] = json.dumps(
            [{"type": "directory", "path": "nested", "oid": "0"}, *tree]
        ).encode()


def git_sha1(content: bytes) -> str:
    """As `git hash-object` says it."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Answers GET from the server's mirror."""

    protocol_version = "HTTP/1.1"
    server: MirrorServer

    def do_GET(self) -> None:
        """Answer, or do what the next fault says."""
        mirror = self.server.mirror
        path = unquote(self.path.partition("?")[0])
        mirror.asked.append(Asked(self.path, dict(self.headers)))
        fault = mirror.faults.pop(0) if mirror.faults else None
        if fault is not None:
            fault(self, mirror.files.get(path, b""))
        elif path in mirror.redirects:
            self.say(302, b"", {"Location": mirror.redirects[path], **mirror.extra})
        elif path in mirror.trees:
            self.say(200, mirror.trees[path], {"Content-Type": "application/json"})
        elif path in mirror.files:
            self.send_file(mirror.files[path], mirror.etags.get(path, '"v1"'))
        else:
            self.say(404, b"no such file")

    def send_file(self, content: bytes, etag: str) -> None:
        """The file, or the range that is asked for if it is still the same file."""
        mirror, wanted = self.server.mirror, self.headers.get("Range")
        tags = {"ETag": etag} if etag else {}
        if wanted and mirror.ranges and self.headers.get("If-Range") == etag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                self.say(416, b"")
                return
            said = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.say(206, content[start:], {**tags, "Content-Range": said})
        else:
            self.say(200, content, tags)

    def say(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str] | None = None,
        sent: int | None = None,
    ) -> None:
        """A whole answer; with `sent`, only so many of the bytes that it announces, and the
        connection ends.
        """
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body if sent is None else body[:sent])
        self.close_connection = sent is not None

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class MirrorServer(ThreadingHTTPServer):
    """The server; `mirror` may be changed while it runs."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.mirror = Mirror(f"http://127.0.0.1:{self.server_address[1]}")
