"""What the record answers and HTTP shows: frozen values, no rows. Times are UTC and aware.

A field shows under its name here, with its annotation as its description, unless it is INTERNAL.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field

from dicom_node.values import Code, ResultKind
from server.pulses import Part
from server.record.examples import REQUEST_EXAMPLE, SUBMITTED_EXAMPLE
from server.rules.explained import ConditionExplained
from server.values import (
    INTERNAL,
    DeliveryState,
    RequestState,
    Stage,
    StepProgress,
    StudyState,
    TargetSummary,
)

PAGE = 50
"""Rows of a list that names no other number: what a screen shows."""


@dataclass(frozen=True)
class Page:
    """A part of a list: at most `limit` rows beyond the one numbered `after`, oldest first.

    With `newest`, the last row comes first. The time it takes depends neither on how far into the
    list it is nor on how long that is.
    """

    limit: int = PAGE
    after: int | None = None
    newest: bool = False


FIRST_PAGE = Page()


@dataclass(frozen=True, kw_only=True)
class TargetView(TargetSummary):
    """How one target ended, and how it is coded."""

    code: Code
    laterality: Code | None


@dataclass(frozen=True)
class ResultView:
    """A result object; `path` lies under storage.dir."""

    kind: ResultKind
    sop_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    path: Annotated[str, INTERNAL]


@dataclass(frozen=True)
class DeliveryView:
    """How far the delivery to one destination is: `attempts` is how often it was tried."""

    destination: str
    state: DeliveryState
    attempts: int
    last_error: str | None
    next_try_at: datetime | None
    delivered_at: datetime | None
    kinds: Annotated[tuple[ResultKind, ...], Field(description="what it was sent")] = ()


@dataclass(frozen=True, kw_only=True)
class RequestSummary:
    """A request in a list; GET /requests/{id} has its targets, results and deliveries.

    `number` is its place in the order of lists; `run` counts beginnings from 1.
    """

    number: Annotated[int, INTERNAL]
    id: str
    state: RequestState
    study_instance_uid: str
    study_version: int
    series_instance_uid: Annotated[
        str | None, Field(description="the series worked on, or asked for")
    ]
    route: str | None
    actor: str
    priority: int
    policy: Annotated[str | None, Field(description="who plans")]
    segmenter: Annotated[str | None, Field(description="what draws")]
    run: int
    error: Annotated[str | None, Field(description="one sentence for a person")]
    failed_stage: Annotated[Stage | None, Field(description="where it failed")]
    supersedes: Annotated[
        str | None, Field(description="the request of an earlier study version it replaces")
    ]
    repeats: Annotated[
        str | None,
        Field(description="the request that asked the same before, whose results these are"),
    ] = None
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class RequestView(RequestSummary):
    """A request whole."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={"examples": [REQUEST_EXAMPLE]}
    )

    targets: tuple[TargetView, ...]
    results: tuple[ResultView, ...]
    deliveries: tuple[DeliveryView, ...]
    warnings: tuple[str, ...]
    stage_seconds: Annotated[dict[str, float], Field(description="wall-clock time by stage")]
    encoder_passes: int
    series_choice: Annotated[
        str | None, Field(description="why this series; null before one is selected")
    ]
    stage: Annotated[
        str | None,
        Field(description="the step that began last; of a target with its index, as outline 1"),
    ] = None
    progress: Annotated[
        StepProgress | None,
        Field(description="how far the work is, a second old at most; null unless worked on"),
    ] = None


@dataclass(frozen=True)
class TurnView:
    """One turn of one target; indices are zero-based, `turn` is as in a trace."""

    target_index: int
    slice_index: int
    turn_index: int
    turn: dict[str, Any]
    at: datetime
    n: Annotated[
        int,
        Field(
            description="its place among the request's turns, from 0: its picture is "
            "turns/{n}/picture.png; final once the request has ended"
        ),
    ] = 0


@dataclass(frozen=True)
class SeriesView:
    """A series of a study; `ours` when it is a result of Segnode that came back."""

    series_instance_uid: str
    modality: str
    description: str
    instances: int
    ours: bool


@dataclass(frozen=True)
class ConflictView:
    """Content that was kept apart because its SOP Instance UID was taken."""

    sop_instance_uid: str
    series_instance_uid: str
    sha256: str
    noted_at: datetime


@dataclass(frozen=True)
class FaultyInstanceView:
    """An instance that could not be used whole: `faults` name attributes, or are sentences."""

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
class RequestOfStudy:
    """A request among those of its study."""

    id: str
    state: RequestState
    created_at: datetime


@dataclass(frozen=True)
class StudySummary:
    """A study in a list; `version` is 0 until it is first complete.

    `number` is its place in the order of lists. `study_date` (YYYYMMDD) and `accession_number` are
    those of one of its images, "" where it has none.
    """

    study_instance_uid: str
    state: StudyState
    version: int
    series: int
    instances: int
    created_at: datetime
    updated_at: datetime
    number: Annotated[int, INTERNAL] = 0
    requests: int = 0
    fault: Annotated[
        str | None, Field(description="one sentence where the node has given the study up")
    ] = None
    unrouted: Annotated[
        bool, Field(description="no route matched when they were last applied to it")
    ] = False
    unrouted_reason: Annotated[str | None, Field(description="why, in one sentence")] = None
    study_date: Annotated[str, Field(description="YYYYMMDD, empty where no image has it")] = ""
    accession_number: Annotated[str, Field(description="empty where no image has it")] = ""
    latest_requests: Annotated[
        tuple[RequestOfStudy, ...], Field(description="the newest ten, the newest first")
    ] = ()


@dataclass(frozen=True)
class StudyView:
    """A study whole."""

    summary: StudySummary
    series: tuple[SeriesView, ...]
    versions: tuple[StudyVersionView, ...]
    conflicts: tuple[ConflictView, ...]
    faulty: tuple[FaultyInstanceView, ...] = ()


@dataclass(frozen=True)
class StudyFacts:
    """What a study is, by one of its images: nothing of whom it shows. "" for what is missing.

    `date` is YYYYMMDD, as in DICOM.
    """

    modality: str
    description: str
    date: str


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
    """A request taken."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={"examples": [SUBMITTED_EXAMPLE]}
    )

    id: str
    state: RequestState


@dataclass(frozen=True)
class AppliedRoute:
    """A route that was applied to a study: where it matches, the request that it stands for."""

    name: str
    matches: bool
    conditions: tuple[ConditionExplained, ...]
    why_not: Annotated[str | None, Field(description="in one sentence; null if it matches")]
    request: Annotated[Submitted | None, Field(description="null unless it matches")]
    made: Annotated[
        bool, Field(description="false where the same was asked of this version before")
    ]


@dataclass(frozen=True)
class StudyRouting:
    """What came of the present routes on a study that is here."""

    study_instance_uid: str
    study_version: int
    routes: tuple[AppliedRoute, ...]
    unrouted_reason: Annotated[
        str | None, Field(description="why no route matches, in one sentence; null if one does")
    ]


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
