"""C-ECHO to a configured destination, by the API and by the pages."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from server.errors import ServerError
from server.http.ports import ConfiguredDestination, WaitingDeliveries

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answered:
    """A destination that answered: after `seconds`, and `tried_now` deliveries that waited for
    their next time are sent to it at once.
    """

    seconds: float
    tried_now: int


def echo(destination: ConfiguredDestination, waiting: WaitingDeliveries, *, actor: str) -> Answered:
    """Ask whether `destination` answers; DicomNodeError with the reason where it does not.

    What waits for it is sent now. A record that is away holds no answer back: then each delivery
    goes at its own time.
    """
    name = destination.settings.name
    began = time.perf_counter()
    destination.destination.echo()
    seconds = time.perf_counter() - began
    try:
        tried_now = waiting.send_now(name, actor=actor)
    except ServerError as error:
        logger.warning("%s answers; what waits for it stays at its times: %s", name, error)
        tried_now = 0
    return Answered(seconds, tried_now)
