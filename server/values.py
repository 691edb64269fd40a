"""The frozen values of the server: what is asked, what each stage leaves. All of them are JSON
under 10 kB.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from agent.values import TargetStatus


class StudyState(StrEnum):
    """A study's life before work: arriving, then complete."""

    RECEIVING = "RECEIVING"
    COMPLETE = "COMPLETE"


class RequestState(StrEnum):
    """A request's life (DESIGN section 2)."""

    QUEUED = "QUEUED"
    SELECTED = "SELECTED"
    SEGMENTING = "SEGMENTING"
    WRITING = "WRITING"
    SENDING = "SENDING"
    DONE = "DONE"
    REJECTED = "REJECTED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    SUPERSEDED = "SUPERSEDED"


ENDED_STATES = frozenset(
    {
        RequestState.DONE,
        RequestState.REJECTED,
        RequestState.FAILED,
        RequestState.CANCELLED,
        RequestState.SUPERSEDED,
    }
)


class DeliveryState(StrEnum):
    """A delivery's life: one request to one destination."""

    PENDING = "pending"
    DELIVERED = "delivered"
    RETRYING = "retrying"
    DEAD = "dead"


@dataclass(frozen=True)
class ModelPair:
    """Who plans and who draws for a request, by the names in configuration."""

    policy: str
    segmenter: str


@dataclass(frozen=True)
class AskedTarget:
    """A target as stored with its request: `index` zero-based, `text` as asked, `structure` its
    catalogue key.
    """

    index: int
    text: str
    structure: str | None


@dataclass(frozen=True)
class Assignment:
    """What a worker needs to know of a request: nothing that can change while it runs.

    `pair` is None where nobody chose: the worker's own.
    """

    request_id: str
    study_instance_uid: str
    study_version: int
    series_instance_uid: str | None
    targets: tuple[AskedTarget, ...]
    pair: ModelPair | None = None


@dataclass(frozen=True)
class Selection:
    """What stage "select" leaves: the series chosen, its size (z, y, x), sentences for the
    administrator.
    """

    series_instance_uid: str
    shape: tuple[int, int, int]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class TargetSummary:
    """How one target ended: `volume_ml` None unless segmented, `turns` a count, `confidence`
    0..1.
    """

    index: int
    text: str
    structure: str | None
    status: TargetStatus
    reason: str
    volume_ml: float | None
    turns: int
    confidence: float | None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class ResultSummary:
    """A written, checked object ready to send: `kind` "SEG" or "SR"; `path` under storage.dir."""

    kind: str
    path: str
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
