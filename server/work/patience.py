"""Waiting for PostgreSQL: work in hand is never thrown away because the database is away for a while."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from server.errors import RecordUnavailable

logger = logging.getLogger(__name__)

T = TypeVar("T")
FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 5.0


def insist(call: Callable[[], T], sleep: Callable[[float], object] = time.sleep) -> T:
    """The answer of `call`, however long PostgreSQL is away; says so in the log once and when it is back."""
    wait_s = FIRST_WAIT_S
    while True:
        try:
            answer = call()
        except RecordUnavailable as error:
            if wait_s == FIRST_WAIT_S:
                logger.warning("waiting for the record: %s", error)
            sleep(wait_s)
            wait_s = min(wait_s * 2, LONGEST_WAIT_S)
        else:
            if wait_s > FIRST_WAIT_S:
                logger.warning("the record answers again")
            return answer
