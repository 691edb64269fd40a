"""A client of a running node's HTTP API, for `segnode request` and the demo. Standard library
only.
"""

from __future__ import annotations

import http.client
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from server.errors import ConfigurationError, NodeUnreachable, RequestError

PREFIX = "/api/v1"


@dataclass(frozen=True)
class NodeClient:
    """Speaks to a node at `url` ("http://host:port") with a bearer `token`; each call waits
    `timeout_s` at most.
    """

    url: str
    token: str = field(repr=False)
    timeout_s: float = 10.0

    def __post_init__(self) -> None:
        if not re.match(r"https?://[^/\s@]+(/[^@]*)?$", self.url):
            raise NodeUnreachable(
                "that is no address of a node: say http://host:port, and the token apart from it"
            )
        if not re.fullmatch(r"[\x21-\x7e]+", self.token):
            raise ConfigurationError("a token is one word of plain letters, figures and signs")

    def get(self, path: str) -> Any:
        """GET /api/v1/`path` as JSON; errors as `post`."""
        return self._call("GET", path, None)[0]

    def pages(self, path: str) -> Iterator[Any]:
        """Every entry of a list at /api/v1/`path`, page after page as the answers' Link headers
        name them.
        """
        following: str | None = path
        while following is not None:
            entries, link = self._call("GET", following, None)
            yield from entries
            following = _next_page(link)

    def post(self, path: str, body: Any = None) -> Any:
        """POST JSON to /api/v1/`path` and give its JSON answer.

        RequestError in the node's own words when it refuses, NodeUnreachable when it does not
        answer.
        """
        return self._call("POST", path, body)[0]

    def _call(self, method: str, path: str, body: Any) -> tuple[Any, str]:
        """The answer's JSON and its Link header."""
        request = urllib.request.Request(  # noqa: S310 - the scheme was looked at when the client was made
            f"{self.url.rstrip('/')}{PREFIX}/{path.lstrip('/')}",
            method=method,
            data=None if body is None else json.dumps(body).encode("utf-8"),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        try:
            # the scheme was looked at when the client was made
            with urllib.request.urlopen(request, timeout=self.timeout_s) as answer:  # noqa: S310
                return json.load(answer), answer.headers.get("Link") or ""
        except urllib.error.HTTPError as error:
            raise RequestError(_detail(error)) from error
        except (ValueError, http.client.HTTPException) as error:
            raise NodeUnreachable(
                f"what answers at {self.url} is no Segnode ({error}); look at host and port"
            ) from error
        except OSError as error:
            raise NodeUnreachable(
                f"no node answers at {self.url} ({error}); is `segnode serve` running?"
            ) from error


def _next_page(link: str) -> str | None:
    """The path of the next page below /api/v1 in a Link header (RFC 8288), None where there is
    none.
    """
    match = re.search(rf'<{PREFIX}/([^>]*)>;\s*rel="next"', link)
    return None if match is None else match[1]


def _detail(error: urllib.error.HTTPError) -> str:
    # problem details (RFC 9457) say it best; a proxy in between may answer with anything
    try:
        problem = json.loads(error.read())
        return str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        return f"the node answered {error.code} {error.reason}"
