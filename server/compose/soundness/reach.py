"""Whether destinations are reached and take what would be sent: each has its own answer."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from dicom_node.errors import DeliveryError
from dicom_node.ports import Destination

logger = logging.getLogger(__name__)

_AT_ONCE = 16
"""Destinations that are asked side by side: one that is away takes all of delivery.timeout_s."""


def answers(
    destinations: Sequence[Destination],
) -> Iterator[tuple[Destination, str | DeliveryError]]:
    """What each destination answers, in their order: in words, or why it does not take results."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        yield from zip(destinations, pool.map(_answer, destinations), strict=True)


def warn_of_the_unreached(destinations: Sequence[Destination]) -> threading.Thread:
    """Log a warning for each destination that does not take results now, in a thread of its own:
    networks come and go, and nothing waits for them. Deliveries are tried whatever it says.
    """

    def look() -> None:
        for _, answer in answers(destinations):
            if isinstance(answer, DeliveryError):
                logger.warning("%s", answer)

    thread = threading.Thread(target=look, name="destinations", daemon=True)
    thread.start()
    return thread


def _answer(destination: Destination) -> str | DeliveryError:
    try:
        destination.echo()
        destination.negotiate()
    except DeliveryError as error:
        return error
    return f"answers C-ECHO and takes {' and '.join(destination.kinds)}"
