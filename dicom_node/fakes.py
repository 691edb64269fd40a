"""Stand-ins for the seams of the DICOM edge, for tests and trials."""

from __future__ import annotations

from collections.abc import Sequence

from dicom_node.errors import DeliveryError
from dicom_node.values import Arrival, WrittenResult


class RecordingObserver:
    """An ArrivalObserver that records its calls in order: `opened`, `arrivals`, `closed`."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.arrivals: list[tuple[str, Arrival]] = []
        self.closed: list[str] = []

    def association_opened(self, association_id: str) -> None:
        """A peer connected."""
        self.opened.append(association_id)

    def arrived(self, association_id: str, arrival: Arrival) -> None:
        """An instance is on disk."""
        self.arrivals.append((association_id, arrival))

    def association_closed(self, association_id: str) -> None:
        """The peer is gone."""
        self.closed.append(association_id)


class FakeDestination:
    """A Destination that keeps results: `delivered` has one tuple for each successful send.

    `failures` are raised by the sends to come, one each, before it works (again); `echo` raises the
    next one without using it up.
    """

    def __init__(self, name: str = "pacs", failures: Sequence[DeliveryError] = ()) -> None:
        self._name = name
        self.failures = list(failures)
        self.delivered: list[tuple[WrittenResult, ...]] = []

    @property
    def name(self) -> str:
        """Name in configuration and in the record."""
        return self._name

    def echo(self) -> None:
        """Answers unless the next send would fail."""
        if self.failures:
            raise self.failures[0]

    def send(self, results: Sequence[WrittenResult]) -> None:
        """Take `results`, or raise the next of `failures`."""
        if self.failures:
            raise self.failures.pop(0)
        self.delivered.append(tuple(results))
