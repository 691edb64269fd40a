"""The JSON of the API that no view of the record is: what it takes, and answers of its own."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from dicom_node.values import ResultKind
from server.pulses import Part
from server.record.examples import EXAMPLE_STUDY
from server.record.views import (
    ConflictView,
    FaultyInstanceView,
    SeriesView,
    StudyVersionView,
)
from server.values import StudyState

# no UID is longer (PS3.5 section 9); what else may be wrong with one, the record finds by not
# having it
Uid = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x20\x7f]+$")]


ModelName = Annotated[str, Field(min_length=1, max_length=64)]


class _Taken(BaseModel):
    # strict: what is sent is of its kind already, "5" is no number and 1 no yes
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Answered(BaseModel):
    model_config = ConfigDict(from_attributes=True, frozen=True)


class RequestIn(_Taken):
    """A request: segment these targets in this study."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"study_instance_uid": EXAMPLE_STUDY, "targets": ["liver", "left kidney"]}]
        }
    )

    study_instance_uid: Annotated[
        Uid, Field(description="a study that the node holds and that is complete")
    ]
    targets: Annotated[
        list[str], Field(description="names of structures; agent.max_targets at most")
    ]
    series_instance_uid: Annotated[
        Uid | None, Field(description="the series to work on; else it is chosen")
    ] = None
    destinations: Annotated[
        list[str] | None,
        Field(max_length=100, description="names; else those of the matching route, else all"),
    ] = None
    policy: Annotated[
        ModelName | None, Field(description="who plans; else as the node is configured")
    ] = None
    segmenter: Annotated[
        ModelName | None, Field(description="what draws; else as the node is configured")
    ] = None
    priority: Annotated[int, Field(ge=1, le=1000, description="lower comes first")] = 50
    force: Annotated[
        bool,
        Field(
            description="do the work anew; else a request that asks the same of the same models as "
            "one before gives that one's results again"
        ),
    ] = False


class StudyWholeOut(_Answered):
    """A study with what it consists of."""

    study_instance_uid: str
    state: StudyState
    version: int
    instances: int
    requests: int
    fault: str | None
    unrouted: bool
    unrouted_reason: str | None
    created_at: datetime
    updated_at: datetime
    series: tuple[SeriesView, ...]
    versions: tuple[StudyVersionView, ...]
    conflicts: tuple[ConflictView, ...]
    faulty: Annotated[
        tuple[FaultyInstanceView, ...], Field(description="a hundred of them at most")
    ]


class DestinationOut(_Answered):
    """A configured destination."""

    name: str
    ae_title: str
    host: str
    port: int
    kinds: Annotated[tuple[ResultKind, ...], Field(description="results that it takes")]


class EchoOut(_Answered):
    """A destination that answered C-ECHO, and how long it took; `tried_now` deliveries that waited
    for their next time are tried at once.
    """

    destination: str
    ok: Literal[True]
    seconds: float
    tried_now: int


class LiveOut(_Answered):
    """The process answers."""

    status: Literal["live"]


class PartOut(_Answered):
    """A part of the node in one process."""

    part: Part
    age_s: Annotated[float, Field(description="seconds since its loop moved")]
    limit_s: Annotated[float, Field(description="beyond this age it stands still")]
    doing: Annotated[str, Field(description="what the loop last began to do")]
    fault: Annotated[str | None, Field(description="what is wrong with it, in a sentence")]


class ReadyOut(_Answered):
    """The node can work: `checks` by name, all "ok"."""

    status: Literal["ready"]
    checks: dict[str, str]
    parts: list[PartOut]


class ProblemOut(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
