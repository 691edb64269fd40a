"""What the API needs of the rest of the server, as small Protocols.

The fakes are in server/http/fakes.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from dicom_node.ports import Destination
from server.record.views import (
    FIRST_PAGE,
    AuditView,
    Counts,
    Page,
    PartView,
    RequestSummary,
    RequestView,
    StudyRouting,
    StudySummary,
    StudyView,
    Submitted,
    TurnView,
)
from server.settings import DestinationSettings
from server.values import RequestState


class RecordPort(Protocol):
    """The part of server.record.record.Record that HTTP speaks to.

    Every method may raise RecordError.
    """

    def submit(
        self,
        study_instance_uid: str,
        targets: Sequence[str],
        *,
        series_instance_uid: str | None = None,
        destinations: Sequence[str] | None = None,
        priority: int = 50,
        policy: str | None = None,
        segmenter: str | None = None,
        force: bool = False,
        actor: str,
    ) -> Submitted:
        """Make a request on a complete study."""

    def request(self, request_id: str) -> RequestView:
        """One request whole; UnknownRequest."""

    def requests(
        self,
        page: Page = FIRST_PAGE,
        *,
        state: RequestState | None = None,
        study_instance_uid: str | None = None,
    ) -> tuple[RequestSummary, ...]:
        """A page of requests, of one state or one study where that is given."""

    def turns(self, request_id: str) -> tuple[TurnView, ...]:
        """Every turn of a request; UnknownRequest."""

    def turn(self, request_id: str, n: int) -> TurnView:
        """The turn with number `n`, from 0, among those of `turns`; UnknownRequest, UnknownTurn."""

    def retry(self, request_id: str, *, actor: str) -> RequestView:
        """Begin a FAILED request again, a SENDING one at once; UnknownRequest, WrongState."""

    def release(self, request_id: str, *, actor: str) -> RequestView:
        """Send results that were held back for review; UnknownRequest, WrongState."""

    def cancel(self, request_id: str, *, actor: str) -> RequestView:
        """End a request that has not ended; UnknownRequest, WrongState."""

    def studies(
        self, page: Page = FIRST_PAGE, *, unrouted: bool | None = None
    ) -> tuple[StudySummary, ...]:
        """A page of studies, of those that no route matched where `unrouted` is True."""

    def study(self, study_instance_uid: str) -> StudyView:
        """One study whole; UnknownStudy."""

    def complete(self, study_instance_uid: str, *, actor: str) -> StudyView:
        """Hold a study for whole now; UnknownStudy."""

    def route(self, study_instance_uid: str, *, actor: str) -> StudyRouting:
        """Apply the present routes to a complete study; UnknownStudy, StudyIncomplete."""

    def audit(
        self, *, limit: int = 1000, offset: int = 0, since: datetime | None = None
    ) -> tuple[AuditView, ...]:
        """The audit trail, oldest first."""


class Counting(Protocol):
    """Numbers about the record, for health and metrics."""

    def parts(self) -> tuple[PartView, ...]:
        """How the parts of the node are, wherever they run; RecordUnavailable."""

    def counts(self) -> Counts:
        """Count what is there; RecordUnavailable."""


class WaitingDeliveries(Protocol):
    """What is to be sent, and waits for its next time."""

    def send_now(self, destination: str, *, actor: str) -> int:
        """Send at once what waits to be sent to a destination; how many deliveries.

        RecordUnavailable.
        """


class TurnPictures(Protocol):
    """Draws turns of requests that have ended."""

    def png(self, request_id: str, target_index: int, turn: Mapping[str, Any]) -> bytes:
        """A turn (agent.trace.turn_record) as a PNG; TurnsGone, PictureFailed."""


@dataclass(frozen=True)
class ConfiguredDestination:
    """A destination as configured, and the way to it."""

    settings: DestinationSettings
    destination: Destination


@dataclass(frozen=True)
class Services:
    """All that the API works with.

    `storage` is where free space is measured, `minimum_free_bytes` the floor.
    """

    record: RecordPort
    counting: Counting
    waiting: WaitingDeliveries
    pictures: TurnPictures
    destinations: tuple[ConfiguredDestination, ...]
    storage: Path
    minimum_free_bytes: int
