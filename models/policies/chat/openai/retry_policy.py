"""How long a language model's server is tried, and the clock that this is measured by.

A retry library would replace `wait_s`, three lines, and not the loop in openai_chat.py: there each
try may go to another server at once, a refused parameter is dropped without counting as a try, and
one deadline holds for all tries, each of which has the rest of it as its timeout.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field
from typing import Protocol

_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 20.0


class Clock(Protocol):
    """Time as the retries need it; a test passes one that does not wait."""

    def now(self) -> float:
        """Seconds from some fixed start, never going back."""

    def time_of_day(self) -> float:
        """Seconds since 1970, UTC."""

    async def sleep(self, seconds: float) -> None:
        """Wait without holding anything up."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        """See Clock."""
        return time.monotonic()

    def time_of_day(self) -> float:
        """See Clock."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """See Clock."""
        await asyncio.sleep(seconds)


@dataclass(frozen=True)
class RetryPolicy:
    """At most `attempts` at a conversation, `timeout_s` each, and `attempts` times that altogether,
    waits included.
    """

    attempts: int
    timeout_s: float
    chance: random.Random = field(default_factory=random.Random)

    @property
    def deadline_s(self) -> float:
        """Seconds after which a conversation is given up."""
        return self.attempts * self.timeout_s

    def wait_s(self, failed: int, asked_s: float | None) -> float:
        """Seconds to wait after the `failed`-th fault (from one): doubling, half of it by chance,
        and what was asked.
        """
        longest = min(_FIRST_WAIT_S * 2.0 ** min(failed - 1, 16), _LONGEST_WAIT_S)
        return max(longest * (0.5 + 0.5 * self.chance.random()), asked_s or 0.0)
