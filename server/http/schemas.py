"""The JSON of the API: what is taken and what is answered, field by field. Views of the record fit
by name.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from agent.values import TargetStatus
from server.pulses import Part
from server.values import DeliveryState, RequestState, StudyState

EXAMPLE_STUDY = "1.2.826.0.1.3680043.8.498.1"
EXAMPLE_SERIES = f"{EXAMPLE_STUDY}.2"
EXAMPLE_ID = "0b9c4d9e-6a55-4a4e-9a0b-4e4a7c1c3f2d"
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


class SubmittedOut(_Answered):
    """A request taken."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"id": EXAMPLE_ID, "state": "QUEUED"}]},
        from_attributes=True,
    )

    id: str
    state: RequestState


class CodeOut(_Answered):
    """A coded concept (PS3.3 table 8.8-1)."""

    value: str
    scheme: str
    meaning: str


class TargetOut(_Answered):
    """How one target ended; `status` is null until it has."""

    text: str
    structure: Annotated[str | None, Field(description="key in the catalogue; null for free text")]
    code: CodeOut
    laterality: CodeOut | None
    status: TargetStatus | None
    reason: str
    volume_ml: Annotated[float | None, Field(description="millilitres; null unless segmented")]
    turns: int
    confidence: Annotated[float | None, Field(description="0 to 1")]
    warnings: list[str]


class ResultOut(_Answered):
    """A result object."""

    kind: Literal["SEG", "SR"]
    sop_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str


class DeliveryOut(_Answered):
    """How far the delivery to one destination is."""

    destination: str
    state: DeliveryState
    attempts: int
    last_error: str | None
    next_try_at: datetime | None
    delivered_at: datetime | None


class RequestRowOut(_Answered):
    """A request in a list; GET /requests/{id} has its targets, results and deliveries."""

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
    error: Annotated[str | None, Field(description="one sentence for a person")]
    failed_stage: str | None
    supersedes: str | None
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None


class RequestOut(_Answered):
    """A request whole."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": EXAMPLE_ID,
                    "state": "DONE",
                    "study_instance_uid": EXAMPLE_STUDY,
                    "study_version": 1,
                    "series_instance_uid": EXAMPLE_SERIES,
                    "route": "abdomen",
                    "actor": "segnode",
                    "priority": 50,
                    "policy": "locator",
                    "segmenter": "litemedsam",
                    "run": 1,
                    "targets": [
                        {
                            "text": "liver",
                            "structure": "liver",
                            "code": {"value": "10200004", "scheme": "SCT", "meaning": "Liver"},
                            "laterality": None,
                            "status": "segmented",
                            "reason": "",
                            "volume_ml": 412.7,
                            "turns": 21,
                            "confidence": 0.93,
                            "warnings": [],
                        }
                    ],
                    "results": [
                        {
                            "kind": "SEG",
                            "sop_instance_uid": f"{EXAMPLE_STUDY}.3",
                            "series_instance_uid": f"{EXAMPLE_STUDY}.4",
                            "sop_class_uid": "1.2.840.10008.5.1.4.1.1.66.4",
                        }
                    ],
                    "deliveries": [
                        {
                            "destination": "pacs",
                            "state": "delivered",
                            "attempts": 1,
                            "last_error": None,
                            "next_try_at": None,
                            "delivered_at": "2026-05-01T12:03:00Z",
                        }
                    ],
                    "error": None,
                    "failed_stage": None,
                    "warnings": [],
                    "stage_seconds": {"select": 1.2, "segment": 38.5, "write": 0.9},
                    "encoder_passes": 20,
                    "supersedes": None,
                    "created_at": "2026-05-01T12:00:00Z",
                    "updated_at": "2026-05-01T12:03:00Z",
                    "ended_at": "2026-05-01T12:03:00Z",
                }
            ]
        },
        from_attributes=True,
    )

    id: str
    state: RequestState
    study_instance_uid: str
    study_version: int
    series_instance_uid: str | None
    route: str | None
    actor: str
    priority: int
    policy: Annotated[str | None, Field(description="who plans")]
    segmenter: Annotated[str | None, Field(description="what draws")]
    run: int
    targets: list[TargetOut]
    results: list[ResultOut]
    deliveries: list[DeliveryOut]
    error: Annotated[str | None, Field(description="one sentence for a person")]
    failed_stage: str | None
    warnings: list[str]
    stage_seconds: dict[str, float]
    encoder_passes: int
    supersedes: str | None
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None


class TurnOut(_Answered):
    """One turn of one target; indices are zero-based, `turn` is as in a trace."""

    target_index: int
    slice_index: int
    turn_index: int
    turn: dict[str, Any]
    at: datetime


class StudyOut(_Answered):
    """A study in a list; `version` is 0 until it is first complete."""

    study_instance_uid: str
    state: StudyState
    version: int
    series: int
    instances: int
    requests: int
    fault: Annotated[str | None, Field(description="why the node has given the study up")]
    created_at: datetime
    updated_at: datetime


class SeriesOut(_Answered):
    """A series of a study; `ours` when it is a result of Segnode that came back."""

    series_instance_uid: str
    modality: str
    description: str
    instances: int
    ours: bool


class VersionOut(_Answered):
    """One time a study was complete: `evidence` "quiet" or "forced"."""

    version: int
    completed_at: datetime
    evidence: str
    instances: int


class ConflictOut(_Answered):
    """Content that was kept apart because its SOP Instance UID was taken."""

    sop_instance_uid: str
    series_instance_uid: str
    sha256: str
    noted_at: datetime


class FaultyInstanceOut(_Answered):
    """An instance of which something could not be used: names of attributes, or sentences."""

    sop_instance_uid: str
    series_instance_uid: str
    faults: list[str]


class StudyWholeOut(_Answered):
    """A study with what it consists of."""

    study_instance_uid: str
    state: StudyState
    version: int
    instances: int
    requests: int
    fault: str | None
    created_at: datetime
    updated_at: datetime
    series: list[SeriesOut]
    versions: list[VersionOut]
    conflicts: list[ConflictOut]
    faulty: Annotated[list[FaultyInstanceOut], Field(description="a hundred of them at most")]


class DestinationOut(_Answered):
    """A configured destination."""

    name: str
    ae_title: str
    host: str
    port: int


class EchoOut(_Answered):
    """A destination that answered C-ECHO, and how long it took."""

    destination: str
    ok: Literal[True]
    seconds: float


class AuditOut(_Answered):
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
