"""One file over HTTP: resumed where it broke off, held against what the server says of it, in place
only when whole.

While it arrives it lies beside its place as `NAME.part`, with `NAME.part.json` saying what it is a
part of. models.weights.hub says why this is no library's download. Nor is the loop of tries: it
counts only tries in a row without a byte of progress, and waits what the server asks for, so a
retry library would need a stop and a wait of our own, which is all that the loop consists of.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from io import FileIO
from pathlib import Path
from typing import TypeVar

import httpx

from models.errors import FetchFailed
from models.weights.hashes import PART_SUFFIX, file_sha256

ATTEMPTS = 6  # without a byte of progress between them
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
TIMEOUT_S = 60.0
NOTE_SUFFIX = ".json"
_CALLERS_FAULT, _SERVERS_FAULT = 400, 500
_OFFLINE = "Without a way to the internet, bring the file by hand and run `segnode models verify`"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_STRONG_ETAG = re.compile(r'"[^"]+"')

T = TypeVar("T")
Progress = Callable[[int, int], None]
"""Told how many bytes are here and how many there will be (0: nobody says)."""


@dataclass(frozen=True)
class Remote:
    """A file to fetch: its `url`, and what is known of it from elsewhere ("" and 0: nothing).

    `sha256` of its bytes, or `git_sha1` as git hashes a blob; `page` is where a person accepts its
    licence.
    """

    url: str
    sha256: str = ""
    git_sha1: str = ""
    size_bytes: int = 0
    page: str = ""


@dataclass(frozen=True)
class _Part:
    """What a part is a part of: the strong `etag` under which the server will go on, the whole's
    size and SHA-256.
    """

    etag: str = ""
    size_bytes: int = 0
    sha256: str = ""


class _TryAgain(Exception):
    """A try that broke off; `wait_s` as the server asked for (0: it did not)."""

    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        self.reason, self.wait_s = reason, wait_s
        super().__init__(reason)


class _TokenFor(httpx.Auth):
    """Sends a token to one host and to no other; httpx drops it when a redirect leads elsewhere."""

    def __init__(self, host: str, token: str) -> None:
        self._host, self._token = host, token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """See httpx.Auth."""
        if request.url.netloc.decode("ascii") == self._host:
            request.headers["Authorization"] = f"Bearer {self._token}"
        yield request


def open_client(hub: str = "", token: str = "") -> httpx.Client:
    """A client that follows redirects and heeds the proxies of the environment; the `token` goes to
    the `hub` alone.
    """
    auth = _TokenFor(httpx.URL(hub).netloc.decode("ascii"), token) if token else None
    headers = {"Accept-Encoding": "identity", "User-Agent": "segnode"}
    return httpx.Client(follow_redirects=True, timeout=TIMEOUT_S, headers=headers, auth=auth)


class Fetcher:
    """Fetches files with `client`; `progress` is told as bytes arrive, `sleep` waits between
    tries.
    """

    def __init__(
        self,
        client: httpx.Client,
        progress: Progress = lambda _, __: None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._client, self._progress, self._sleep = client, progress, sleep

    def fetch(self, remote: Remote, path: Path) -> str:
        """Bring a file to `path`, whole or not at all; its SHA-256. FetchFailed says why not and
        what to do.

        Only a file with the hash that is known from elsewhere, and with the one that the server
        states, is kept.
        """
        part = path.with_name(path.name + PART_SUFFIX)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _held(part, remote.url) as file:
                stated = self._persist(
                    partial(self._go_on, remote, file, part), remote.url, partial(_size, file)
                )
                sha256 = _checked(remote, stated, part)
                os.fsync(file.fileno())
                part.replace(path)
            _note_of(part).unlink(missing_ok=True)
            _sync_folder(path.parent)
        except OSError as error:
            raise FetchFailed(remote.url, _disk_words(error, path)) from error
        return sha256

    def ask(self, url: str, page: str = "") -> httpx.Response:
        """What the server answers to a question; FetchFailed. `page` as in Remote."""
        return self._persist(partial(self._ask, url, page), url, lambda: 0)

    def _ask(self, url: str, page: str) -> httpx.Response:
        with _worth_another_try(url):
            answer = self._client.get(url)
        _require_good(answer, page)
        return answer

    def _persist(self, attempt: Callable[[], T], url: str, reached: Callable[[], int]) -> T:
        failed, before = 0, reached()
        while True:
            try:
                return attempt()
            except _TryAgain as trouble:
                now = reached()
                failed = 1 if now > before else failed + 1
                before = now
                if failed >= ATTEMPTS:
                    raise FetchFailed(
                        url, f"{trouble.reason}; tried {failed} times. {_OFFLINE}"
                    ) from trouble
                wait_s = trouble.wait_s or FIRST_WAIT_S * 2 ** (failed - 1)
                self._sleep(min(wait_s, LONGEST_WAIT_S))

    def _go_on(self, remote: Remote, file: FileIO, part: Path) -> _Part:
        partial_note, here = _read_note(part), _size(file)
        if here and here == partial_note.size_bytes:
            return partial_note
        headers = {}
        if here and partial_note.etag:
            # should the file have changed meanwhile, the whole of the new one comes (RFC 9110
            # section 13.1.5)
            headers = {"Range": f"bytes={here}-", "If-Range": partial_note.etag}
        with (
            _worth_another_try(remote.url),
            self._client.stream("GET", remote.url, headers=headers) as answer,
        ):
            if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                file.truncate(0)
                raise _TryAgain("what was fetched before is no part of it")
            _require_good(answer, remote.page)
            return self._take(answer, file, part)

    def _take(self, answer: httpx.Response, file: FileIO, part: Path) -> _Part:
        if not _goes_on_at(answer, _size(file)):
            file.truncate(0)
            if answer.status_code == httpx.codes.PARTIAL_CONTENT:
                raise _TryAgain("the server sent another range than was asked for")
        stated = _stated(answer, _size(file))
        _note_of(part).write_text(json.dumps(asdict(stated)), encoding="utf-8")
        _require_room(part, stated.size_bytes - _size(file))
        # as they come: what waits for a larger chunk is lost in a cut
        for chunk in answer.iter_bytes():
            file.write(chunk)
            self._progress(_size(file), stated.size_bytes)
        if stated.size_bytes not in (0, _size(file)):
            raise _TryAgain("the server broke off")
        return stated


@contextmanager
def _held(part: Path, url: str) -> Iterator[FileIO]:
    # unbuffered: what was written is there, also when this process is killed
    with part.open("ab", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FetchFailed(url, "another process is fetching it; wait for that one") from None
        yield file


def _size(file: FileIO) -> int:
    return os.fstat(file.fileno()).st_size


def _note_of(part: Path) -> Path:
    return part.with_name(part.name + NOTE_SUFFIX)


def _read_note(part: Path) -> _Part:
    try:
        return _Part(**json.loads(_note_of(part).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return _Part()


@contextmanager
def _worth_another_try(url: str) -> Iterator[None]:
    try:
        yield
    except httpx.UnsupportedProtocol as error:
        raise FetchFailed(
            url, "this is no http:// or https:// address; look at models.hub"
        ) from error
    except httpx.ProxyError as error:
        raise _TryAgain(
            f"the proxy that the environment names does not let it through ({error})"
        ) from error
    except httpx.TransportError as error:
        raise _TryAgain(str(error) or "the connection broke off") from error
    except (httpx.TooManyRedirects, httpx.InvalidURL) as error:
        raise FetchFailed(url, f"{error}; look at models.hub") from error


def _require_good(answer: httpx.Response, page: str) -> None:
    status, url = answer.status_code, str(answer.request.url)
    if (
        status in (httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_MANY_REQUESTS)
        or status >= _SERVERS_FAULT
    ):
        retry_after = answer.headers.get("Retry-After", "")
        raise _TryAgain(
            f"the server answers {status}", float(retry_after) if retry_after.isdigit() else 0.0
        )
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        where = f"Accept its licence at {page}" if page else "Get access to it"
        raise FetchFailed(
            url, f"the server wants to know who asks ({status}). {where}, and set models.token_file"
        )
    if status == httpx.codes.NOT_FOUND:
        raise FetchFailed(url, "there is no such file (404); look at models.hub and the name")
    if status >= _CALLERS_FAULT:
        raise FetchFailed(url, f"the server answers {status}")
    if answer.headers.get("Content-Type", "").startswith("text/html"):
        raise FetchFailed(
            url, "a web page came in place of the file: a log-in of the network, perhaps"
        )


def _goes_on_at(answer: httpx.Response, here: int) -> bool:
    if answer.status_code != httpx.codes.PARTIAL_CONTENT:
        return False
    return str(answer.headers.get("Content-Range", "")).startswith(f"bytes {here}-")


def _stated(answer: httpx.Response, here: int) -> _Part:
    # the hub tells the hash and then sends on to where the bytes are
    responses = (*answer.history, answer)
    names = ("X-Linked-ETag", "ETag")
    etags = (response.headers.get(name, "").strip('"') for response in responses for name in names)
    sha256 = next((etag for etag in etags if _SHA256.fullmatch(etag)), "")
    etag = answer.headers.get("ETag", "")
    length = answer.headers.get("Content-Length", "")
    size_bytes = here + int(length) if length.isdigit() else 0
    return _Part(etag if _STRONG_ETAG.fullmatch(etag) else "", size_bytes, sha256)


def _checked(remote: Remote, stated: _Part, part: Path) -> str:
    sha256, size_bytes = file_sha256(part), part.stat().st_size
    faults = [
        f"its SHA-256 is {sha256}, expected {expected}"
        for expected in (remote.sha256, stated.sha256)
        if expected and expected != sha256
    ]
    if remote.size_bytes not in (0, size_bytes):
        faults.append(f"it has {size_bytes} bytes, expected {remote.size_bytes}")
    if remote.git_sha1 and _git_sha1(part) != remote.git_sha1:
        faults.append(f"its hash in git is not {remote.git_sha1}")
    if faults:
        part.unlink()
        _note_of(part).unlink(missing_ok=True)
        raise FetchFailed(
            remote.url,
            f"what came is not the file: {faults[0]}. "
            "It was discarded; try again, or another models.hub",
        )
    return sha256


def _git_sha1(path: Path) -> str:
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    digest.update(path.read_bytes())
    return digest.hexdigest()


def _require_room(part: Path, needed_bytes: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed_bytes > free:
        raise OSError(
            errno.ENOSPC,
            f"{needed_bytes / 1e9:.1f} GB more are needed, {free / 1e9:.1f} GB are free",
        )


def _disk_words(error: OSError, path: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"no room in {path.parent} ({error.strerror}); "
            "make room or set models.dir, and it goes on"
        )
    return f"cannot write {path} ({error.strerror})"


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
