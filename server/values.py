"""The frozen values of the server: what is asked, what each stage leaves; none over 10 kB."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from agent.values import Target, TargetStatus
from models.pair import ModelPair

INTERNAL = Field(exclude=True)
"""Marks a field of a view that the node itself needs and HTTP does not show."""


class Stage(StrEnum):
    """The parts of the work on a request, in order; their values stand in record and settings.

    FOLLOW and the stages around it are about targets: OUTLINE and FINISH take one each. What failed
    at INDEX was never begun: its study could not be taken in.
    """

    INDEX = "index"
    SELECT = "select"
    OUTLINE = "outline"
    FOLLOW = "follow"
    FINISH = "segment"
    WRITE = "write"
    SEND = "send"


class StudyState(StrEnum):
    """A study's life before work: arriving, then complete."""

    RECEIVING = "RECEIVING"
    COMPLETE = "COMPLETE"


class RequestState(StrEnum):
    """A request's life; server.record.states says which state may follow which."""

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
class Assignment:
    """What a worker needs to know of a request: nothing that can change while it runs.

    A target's index is its place in `targets`. `pair` is None where nobody chose: the worker's own.
    `requested_at` (aware) is the time that the results bear, None for the time of writing.
    """

    request_id: str
    study_instance_uid: str
    study_version: int
    series_instance_uid: str | None
    targets: tuple[Target, ...]
    pair: ModelPair | None = None
    requested_at: datetime | None = None


@dataclass(frozen=True)
class Selection:
    """What stage "select" leaves: the series chosen and, in a sentence, why; its size (z, y, x);
    sentences for the administrator.
    """

    series_instance_uid: str
    shape: tuple[int, int, int]
    warnings: tuple[str, ...]
    why_chosen: str = ""


@dataclass(frozen=True)
class TargetSummary:
    """How one target ended. The record keeps and HTTP shows each field under its name here.

    `index` is zero-based, `turns` a count; `status` is None until the target has ended.
    """

    index: Annotated[int, INTERNAL]
    text: str
    structure: Annotated[str | None, Field(description="key in the catalogue; null for free text")]
    status: TargetStatus | None
    reason: str
    volume_ml: Annotated[float | None, Field(description="millilitres; null unless segmented")]
    turns: int
    confidence: Annotated[float | None, Field(description="0 to 1")]
    warnings: tuple[str, ...] = ()
