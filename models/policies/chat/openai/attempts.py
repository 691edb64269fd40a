"""One attempt at a server: a request out, the reply's bytes in, and every fault sorted by whether
to try again.
"""

from __future__ import annotations

import asyncio
import email.utils
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from models.policies.chat.openai.wire import refusal_of

LONGEST_REPLY_BYTES = 4 * 2**20
"""A reply is read no further than this: the parsers look at 40,000 characters at most."""

_TOLD_CHARS = 300
_PASSING = frozenset({408, 425, 429})
_ENCODED = re.compile(r"[A-Za-z0-9+/=_-]{64,}")  # an image or key that a server says back


@dataclass(frozen=True)
class Reply:
    """The whole body of a 200."""

    body: bytes


@dataclass(frozen=True)
class Fault:
    """An attempt without an answer.

    `reason` in words; `passing` whether the same may work later; `retry_after_s` the least wait the
    server asked for; `refusal` its words where it refused the request itself (400).
    """

    reason: str
    passing: bool
    retry_after_s: float | None = None
    refusal: str = ""


async def attempt(
    client: httpx.AsyncClient, url: str, body: Mapping[str, Any], timeout_s: float, now_s: float
) -> Reply | Fault:
    """Ask once, within `timeout_s` from connecting to the last byte; `now_s` the time of day, for
    dates in replies.

    Never raises for what a server or the network does; redirects are not followed.
    """
    try:
        async with asyncio.timeout(timeout_s), client.stream("POST", url, json=body) as response:
            return await _received(response, now_s)
    except TimeoutError:
        return Fault(f"gave no whole answer within {timeout_s:g} s", passing=True)
    except httpx.ConnectError:
        return Fault("cannot be connected to", passing=True)
    except httpx.HTTPError:
        return Fault("broke off before its answer was whole", passing=True)


async def _received(response: httpx.Response, now_s: float) -> Reply | Fault:
    if response.is_redirect:
        return Fault(_redirected(response), passing=False)
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > LONGEST_REPLY_BYTES:
            reason = f"answered with more than {LONGEST_REPLY_BYTES} bytes"
            return Fault(reason, passing=False)
    if response.status_code != httpx.codes.OK:
        return _refused(response, bytes(body), now_s)
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        return Fault(f"answered with '{_plain(kind)}' and not with JSON", passing=True)
    return Reply(bytes(body))


def _refused(response: httpx.Response, body: bytes, now_s: float) -> Fault:
    status = response.status_code
    reason = f"answered {status} {response.reason_phrase}".rstrip()
    if status in (401, 403):  # the server's own words may hold a part of the key
        return Fault(f"{reason}; check language.api_key_file", passing=False)
    refusal = refusal_of(body)
    message = f"{reason}: {_plain(refusal)}" if refusal else reason
    if status >= 500 or status in _PASSING:
        wait = retry_after_s(response.headers.get("retry-after", ""), now_s)
        return Fault(message, passing=True, retry_after_s=wait)
    return Fault(message, passing=False, refusal=refusal if status == 400 else "")


def _redirected(response: httpx.Response) -> str:
    # the place is named without its path, which might repeat what was asked
    target = response.next_request.url.host if response.next_request else "nowhere"
    return (
        f"redirects to {_plain(target)}, and redirects are not followed; "
        "set language.endpoints to the address that answers"
    )


def retry_after_s(header: str, now_s: float) -> float | None:
    """Seconds to wait as a Retry-After header says them (RFC 9110 section 10.2.3); None when it
    says nothing usable.
    """
    if header.strip().isdecimal():
        return float(header.strip()[:9])
    try:
        return max(email.utils.parsedate_to_datetime(header).timestamp() - now_s, 0.0)
    except (ValueError, TypeError, OverflowError):
        return None


def _plain(text: str) -> str:
    """A server's words as they may stand in a log: one short line, and nothing that looks like an
    image or a key.
    """
    words = " ".join(_ENCODED.sub("…", text[: 40 * _TOLD_CHARS]).split())
    printable = "".join(character for character in words if character.isprintable())
    return printable if len(printable) <= _TOLD_CHARS else printable[: _TOLD_CHARS - 1] + "…"
