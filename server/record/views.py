"""What the record answers: frozen values, no rows. Times are UTC and aware."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agent.values import TargetStatus
from dicom_node.values import Code
from server.pulses import Part
from server.values import DeliveryState, RequestState, StudyState

PAGE = 50
"""Rows of a list that names no other number: what a screen shows."""


@dataclass(frozen=True)
class Page:
    """A part of a list: at most `limit` rows beyond the one numbered `after`, oldest first or, with
    `newest`, last first.

    The time it takes does not depend on how far into the list it is, nor on how long that is.
    """

    limit: int = PAGE
    after: int | None = None
    newest: bool = False


FIRST_PAGE = Page()


@dataclass(frozen=True)
class TargetView:
    """A target: `status` None until it has ended, `volume_ml` None unless segmented, `confidence`
    0..1.
    """

    index: int
    text: str
    structure: str | None
    code: Code
    laterality: Code | None
    status: TargetStatus | None
    reason: str
    volume_ml: float | None
    turns: int
    confidence: float | None
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class ResultView:
    """A result object: `kind` "SEG" or "SR", `path` under storage.dir."""

    kind: str
    sop_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    path: str


@dataclass(frozen=True)
class DeliveryView:
    """A delivery: `attempts` tries so far, `next_try_at` while retrying."""

    destination: str
    state: DeliveryState
    attempts: int
    last_error: str | None
    next_try_at: datetime | None
    delivered_at: datetime | None


@dataclass(frozen=True)
class RequestView:
    """A request whole. `series_instance_uid` the series worked on, or asked for, or None while
    unknown.

    `policy` and `segmenter` who works on it. `error` one sentence, `failed_stage` "select",
    "segment", "write" or "send"; `stage_seconds` wall-clock by stage; `run` counts beginnings from
    1; `supersedes` the request of an earlier study version it replaces.
    """

    id: str
    state: RequestState
    study_instance_uid: str
    study_version: int
    series_instance_uid: str | None
    route: str | None
    actor: str
    priority: int
    run: int
    targets: tuple[TargetView, ...]
    results: tuple[ResultView, ...]
    deliveries: tuple[DeliveryView, ...]
    error: str | None
    failed_stage: str | None
    warnings: tuple[str, ...]
    stage_seconds: dict[str, float]
    encoder_passes: int
    supersedes: str | None
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None
    policy: str | None = None
    segmenter: str | None = None


@dataclass(frozen=True)
class RequestSummary:
    """A request in a list; fields as in RequestView, `number` its place in the order of lists."""

    number: int
    id: str
    state: RequestState
    study_instance_uid: str
    study_version: int
    series_instance_uid: str | None
    route: str | None
    actor: str
    priority: int
    policy: str | None
    segmenter: str | None
    run: int
    error: str | None
    failed_stage: str | None
    supersedes: str | None
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True)
class TurnView:
    """One turn of one target, in the order it happened; `turn` as in a trace."""

    target_index: int
    slice_index: int
    turn_index: int
    turn: dict[str, Any]
    at: datetime


@dataclass(frozen=True)
class SeriesView:
    """A series of a study: how many instances; `ours` when it is a result of Segnode that came
    back.
    """

    series_instance_uid: str
    modality: str
    description: str
    instances: int
    ours: bool


@dataclass(frozen=True)
class ConflictView:
    """Content kept apart because its SOP Instance UID was already taken."""

    sop_instance_uid: str
    series_instance_uid: str
    sha256: str
    noted_at: datetime


@dataclass(frozen=True)
class FaultyInstanceView:
    """An instance of which something could not be used: `faults` are names of attributes, or
    sentences.
    """

    sop_instance_uid: str
    series_instance_uid: str
    faults: tuple[str, ...]


@dataclass(frozen=True)
class StudyVersionView:
    """One time the study was complete: `evidence` "quiet" or "forced"."""

    version: int
    completed_at: datetime
    evidence: str
    instances: int


@dataclass(frozen=True)
class StudySummary:
    """A study in a list; `version` 0 until it is first complete, `number` its place in the order of
    lists.

    `fault` is one sentence where the node has given the study up.
    """

    study_instance_uid: str
    state: StudyState
    version: int
    series: int
    instances: int
    created_at: datetime
    updated_at: datetime
    number: int = 0
    requests: int = 0
    fault: str | None = None


@dataclass(frozen=True)
class StudyView:
    """A study whole."""

    summary: StudySummary
    series: tuple[SeriesView, ...]
    versions: tuple[StudyVersionView, ...]
    conflicts: tuple[ConflictView, ...]
    faulty: tuple[FaultyInstanceView, ...] = ()


@dataclass(frozen=True)
class AuditView:
    """One line of the audit trail; `id` rises."""

    id: int
    at: datetime
    actor: str
    event: str
    study_instance_uid: str | None
    request_id: str | None
    before: str | None
    after: str | None
    detail: dict[str, Any]


@dataclass(frozen=True)
class Submitted:
    """What a new request is answered with."""

    id: str
    state: RequestState


@dataclass(frozen=True)
class Counts:
    """How many there are in each state; a state that nothing is in may be left out."""

    requests: Mapping[RequestState, int]
    studies: Mapping[StudyState, int]
    deliveries: Mapping[DeliveryState, int]


@dataclass(frozen=True)
class PartView:
    """A part of the node in one process: `age_s` since its loop moved, standing still beyond
    `limit_s`.

    `silent_s` since its process spoke, negative when that is dated in the future; `here` if that
    process is on this machine, so that it is known to exist. `doing` is what the loop last did,
    `fault` a sentence when that fails.
    """

    part: Part
    here: bool
    age_s: float
    silent_s: float
    limit_s: float
    doing: str
    fault: str | None
