"""Waiting for PostgreSQL: work in hand is never thrown away because the database is away for a
while.

What PostgreSQL refuses is another matter: it would refuse it for ever, so that is the caller's to
end. A retry library would not shorten this: two kinds of errors are counted apart, each with its
own wait and limit, and the log has one line when the wait begins and one when it ends. The other
back-offs keep their state elsewhere: that of deliveries in the record, those of the intake and of
the supervisor between two rounds of a loop that must not sleep.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from server.errors import RecordRefused, RecordUnavailable

logger = logging.getLogger(__name__)

T = TypeVar("T")
FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 5.0
PASSING_TRIES = 5
"""How often two transactions may get in each other's way before that is no accident."""


def retry_while_database_away(
    call: Callable[[], T], sleep: Callable[[float], object] = time.sleep
) -> T:
    """The answer of `call`, however long PostgreSQL is away; says so in the log once and when it is
    back.

    RecordRefused passes, after a few tries where two transactions got in each other's way.
    """
    wait_s, refused = FIRST_WAIT_S, 0
    while True:
        try:
            answer = call()
        except RecordRefused as error:
            refused += 1
            if not error.passing or refused == PASSING_TRIES:
                raise
            sleep(FIRST_WAIT_S)
        except RecordUnavailable as error:
            if wait_s == FIRST_WAIT_S:
                logger.warning("waiting for the record: %s", error)
            sleep(wait_s)
            wait_s = min(wait_s * 2, LONGEST_WAIT_S)
        else:
            if wait_s > FIRST_WAIT_S:
                logger.warning("the record answers again")
            return answer
