"""Stand-ins for the seams of the DICOM edge, for tests and trials."""

from __future__ import annotations

from dicom_node.values import Arrival


class RecordingObserver:
    """An ArrivalObserver that remembers what it was told, in order: `opened`, `arrivals`, `closed`."""

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
