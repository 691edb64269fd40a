"""Whether the parts of a node move: each loop that does work beats its own pulse, and its age tells
whether it still does.

A pulse is beaten by the loop itself and by nobody else: a thread that beats while the loop stands
still would be a lie. Ages are those of the process's monotonic clock, which no change of the time
of day touches.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Part(StrEnum):
    """What a node consists of, beside its database: it is ready only while all of them move."""

    LISTENER = "listener"
    INTAKE = "intake"
    WORKER = "worker"
    STORAGE = "storage"


@dataclass(frozen=True)
class PulseState:
    """A part as it was when it was looked at: `age_s` since it last moved, standing still beyond
    `limit_s`.

    `doing` says what it last did; `fault`, if any, what is wrong with it, in a sentence.
    """

    part: Part
    age_s: float
    limit_s: float
    doing: str = ""
    fault: str | None = None


class Pulse:
    """The pulse of one loop in this process; any thread may look at it while its loop beats.

    A loop that is silent for more than `limit_s` seconds stands still. A pulse that never beat is
    as old as itself.
    """

    def __init__(
        self, part: Part, limit_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.part, self.limit_s = part, limit_s
        self._clock = clock
        # replaced as a whole, so that no lock is needed in an accept loop
        self._last = (clock(), limit_s, "")
        self._fault: str | None = None

    def beat(self, doing: str = "", *, limit_s: float | None = None) -> None:
        """The loop moves and is about to do `doing`, for which it may take `limit_s` (else its
        usual limit).
        """
        self._last = (self._clock(), self.limit_s if limit_s is None else limit_s, doing)
        self._fault = None

    def beat_as_of(self, moment_s: float, doing: str = "") -> None:
        """The loop moved at `moment_s` of the monotonic clock: for a parent that passes on what its
        children did last.

        With several children that is the time of the one that moved longest ago.
        """
        self._last = (moment_s, self.limit_s, doing)
        self._fault = None

    def fail(self, fault: str) -> None:
        """What the loop does fails; `fault` stays until the next beat."""
        self._fault = fault

    def state(self) -> PulseState:
        """How the part is now."""
        moved_s, limit_s, doing = self._last
        age_s = max(self._clock() - moved_s, 0.0)
        return PulseState(self.part, age_s, limit_s, doing, self._fault)
