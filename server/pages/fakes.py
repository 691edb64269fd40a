"""An overview in memory, over the record of server/http/fakes.py."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from server.http.fakes import FakeRecord
from server.record.views import AuditView, Page, RequestView, StudyFacts, TurnView
from server.values import DeliveryState, RequestState


class FakeOverview:
    """An Overview over a FakeRecord. `attributes_of` is what a test says that studies hold."""

    def __init__(self, record: FakeRecord) -> None:
        self._record = record
        self.attributes_of: dict[str, list[dict[str, str]]] = {}

    def _require_answer(self) -> None:
        if self._record.away is not None:
            raise self._record.away

    def requests(
        self,
        page: Page,
        *,
        states: Collection[RequestState] = (),
        study_instance_uid: str | None = None,
        undelivered: bool = False,
    ) -> tuple[RequestView, ...]:
        """See Overview."""
        self._require_answer()
        rows = [
            view
            for view in self._record.kept_requests.values()
            if (not states or view.state in states)
            and study_instance_uid in (None, view.study_instance_uid)
            and (not undelivered or _given_up(view))
            and (page.after is None or (view.number < page.after) == page.newest)
        ]
        rows.sort(key=lambda view: view.number, reverse=page.newest)
        return tuple(rows[: page.limit])

    def facts(self, study_instance_uids: Collection[str]) -> Mapping[str, StudyFacts]:
        """See Overview."""
        return {
            uid: StudyFacts(
                rows[0].get("Modality", ""),
                rows[0].get("StudyDescription", ""),
                rows[0].get("StudyDate", ""),
            )
            for uid, rows in self.attributes_of.items()
            if uid in study_instance_uids and rows
        }

    def turns(self, request_id: str, first: int, most: int) -> tuple[TurnView, ...]:
        """See Overview."""
        return self._record.turns(request_id)[first : first + most]

    def count_turns(self, request_id: str) -> int:
        """See Overview."""
        return len(self._record.kept_turns.get(request_id, ()))

    def trail(self, request_id: str, most: int) -> tuple[AuditView, ...]:
        """See Overview."""
        self._require_answer()
        return tuple([line for line in self._record.trail if line.request_id == request_id][-most:])

    def attributes(self, study_instance_uid: str) -> Sequence[Mapping[str, str]]:
        """See Overview."""
        self._record.study(study_instance_uid)
        return self.attributes_of.get(study_instance_uid, [])


def _given_up(view: RequestView) -> bool:
    return any(delivery.state == DeliveryState.DEAD for delivery in view.deliveries)
