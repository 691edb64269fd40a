"""When is a study complete? DICOM has no end signal, so this weighs what there is to see.

A study is due when nothing has come for the quiet time and no association that brought part of it
is still open. A series that still grows slowly keeps its study waiting: as long as its images come
further apart than half the quiet time, twice their largest distance counts instead. An association
that stays open for ever (some scanners keep one all day) holds a study for a bounded time only.
What comes later makes the study due again, as a new version.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from dicom_node.arrivals import Arrival, KeptAs


@dataclass
class _StudyArrivals:
    """A study that is not complete yet: times in seconds of the watch's clock."""

    last_arrival_s: float
    instances: int = 0
    longest_gap_s: float = 0.0
    series_last_s: dict[str, float] = field(default_factory=dict)
    reported: bool = False  # by due(), and nothing has come since

    def arrived(self, series_instance_uid: str, now_s: float, *, new: bool) -> None:
        """An instance of a series came at `now_s`, `new` or once more."""
        before_s = self.series_last_s.get(series_instance_uid, now_s)
        self.longest_gap_s = max(self.longest_gap_s, now_s - before_s)
        self.series_last_s[series_instance_uid] = self.last_arrival_s = now_s
        self.instances += new
        self.reported = False


@dataclass(frozen=True)
class WaitingStudy:
    """A study that arrives, for a screen.

    `instances` came since it was last complete, the last `idle_s` ago, over associations of which
    `open_associations` are still open.
    """

    study_instance_uid: str
    instances: int
    idle_s: float
    open_associations: int


class StudyWatch:
    """An ArrivalObserver that knows which studies are complete.

    Every method may be called from any thread.

    `clock` gives seconds that only grow. After `longest_hold_s` without an instance an open
    association holds no more.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, longest_hold_s: float = 900.0
    ) -> None:
        self._clock = clock
        self._longest_hold_s = longest_hold_s
        self._lock = threading.Lock()
        self._waiting: dict[str, _StudyArrivals] = {}
        self._changed: set[str] = set()
        self._brought: dict[str, set[str]] = {}  # open association -> studies it brought part of

    def association_opened(self, association_id: str) -> None:
        """A peer connected."""
        with self._lock:
            self._brought.setdefault(association_id, set())

    def arrived(self, association_id: str, arrival: Arrival) -> None:
        """An instance was stored.

        A resend or a conflict adds nothing to a study, but shows that its sender is active.
        """
        study, now_s = arrival.instance.study_instance_uid, self._clock()
        with self._lock:
            self._brought.setdefault(association_id, set()).add(study)
            if arrival.kept_as is not KeptAs.SAME:
                self._changed.add(study)
            if arrival.kept_as is KeptAs.NEW:
                self._waiting.setdefault(study, _StudyArrivals(now_s))
            if waiting := self._waiting.get(study):
                new = arrival.kept_as is KeptAs.NEW
                waiting.arrived(arrival.instance.series_instance_uid, now_s, new=new)

    def association_closed(self, association_id: str) -> None:
        """The peer released, aborted or vanished: it holds nothing any more."""
        with self._lock:
            self._brought.pop(association_id, None)

    def note(self, study_instance_uid: str) -> None:
        """A study was found on disk at start: its quiet time begins anew."""
        now_s = self._clock()
        with self._lock:
            self._waiting[study_instance_uid] = _StudyArrivals(now_s)
            self._changed.add(study_instance_uid)

    def changed(self) -> set[str]:
        """Studies with new files on disk since the last call: their headers need indexing."""
        with self._lock:
            changed, self._changed = self._changed, set()
            return changed

    def due(self, quiet_s: float) -> list[str]:
        """Studies that are complete, those longest quiet first.

        A study is named at every call until it is forgotten.
        """
        now_s = self._clock()
        with self._lock:
            complete = [
                study
                for study, waiting in self._waiting.items()
                if self._is_quiet(study, now_s - waiting.last_arrival_s, quiet_s)
            ]
            for study in complete:
                self._waiting[study].reported = True
            return sorted(complete, key=lambda study: self._waiting[study].last_arrival_s)

    def forget(self, study_instance_uid: str) -> bool:
        """Drop a study that has been taken care of.

        False, and it stays, if more of it has come since `due` named it.
        """
        with self._lock:
            waiting = self._waiting.get(study_instance_uid)
            if waiting is not None and not waiting.reported:
                return False
            self._waiting.pop(study_instance_uid, None)
            return True

    def waiting(self) -> list[WaitingStudy]:
        """Every study that is not complete or not yet forgotten."""
        now_s = self._clock()
        with self._lock:
            return [
                WaitingStudy(
                    study, waiting.instances, now_s - waiting.last_arrival_s, self._holders(study)
                )
                for study, waiting in self._waiting.items()
            ]

    def _is_quiet(self, study: str, idle_s: float, quiet_s: float) -> bool:
        """The rule. The lock is held."""
        if idle_s < max(quiet_s, 2 * self._waiting[study].longest_gap_s):
            return False
        return self._holders(study) == 0 or idle_s >= max(self._longest_hold_s, quiet_s)

    def _holders(self, study: str) -> int:
        """Open associations that brought part of a study. The lock is held."""
        return sum(study in studies for studies in self._brought.values())
