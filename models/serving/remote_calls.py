"""Calls of the segmentation API: tried again while a server starts or is busy, and every other
answer told in a sentence.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from agent.errors import SegmenterFailed
from models.errors import SegmenterAway

PREFIX = "/api/v1/segmentation"

_PASSING = frozenset({429, 502, 503, 504})
_PROBLEM = "urn:segnode:problem:"
_LONGEST_WAIT_S = 60.0
_TOLD_CHARS = 300


@dataclass(frozen=True)
class CallRetries:
    """How long a server is tried: `waits_s` between attempts, `timeout_s` for each step of one."""

    waits_s: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 30.0)
    timeout_s: float = 120.0
    sleep: Callable[[float], None] = time.sleep


DEFAULT_RETRIES = CallRetries()
"""A server that is begun anew, and loads its segmenter, is waited for."""


class RemoteCalls:
    """Calls of the server at `url` with a `token` ("" for none). SegmenterAway for what is no URL.

    Redirects are not followed and the environment's proxies not used: images go where they were
    told to go.
    """

    def __init__(self, url: str, token: str, retries: CallRetries) -> None:
        self._retries = retries
        try:
            parsed = httpx.URL(url.strip().rstrip("/"))
        except httpx.InvalidURL as error:
            raise SegmenterAway(url, f"is no URL ({error})") from error
        if parsed.scheme not in ("http", "https") or not parsed.host or parsed.userinfo:
            raise SegmenterAway(
                url, "is no URL of a server: write it as http://host:8265, without a user"
            )
        self.host = parsed.netloc.decode("ascii")
        base = str(parsed) if parsed.path.endswith(PREFIX) else f"{parsed}{PREFIX}"
        self._client = httpx.Client(
            base_url=f"{base}/",
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=retries.timeout_s,
            trust_env=False,
        )

    def post(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """The JSON of a good answer.

        UnknownToServer for an image that is not kept there, SegmenterFailed for what the segmenter
        cannot draw, SegmenterAway where no good answer is to be had.
        """
        answer = self._answered(path, body)
        problem, detail = _problem(answer)
        if problem == "unknown-image":
            raise UnknownToServer(detail)
        if problem == "segmenter-failed":
            raise SegmenterFailed(detail)
        if answer.status_code in (401, 403):
            raise self.away("does not take the token: name its file by --segmenter-token")
        if not answer.is_success:
            raise self.away(
                f"answers {answer.status_code}: {detail or 'it is no segnode sessions'}"
            )
        try:
            content = answer.json()
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise self.away("does not answer in JSON: it is no segnode sessions")
        return content

    def delete(self, path: str) -> None:
        """End what a call has begun; a server that does not answer ends it by itself."""
        try:
            self._client.delete(path)
        except httpx.HTTPError:
            return

    def away(self, reason: str) -> SegmenterAway:
        """The error of this server."""
        return SegmenterAway(self.host, reason)

    def _answered(self, path: str, body: Mapping[str, Any]) -> httpx.Response:
        """The first answer that is not of the kind that passes."""
        for wait_s in (*self._retries.waits_s, None):
            least_wait_s = 0.0
            try:
                answer = self._client.post(path, json=body)
            except httpx.TimeoutException:
                reason = f"gives no answer within {self._retries.timeout_s:g} s"
            except httpx.HTTPError as error:
                reason = f"cannot be reached ({error})"
            else:
                if answer.status_code not in _PASSING:
                    return answer
                reason = f"answers {answer.status_code}: {_problem(answer)[1]}"
                least_wait_s = _retry_after_s(answer)
            if wait_s is not None:
                self._retries.sleep(max(wait_s, least_wait_s))
        raise self.away(f"{reason}; tried {len(self._retries.waits_s) + 1} times")


class UnknownToServer(Exception):
    """An image named by its hash that the server does not keep, or no more."""


def _problem(answer: httpx.Response) -> tuple[str, str]:
    """The name of a problem's kind and what is said of it; "" where the answer is none."""
    if answer.is_success:
        return "", ""
    try:
        body = answer.json()
        kind, detail = str(body["type"]), str(body["detail"])
    except (ValueError, KeyError, TypeError):
        return "", ""
    return kind.removeprefix(_PROBLEM), " ".join(detail.split())[:_TOLD_CHARS].rstrip(".")


def _retry_after_s(answer: httpx.Response) -> float:
    header = answer.headers.get("retry-after", "")
    return min(float(header), _LONGEST_WAIT_S) if header.isdecimal() else 0.0
