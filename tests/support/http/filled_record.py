"""A record as a busy week leaves it, with turns to look at; or with a script wherever text is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from agent.values import TargetStatus
from dicom_node.result_kinds import ResultKind
from server.http.fakes import START, FakeRecord
from server.record.views import (
    ConflictView,
    DeliveryView,
    FaultyInstanceView,
    RequestView,
    ResultView,
    TargetView,
    TurnView,
)
from server.values import DeliveryState, RequestState, Stage, StepProgress, WorkStep

SCRIPT = "<script>document.title='ran'</script><img src=x onerror=\"document.title='ran'\">'\"&"
"""Text that runs where it is not escaped."""
BOX = {"kind": "box", "box_xyxy_px": [120.0, 88.0, 301.0, 240.0]}
ACTIONS = (
    {"kind": "slices", "slices": [12, 9, 15]},
    BOX,
    {"kind": "positive_point", "point_xy_px": [200.0, 150.0]},
    {"kind": "negative_point", "point_xy_px": [310.0, 99.0]},
    {"kind": "stop"},
    {"kind": "absent", "reason": "fat only"},
    {"kind": "malformed", "fault": "no tool was called"},
)


def ask(record: FakeRecord, study: str, *targets: str, **changes: Any) -> RequestView:
    """A request on `study` with these fields changed."""
    submitted = record.submit(study, targets, actor="token 1a2b3c4d")
    number = record.kept_requests[submitted.id].number
    at = START + timedelta(minutes=17 * number)
    view = replace(record.kept_requests[submitted.id], created_at=at, updated_at=at, **changes)
    record.kept_requests[view.id] = view
    return view


def answered(view: RequestView, *answers: tuple[TargetStatus, float | None]) -> RequestView:
    """The request with its targets ended so; volumes in ml."""
    targets = [
        replace(target, status=status, volume_ml=volume_ml, turns=4, reason=_REASONS[status])
        for target, (status, volume_ml) in zip(view.targets, answers, strict=True)
    ]
    return replace(view, targets=tuple(targets))


_REASONS = {
    TargetStatus.SEGMENTED: "",
    TargetStatus.ABSENT: "not seen on any slice of the volume",
    TargetStatus.UNCERTAIN: "likely there, and could not be drawn",
    TargetStatus.FAILED: "the planner does not know this structure",
}


def turn(slice_index: int, **fields: Any) -> dict[str, Any]:
    """A recorded turn."""
    record = {
        "slice_index": slice_index,
        "index": 0,
        "role": "survey" if slice_index < 0 else "key",
        "action": BOX,
        "outcome": "kept",
        "reply": "",
        "observation": "",
    }
    return record | fields


def play(record: FakeRecord, view: RequestView, count: int, **fields: Any) -> None:
    """Give a request `count` turns, shared out over its targets in order."""
    most = -(-count // len(view.targets))
    record.kept_turns[view.id] = tuple(
        _turn_view(n // most, n % most, view, **fields) for n in range(count)
    )


def _turn_view(target: int, n: int, view: RequestView, **fields: Any) -> TurnView:
    action = ACTIONS[0] if n == 0 else ACTIONS[1 + (n - 1) % (len(ACTIONS) - 1)]
    slice_index = -1 if n == 0 else 9 + n // 2
    words: dict[str, Any] = {
        "action": action,
        "reply": "The organ is bright against the fat; I box it." if n % 2 else "",
        "observation": "score 0.93, 4211 pixels" if n % 2 else "",
    }
    return TurnView(target, slice_index, n, turn(slice_index, **(words | fields)), view.created_at)


def deliver(view: RequestView, state: DeliveryState, error: str | None = None) -> RequestView:
    """The request with its delivery in this state."""
    later = view.created_at + timedelta(minutes=5)
    delivery = DeliveryView(
        "pacs",
        state,
        0 if state == DeliveryState.PENDING else 3,
        error,
        later if state == DeliveryState.RETRYING else None,
        later if state == DeliveryState.DELIVERED else None,
        (ResultKind.SEG, ResultKind.SR) if state == DeliveryState.DELIVERED else (),
    )
    return replace(view, deliveries=(delivery,))


def results_of(view: RequestView) -> tuple[ResultView, ...]:
    """A SEG and an SR."""
    return tuple(
        ResultView(kind, f"2.25.{number}", f"2.25.{number}.1", "1.2", "results/x.dcm")
        for number, kind in enumerate((ResultKind.SEG, ResultKind.SR), start=40)
    )


def fill(record: FakeRecord, study: str) -> dict[str, str]:
    """Requests in every state that a person meets; their ids by what they show."""
    drawn, absent = TargetStatus.SEGMENTED, TargetStatus.ABSENT
    done = answered(
        ask(
            record,
            study,
            "liver",
            "spleen",
            "left kidney",
            "Nierenzyste links",
            state=RequestState.DONE,
            route="abdomen",
            series_choice="the only axial series",
            stage_seconds={"select": 1.2, "outline": 14.0, "write": 2.5},
            warnings=("liver: cut off by the edge of the volume",),
        ),
        (drawn, 1523.2),
        (drawn, 0.3),
        (absent, None),
        (TargetStatus.UNCERTAIN, None),
    )
    done = deliver(replace(done, results=results_of(done)), DeliveryState.DELIVERED)
    play(record, done, 40)
    working = ask(
        record,
        study,
        "aorta",
        "stomach",
        state=RequestState.SEGMENTING,
        progress=StepProgress(WorkStep.ENCODE, 42, 120),
    )
    play(record, working, 3)
    failed = ask(
        record,
        study,
        "liver",
        state=RequestState.FAILED,
        failed_stage=Stage.SEND,
        error="pacs did not take the results: refused, out of resources (0xA700)",
    )
    failed = deliver(failed, DeliveryState.DEAD, "refused, out of resources (0xA700)")
    sending = deliver(
        ask(record, study, "pancreas", state=RequestState.SENDING),
        DeliveryState.RETRYING,
        "no answer within 30 s",
    )
    rejected = ask(
        record,
        study,
        "heart",
        state=RequestState.REJECTED,
        error="slices 12 and 13 are missing: send the study again",
    )
    views = {
        "done": done,
        "working": working,
        "failed": failed,
        "sending": sending,
        "rejected": rejected,
        "waiting": ask(record, study, "urinary bladder"),
    }
    record.kept_requests.update({view.id: view for view in views.values()})
    return {name: view.id for name, view in views.items()}


def poison(record: FakeRecord, study: str, states: Sequence[RequestState]) -> list[str]:
    """A script in every text of the record, in a request of each state; their ids."""
    ids = []
    for state in states:
        view = ask(
            record,
            study,
            SCRIPT,
            SCRIPT + "2",
            state=state,
            route=SCRIPT,
            actor=SCRIPT,
            error=SCRIPT,
            warnings=(SCRIPT,),
            series_choice=SCRIPT,
            policy=SCRIPT,
            segmenter=SCRIPT,
            series_instance_uid=SCRIPT,
            supersedes=SCRIPT,
            stage_seconds={SCRIPT: 1.0},
            progress=StepProgress(WorkStep.OUTLINE, 1, 2, SCRIPT),
        )
        targets: list[TargetView] = [replace(t, reason=SCRIPT) for t in view.targets]
        delivery = replace(
            deliver(view, DeliveryState.DEAD, SCRIPT).deliveries[0], destination=SCRIPT
        )
        record.kept_requests[view.id] = replace(
            view,
            targets=tuple(targets),
            deliveries=(delivery,),
            results=(ResultView(ResultKind.SEG, SCRIPT, SCRIPT, SCRIPT, SCRIPT),),
        )
        play(record, view, 4, reply=SCRIPT, observation=SCRIPT, outcome=SCRIPT, role=SCRIPT)
        ids.append(view.id)
    record.trail[:] = [
        replace(line, actor=SCRIPT, event=SCRIPT, detail={SCRIPT: SCRIPT}) for line in record.trail
    ]
    whole = record.kept_studies[study]
    record.kept_studies[study] = replace(
        whole,
        summary=replace(whole.summary, fault=SCRIPT),
        series=tuple(replace(s, modality=SCRIPT, description=SCRIPT) for s in whole.series),
        conflicts=(ConflictView(SCRIPT, SCRIPT, "ab", START),),
        faulty=(FaultyInstanceView(SCRIPT, SCRIPT, (SCRIPT,)),),
    )
    return ids
