"""One try to deliver. The next one is another workflow, queued for later: nothing sleeps, a dead
PACS blocks nobody.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dicom_node.errors import PermanentDeliveryError, TransientDeliveryError
from dicom_node.log_text import log_subject
from dicom_node.ports import Destination
from server.errors import RecordRefused, RunEnded
from server.record.deliveries import Deliveries, DeliveryAttempt
from server.traces import bare_trace
from server.work import backoff
from server.work.database_retry import retry_while_database_away

logger = logging.getLogger(__name__)

FACTOR = 2.0
JITTER = 0.25


@dataclass(frozen=True)
class RetryPolicy:
    """How hard a destination is tried ([delivery]): tries in all, seconds before the second,
    longest wait in seconds.
    """

    attempts: int
    delay_s: float
    maximum_delay_s: float

    @property
    def longest_wait_s(self) -> float:
        """No wait is longer."""
        return max(self.maximum_delay_s, self.delay_s)

    def wait_s(self, attempt: int, draw: Callable[[], float] = random.random) -> float | None:
        """Seconds to wait after failed try `attempt` (one-based); None when it was the last."""
        if attempt >= self.attempts:
            return None
        return backoff.delay_s(attempt, self.delay_s, FACTOR, self.longest_wait_s, JITTER, draw)


class DeliveryStep:
    """Sends what a request has written to one destination and tells the record how it went."""

    def __init__(
        self,
        destinations: Mapping[str, Destination],
        deliveries: Deliveries,
        policy: RetryPolicy,
    ) -> None:
        self._destinations = destinations
        self._deliveries = deliveries
        self._policy = policy

    def attempt(self, delivery: DeliveryAttempt) -> str:
        """Make a try; "delivered", "failed" or, when it is not wanted any more, "ended"."""
        with log_subject(request=delivery.request_id):
            try:
                return self._attempt(delivery)
            except RunEnded as ended:
                logger.info("%s", ended)
                return "ended"
            except RecordRefused as refused:
                logger.error("how %s went cannot be recorded: %s", delivery, refused)
                return self._give_up(delivery, str(refused))

    def _attempt(self, delivery: DeliveryAttempt) -> str:
        results = retry_while_database_away(lambda: self._deliveries.begin(delivery))
        destination = self._destinations.get(delivery.destination)
        if destination is None:
            sentence = f"no destination called '{delivery.destination}' is configured any more"
            retry_while_database_away(
                lambda: self._deliveries.failed(delivery, sentence, 0.0, None)
            )
            return "failed"
        started = time.monotonic()
        accepted = [result for result in results if result.kind in destination.kinds]
        try:
            how = destination.send(accepted)
        except PermanentDeliveryError as error:
            return self._failed(delivery, str(error), started, permanent=True)
        except TransientDeliveryError as error:
            return self._failed(delivery, str(error), started, permanent=False)
        except Exception as error:  # noqa: BLE001  a step's boundary: the delivery must end or be tried again
            logger.error(
                "delivery of request %s failed: %s", delivery.request_id, bare_trace(error)
            )
            sentence = "sending ended with a fault of Segnode itself; the log says where"
            return self._failed(delivery, sentence, started, permanent=False)
        seconds = time.monotonic() - started
        kinds = [result.kind for result in accepted]
        retry_while_database_away(lambda: self._deliveries.delivered(delivery, kinds, seconds, how))
        return "delivered"

    def _give_up(self, delivery: DeliveryAttempt, sentence: str) -> str:
        """The record refuses how a try went: it would refuse every further delivery."""
        try:
            retry_while_database_away(
                lambda: self._deliveries.failed(delivery, sentence, 0.0, None)
            )
        except (RunEnded, RecordRefused) as second:
            logger.error("%s", second)
        return "failed"

    def _failed(
        self, delivery: DeliveryAttempt, sentence: str, started: float, *, permanent: bool
    ) -> str:
        seconds = time.monotonic() - started
        again_in_s = None if permanent else self._policy.wait_s(delivery.attempt)
        logger.warning(
            "try %d to deliver to %s failed: %s", delivery.attempt, delivery.destination, sentence
        )
        retry_while_database_away(
            lambda: self._deliveries.failed(delivery, sentence, seconds, again_in_s)
        )
        return "failed"
