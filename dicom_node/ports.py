"""The seams of the DICOM edge. Fakes: dicom_node/fakes.py."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from dicom_node.arrivals import Arrival

if TYPE_CHECKING:  # a receiver loads this module for the observer, and has no use for arrays
    from pydicom.dataset import Dataset

    from dicom_node.values import ResultContent, ResultKind, WrittenResult


class Destination(Protocol):
    """Somewhere results are sent."""

    @property
    def name(self) -> str:
        """Name in configuration and in the record."""

    @property
    def kinds(self) -> Collection[ResultKind]:
        """What it takes; results of other kinds are not sent to it."""

    def echo(self) -> None:
        """C-ECHO; raises DeliveryError in words an administrator can act on."""

    def negotiate(self) -> None:
        """Ask for an association to store every object of `kinds`, and store none; raises
        DeliveryError in words an administrator can act on.
        """

    def send(self, results: Sequence[WrittenResult]) -> str:
        """Send every result in one association and check every status; what the record should say
        of how they went, "" for nothing.

        Raises TransientDeliveryError or PermanentDeliveryError unless all were taken (0x0000 or
        Bxxx).
        """


class ResultWriter(Protocol):
    """Makes result objects of one kind (dicom_node.results.writers has all of them)."""

    @property
    def kind(self) -> ResultKind:
        """What it makes."""

    @property
    def file_name(self) -> str:
        """What the file is called in the folder of its request, such as "seg.dcm"."""

    def applies(self, content: ResultContent) -> bool:
        """Whether `content` has anything that this kind of object can say."""

    def write(self, content: ResultContent, earlier: Sequence[WrittenResult]) -> Dataset:
        """The object that says `content`, whole, with file meta information.

        `earlier` are the results of the same request that were written before it. ValueError for
        content that no such object can hold; OSError when a source file is gone.
        """

    def check(self, path: Path, content: ResultContent, earlier: Sequence[WrittenResult]) -> None:
        """Read the bytes at `path` back; ResultMismatch unless they say exactly `content`."""


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
