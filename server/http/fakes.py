"""A record and counts in memory, for tests of the API and trials of its clients."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any, TypeVar

from dicom_node.values import Code
from server.errors import (
    NoTargets,
    StudyIncomplete,
    TooManyTargets,
    UnknownRequest,
    UnknownStudy,
    UnknownTurn,
    WrongState,
)
from server.pulses import Part
from server.record.views import (
    FIRST_PAGE,
    AuditView,
    Counts,
    DeliveryView,
    Page,
    PartView,
    RequestSummary,
    RequestView,
    SeriesView,
    StudyRouting,
    StudySummary,
    StudyVersionView,
    StudyView,
    Submitted,
    TargetView,
    TurnView,
)
from server.values import ENDED_STATES, OPEN_DELIVERIES, DeliveryState, RequestState, StudyState

START = datetime(2026, 1, 1, tzinfo=UTC)
MAX_TARGETS = 200
LONGEST_WAIT_S = 60.0
FREE_TEXT = "99SEGNODE"
Row = TypeVar("Row", StudySummary, RequestSummary)


class FakeRecord:
    """A RecordPort in memory.

    `away`, if set, is raised by every call, as if PostgreSQL were gone.
    """

    def __init__(self) -> None:
        self.away: Exception | None = None
        self.kept_studies: dict[str, StudyView] = {}
        self.kept_requests: dict[str, RequestView] = {}
        self.kept_turns: dict[str, tuple[TurnView, ...]] = {}
        self.routings: dict[str, StudyRouting] = {}
        self.trail: list[AuditView] = []

    def add_study(self, study_instance_uid: str, state: StudyState = StudyState.COMPLETE) -> None:
        """Hold a study of one CT series."""
        series = SeriesView(f"{study_instance_uid}.1", "CT", "abdomen", 20, ours=False)
        whole = state == StudyState.COMPLETE
        summary = StudySummary(study_instance_uid, state, int(whole), 1, 20, START, START)
        versions = (StudyVersionView(1, START, "quiet", 20),) if whole else ()
        self.kept_studies[study_instance_uid] = StudyView(summary, (series,), versions, ())

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
        """See RecordPort."""
        _require_answer(self)
        if not targets:
            raise NoTargets("nothing is asked for: name at least one target, such as 'liver'")
        if len(targets) > MAX_TARGETS:
            raise TooManyTargets(f"{len(targets)} targets are too many")
        if self.study(study_instance_uid).summary.state != StudyState.COMPLETE:
            raise StudyIncomplete(f"the study {study_instance_uid} is still arriving")
        view = RequestView(
            number=len(self.kept_requests) + 1,
            id=f"request-{len(self.kept_requests) + 1}",
            state=RequestState.QUEUED,
            study_instance_uid=study_instance_uid,
            study_version=1,
            series_instance_uid=series_instance_uid,
            route=None,
            actor=actor,
            priority=priority,
            run=1,
            targets=tuple(_target(index, text) for index, text in enumerate(targets)),
            results=(),
            deliveries=tuple(_delivery(name) for name in destinations or ("pacs",)),
            error=None,
            failed_stage=None,
            warnings=(),
            stage_seconds={},
            encoder_passes=0,
            supersedes=None,
            repeats=None if force else _asked_before(self, study_instance_uid, targets),
            created_at=START,
            updated_at=START,
            ended_at=None,
            policy=policy or "locator",
            segmenter=segmenter or "litemedsam",
            series_choice=None,
        )
        self.kept_requests[view.id] = view
        _note(self.trail, "request.queued", actor, study_instance_uid, view.state, view.id)
        return Submitted(view.id, view.state)

    def request(self, request_id: str) -> RequestView:
        """See RecordPort."""
        _require_answer(self)
        if request_id not in self.kept_requests:
            raise UnknownRequest(f"there is no request {request_id!r}")
        return self.kept_requests[request_id]

    def requests(
        self,
        page: Page = FIRST_PAGE,
        *,
        state: RequestState | None = None,
        study_instance_uid: str | None = None,
    ) -> tuple[RequestSummary, ...]:
        """See RecordPort."""
        _require_answer(self)
        rows = [
            _summary(view)
            for view in self.kept_requests.values()
            if state in (None, view.state) and study_instance_uid in (None, view.study_instance_uid)
        ]
        return _page_of(rows, page)

    def turns(self, request_id: str) -> tuple[TurnView, ...]:
        """See RecordPort."""
        turns = self.kept_turns.get(self.request(request_id).id, ())
        return tuple(replace(turn, n=n) for n, turn in enumerate(turns))

    def turn(self, request_id: str, n: int) -> TurnView:
        """See RecordPort."""
        turns = self.turns(request_id)
        if n >= len(turns):
            raise UnknownTurn(f"request {request_id!r} has no turn {n}")
        return turns[n]

    def retry(self, request_id: str, *, actor: str) -> RequestView:
        """See RecordPort."""
        before = self.request(request_id).state
        if before == RequestState.SENDING:
            return _moved(self, "request.anew", actor, request_id, before)
        if before != RequestState.FAILED:
            raise WrongState("only a FAILED request can be tried again, or one that is SENDING now")
        return _moved(self, "request.queued", actor, request_id, RequestState.QUEUED)

    def release(self, request_id: str, *, actor: str) -> RequestView:
        """See RecordPort."""
        view = self.request(request_id)
        if all(delivery.state != DeliveryState.HELD for delivery in view.deliveries):
            raise WrongState("nothing of this request is held back")
        deliveries = tuple(_delivery(delivery.destination) for delivery in view.deliveries)
        self.kept_requests[request_id] = replace(view, deliveries=deliveries)
        return _moved(self, "request.released", actor, request_id, view.state)

    def cancel(self, request_id: str, *, actor: str) -> RequestView:
        """See RecordPort."""
        before = self.request(request_id).state
        if before in ENDED_STATES:
            raise WrongState(f"a request that is {before} cannot become CANCELLED")
        return _moved(self, "request.cancelled", actor, request_id, RequestState.CANCELLED)

    def studies(
        self, page: Page = FIRST_PAGE, *, unrouted: bool | None = None
    ) -> tuple[StudySummary, ...]:
        """See RecordPort."""
        _require_answer(self)
        views = enumerate(self.kept_studies.values(), start=1)
        rows = [replace(view.summary, number=number) for number, view in views]
        return _page_of([row for row in rows if unrouted in (None, row.unrouted)], page)

    def study(self, study_instance_uid: str) -> StudyView:
        """See RecordPort."""
        _require_answer(self)
        if study_instance_uid not in self.kept_studies:
            raise UnknownStudy(f"this node does not hold the study {study_instance_uid!r}")
        return self.kept_studies[study_instance_uid]

    def complete(self, study_instance_uid: str, *, actor: str) -> StudyView:
        """See RecordPort."""
        before = self.study(study_instance_uid).summary.state
        self.add_study(study_instance_uid, StudyState.COMPLETE)
        if before != StudyState.COMPLETE:
            _note(self.trail, "study.complete", actor, study_instance_uid, StudyState.COMPLETE)
        return self.kept_studies[study_instance_uid]

    def route(self, study_instance_uid: str, *, actor: str) -> StudyRouting:
        """See RecordPort; what `routings` has for the study, else as of a node without routes."""
        if self.study(study_instance_uid).summary.state != StudyState.COMPLETE:
            raise StudyIncomplete(f"the study {study_instance_uid} is still arriving")
        _note(self.trail, "study.routed", actor, study_instance_uid, StudyState.COMPLETE)
        without = StudyRouting(study_instance_uid, 1, (), "no routes are configured")
        return self.routings.get(study_instance_uid, without)

    def audit(
        self, *, limit: int = 1000, offset: int = 0, since: datetime | None = None
    ) -> tuple[AuditView, ...]:
        """See RecordPort."""
        _require_answer(self)
        lines = [line for line in self.trail if since is None or line.at >= since]
        return tuple(lines[offset : offset + limit])


class FakeWaiting:
    """WaitingDeliveries of a FakeRecord: those that are RETRYING."""

    def __init__(self, record: FakeRecord) -> None:
        self._record = record

    def send_now(self, destination: str, *, actor: str) -> int:
        """See WaitingDeliveries."""
        _require_answer(self._record)
        waiting = [
            view
            for view in self._record.kept_requests.values()
            for delivery in view.deliveries
            if (delivery.destination, delivery.state) == (destination, DeliveryState.RETRYING)
        ]
        for view in waiting:
            study, state = view.study_instance_uid, view.state
            _note(self._record.trail, "delivery.now", actor, study, state, view.id)
        return len(waiting)


def _require_answer(record: FakeRecord) -> None:
    """Raise what was set as `away`."""
    if record.away is not None:
        raise record.away


def _moved(
    record: FakeRecord, event: str, actor: str, request_id: str, state: RequestState
) -> RequestView:
    view = replace(record.kept_requests[request_id], state=state)
    if state in ENDED_STATES and state != RequestState.DONE:
        view = replace(view, deliveries=tuple(map(_withdrawn, view.deliveries)))
    record.kept_requests[request_id] = view
    _note(record.trail, event, actor, view.study_instance_uid, state, request_id)
    return view


def _withdrawn(delivery: DeliveryView) -> DeliveryView:
    is_open = delivery.state in OPEN_DELIVERIES
    return replace(delivery, state=DeliveryState.WITHDRAWN) if is_open else delivery


class FakePictures:
    """A TurnPictures whose pictures are a PNG's signature; `fault`, if set, is raised instead.

    A test may clear `go_on`, for which every picture waits.
    """

    PNG = b"\x89PNG\r\n\x1a\n"

    def __init__(self) -> None:
        self.fault: Exception | None = None
        self.asked: list[tuple[str, int, Mapping[str, Any]]] = []
        self.go_on = Event()
        self.go_on.set()

    def png(self, request_id: str, target_index: int, turn: Mapping[str, Any]) -> bytes:
        """See TurnPictures."""
        self.asked.append((request_id, target_index, turn))
        self.go_on.wait(LONGEST_WAIT_S)
        if self.fault is not None:
            raise self.fault
        return self.PNG


class FakeCounting:
    """A Counting over a FakeRecord; all `seen_parts` move, until a test says otherwise."""

    def __init__(self, record: FakeRecord) -> None:
        self._record = record
        self.seen_parts = [moving(part) for part in Part]

    def parts(self) -> tuple[PartView, ...]:
        """See Counting."""
        _require_answer(self._record)
        return tuple(self.seen_parts)

    def counts(self) -> Counts:
        """See Counting."""
        _require_answer(self._record)
        views = self._record.kept_requests.values()
        return Counts(
            dict(Counter(view.state for view in views)),
            dict(Counter(view.summary.state for view in self._record.kept_studies.values())),
            dict(Counter(delivery.state for view in views for delivery in view.deliveries)),
        )


def _note(
    trail: list[AuditView],
    event: str,
    actor: str,
    study: str,
    after: str,
    request_id: str | None = None,
) -> None:
    number = len(trail) + 1
    at = START + timedelta(seconds=number)
    trail.append(AuditView(number, at, actor, event, study, request_id, None, after, {}))


def moving(part: Part) -> PartView:
    """A part of this machine that moved a moment ago."""
    return PartView(part, True, 0.2, 0.1, 10.0, "", None)


def _page_of(rows: Sequence[Row], page: Page) -> tuple[Row, ...]:
    ordered = reversed(rows) if page.newest else rows
    after = page.after
    beyond = [
        row
        for row in ordered
        if after is None or (row.number < after if page.newest else row.number > after)
    ]
    return tuple(beyond[: page.limit])


def _summary(view: RequestView) -> RequestSummary:
    names = [field.name for field in fields(RequestSummary)]
    return RequestSummary(**{name: getattr(view, name) for name in names})


def _target(index: int, text: str) -> TargetView:
    code = Code(text[:16], FREE_TEXT, text)
    ended = (None, "", None, 0, None)
    return TargetView(index, text, None, *ended, code=code, laterality=None)


def _delivery(name: str) -> DeliveryView:
    return DeliveryView(name, DeliveryState.PENDING, 0, None, None, None)


def _asked_before(
    record: FakeRecord, study_instance_uid: str, targets: Sequence[str]
) -> str | None:
    for view in reversed(record.kept_requests.values()):
        asked = [target.text for target in view.targets]
        if (view.study_instance_uid, asked) == (study_instance_uid, list(targets)):
            return view.id
    return None
