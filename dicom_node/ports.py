"""The seams of the DICOM edge. Fakes: dicom_node/fakes.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from dicom_node.arrivals import Arrival

if TYPE_CHECKING:  # its arrays are nothing for a receiver, which loads this for the observer
    from dicom_node.values import WrittenResult


class Destination(Protocol):
    """Somewhere results are sent."""

    @property
    def name(self) -> str:
        """Name in configuration and in the record."""

    def echo(self) -> None:
        """C-ECHO; raises DeliveryError in words an administrator can act on."""

    def send(self, results: Sequence[WrittenResult]) -> None:
        """Send every result in one association and check every status.

        Raises TransientDeliveryError or PermanentDeliveryError unless all were taken (0x0000 or
        Bxxx).
        """


class ArrivalObserver(Protocol):
    """What the listener calls in the association's thread.

    It must return at once and never raise.
    """

    def association_opened(self, association_id: str) -> None:
        """A peer connected."""

    def arrived(self, association_id: str, arrival: Arrival) -> None:
        """An instance is on disk and its peer has not yet been answered."""

    def association_closed(self, association_id: str) -> None:
        """The peer released, aborted or vanished."""
