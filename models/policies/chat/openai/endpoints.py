"""The servers that a language model is asked at: episodes go round them, and one that has failed is
left alone for a while.

An episode stays where it began as long as that server is well: there its earlier turns are still in
the prefix cache.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import httpx

from models.policies.chat.openai.egress import host_and_port
from models.policies.chat.openai.wire import ServerDialect

REST_S = 30.0
"""Seconds that a server which failed is not asked while another one answers."""

_REMEMBERED = 4096  # episodes whose server is known; servers forget sooner


@dataclass(eq=False)
class Endpoint:
    """One server: its base URL, how it wants to be asked, and until when (by the pool's clock) it
    is left alone.
    """

    url: httpx.URL
    manner: ServerDialect
    rests_until_s: float = 0.0

    @property
    def name(self) -> str:
        """The "host:port" it is called by in logs and errors."""
        return host_and_port(self.url)

    @property
    def completions_url(self) -> str:
        """Where chat completions are asked for."""
        return f"{str(self.url).rstrip('/')}/chat/completions"


class Endpoints:
    """The pool of servers, for any number of threads; `clock` tells seconds from some fixed
    start.
    """

    def __init__(self, endpoints: Sequence[Endpoint], clock: Callable[[], float]) -> None:
        self._endpoints, self._clock = list(endpoints), clock
        self._began_at: OrderedDict[Hashable, Endpoint] = OrderedDict()
        self._lock = threading.Lock()

    def next(self, episode: Hashable) -> Endpoint:
        """The server that `episode` was asked at before, if it may be asked; else the one whose
        turn it is.

        The turn is that of the one that has waited longest among those that may be asked, or of the
        one that rests the shortest.
        """
        with self._lock:
            now = self._clock()
            endpoint = self._began_at.pop(episode, None)
            if endpoint is None or endpoint.rests_until_s > now:
                endpoint = self._in_turn(now)
            self._began_at[episode] = endpoint
            if len(self._began_at) > _REMEMBERED:
                self._began_at.popitem(last=False)
            return endpoint

    def _in_turn(self, now_s: float) -> Endpoint:
        rested = [endpoint for endpoint in self._endpoints if endpoint.rests_until_s <= now_s]
        chosen = rested[0] if rested else min(self._endpoints, key=_rest)
        self._endpoints.remove(chosen)
        self._endpoints.append(chosen)
        return chosen

    def failed(self, endpoint: Endpoint, rest_s: float = REST_S) -> None:
        """Leave a server alone for `rest_s` seconds."""
        with self._lock:
            endpoint.rests_until_s = self._clock() + rest_s

    def answered(self, endpoint: Endpoint) -> None:
        """A server is well again."""
        with self._lock:
            endpoint.rests_until_s = 0.0

    def another(self) -> bool:
        """Whether a server may be asked at once."""
        with self._lock:
            now = self._clock()
            return any(endpoint.rests_until_s <= now for endpoint in self._endpoints)


def _rest(endpoint: Endpoint) -> float:
    return endpoint.rests_until_s
