"""Who is logged in: a cookie that a token has made, holds none, and ends with it."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import Scope

from server.http.tokens import Tokens, actor_of

COOKIE = "segnode_login"
LIFETIME_S = 12 * 3600
"""A long shift; then the token is asked for again."""


@dataclass(frozen=True)
class Logins:
    """Makes cookies for those who have a token, and reads them: nothing is kept here.

    A cookie is "expiry.signature"; its key is the digest of the token, so that it is worth nothing
    any more once that token is withdrawn.
    """

    tokens: Tokens
    now: Callable[[], float] = time.time

    def cookie(self, token: str) -> str | None:
        """The cookie of who has this token; None for a wrong one."""
        digest = self.tokens.digest_of(token)
        if digest is None:
            return None
        expiry = str(int(self.now()) + LIFETIME_S)
        return f"{expiry}.{_signature(digest, expiry)}"

    def actor(self, cookie: str) -> str | None:
        """Who made a cookie, as the audit trail names it; None for nobody, or too long ago."""
        expiry, _, signature = cookie.partition(".")
        if not (expiry.isascii() and expiry.isdigit() and len(expiry) < 20):
            return None
        given = signature.encode("utf-8", "surrogatepass")
        matches = [
            digest
            for digest in self.tokens.digests
            if hmac.compare_digest(_signature(digest, expiry).encode("ascii"), given)
        ]
        if not matches or int(expiry) <= self.now():
            return None
        return actor_of(matches[0])


def _signature(digest: bytes, expiry: str) -> str:
    text = f"segnode page login until {expiry}".encode("ascii")
    return hmac.new(digest, text, hashlib.sha256).hexdigest()


def from_our_page(scope: Scope) -> bool:
    """Whether a POST comes from a page of this very node, by what the browser says of it.

    A browser names the origin of every POST; what names none is no browser and has the API.
    """
    headers = Headers(scope=scope)
    origin, host = headers.get("origin", ""), headers.get("host", "")
    scheme, separator, authority = origin.partition("://")
    return bool(host) and separator != "" and scheme in ("http", "https") and authority == host


def safe_place(path: str) -> str:
    """A place of this node to go to after the login; "/" for anything else.

    >>> safe_place("/requests/1?turn=2"), safe_place("//elsewhere"), safe_place("https:elsewhere")
    ('/requests/1?turn=2', '/', '/')
    """
    plain = path.isascii() and path.isprintable() and "\\" not in path
    return path if plain and path.startswith("/") and not path.startswith("//") else "/"
