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


class WorkStep(StrEnum):
    """What is done within the stages, as progress names it."""

    READ = "read"
    LOAD = "load"
    ENCODE = "encode"
    OUTLINE = "outline"
    FOLLOW = "follow"
    FINISH = "finish"
    WRITE = "write"


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
    """A delivery's life: one request to one destination. It is held where a person is to release
    it, and withdrawn when its request ends otherwise than DONE while it is open.
    """

    PENDING = "pending"
    HELD = "held"
    DELIVERED = "delivered"
    RETRYING = "retrying"
    DEAD = "dead"
    WITHDRAWN = "withdrawn"


OPEN_DELIVERIES = frozenset({DeliveryState.PENDING, DeliveryState.HELD, DeliveryState.RETRYING})


@dataclass(frozen=True)
class Assignment:
    """What a worker needs to know of a request: nothing that can change while it runs.

    A target's index is its place in `targets`. `pair` is None where nobody chose: the worker's own.
    `requested_at` (aware) is the time that the results bear, None for the time of writing.
    `ordinal` is how many requests there were on the study before.
    """

    request_id: str
    study_instance_uid: str
    study_version: int
    series_instance_uid: str | None
    targets: tuple[Target, ...]
    pair: ModelPair | None = None
    requested_at: datetime | None = None
    ordinal: int = 0


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
class StepProgress:
    """How far the work on a request is. Slices are counted while they are encoded, targets while
    they are outlined and finished.
    """

    step: Annotated[
        WorkStep, Field(description="read the series, load the models, encode slices, …")
    ]
    done: Annotated[int | None, Field(description="slices or targets; null without a count")] = None
    of: Annotated[int | None, Field(description="how many there are")] = None
    target: Annotated[str | None, Field(description="the one at work")] = None
    turns: Annotated[int | None, Field(description="that it has taken in this step")] = None

    def __str__(self) -> str:
        """In words.

        >>> str(StepProgress(WorkStep.ENCODE, 30, 300))
        'encoding slices: 30 of 300'
        >>> str(StepProgress(WorkStep.OUTLINE, 0, 5, "liver"))
        'liver (1 of 5): looking for it'
        >>> str(StepProgress(WorkStep.FINISH, 4, 5, "aorta", 7))
        'aorta (5 of 5): through the volume, turn 7'
        """
        words = _WORDS[self.step]
        if self.target is not None and self.done is not None:
            turns = f", turn {self.turns}" if self.turns else ""
            return f"{self.target} ({self.done + 1} of {self.of}): {words}{turns}"
        return words if self.of is None else f"{words}: {self.done} of {self.of}"


_WORDS = {
    WorkStep.READ: "reading the series",
    WorkStep.LOAD: "loading the models",
    WorkStep.ENCODE: "encoding slices",
    WorkStep.OUTLINE: "looking for it",
    WorkStep.FOLLOW: "following what was drawn",
    WorkStep.FINISH: "through the volume",
    WorkStep.WRITE: "writing the results",
}


def whole_ml(volume_ml: float) -> str:
    """A volume as a reader is told it: no finer than it is known.

    >>> whole_ml(1523.187), whole_ml(0.2), whole_ml(0.0)
    ('1523', '<1', '0')
    """
    return "<1" if 0 < volume_ml < 0.5 else f"{volume_ml:.0f}"


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
    for_review: Annotated[
        bool, Field(description="in doubt: a person should look before it is used")
    ] = False
