"""The record's words as a radiologist or a PACS administrator would say them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from agent.turns import WHOLE_VOLUME, Outcome
from agent.values import Role, TargetStatus
from server.record.views import RequestView, StudyFacts, TurnView
from server.values import DeliveryState, RequestState, StudyState, WorkStep, whole_ml

STATES: Mapping[RequestState, str] = {
    RequestState.QUEUED: "Waiting",
    RequestState.SELECTED: "Preparing",
    RequestState.SEGMENTING: "Drawing",
    RequestState.WRITING: "Writing results",
    RequestState.SENDING: "Sending",
    RequestState.DONE: "Done",
    RequestState.REJECTED: "Not usable",
    RequestState.FAILED: "Failed",
    RequestState.CANCELLED: "Cancelled",
    RequestState.SUPERSEDED: "Replaced by newer images",
}

STUDY_STATES: Mapping[StudyState, str] = {
    StudyState.RECEIVING: "Arriving",
    StudyState.COMPLETE: "Complete",
}

STATUSES: Mapping[TargetStatus, str] = {
    TargetStatus.SEGMENTED: "Drawn",
    TargetStatus.ABSENT: "Not found",
    TargetStatus.UNCERTAIN: "Undetermined",
    TargetStatus.FAILED: "Failed",
}

DELIVERIES: Mapping[DeliveryState, str] = {
    DeliveryState.PENDING: "Not sent yet",
    DeliveryState.DELIVERED: "Delivered",
    DeliveryState.HELD: "Held back for a look",
    DeliveryState.WITHDRAWN: "Not needed any more",
    DeliveryState.RETRYING: "Will be tried again",
    DeliveryState.DEAD: "Given up",
}

ROLES: Mapping[str, str] = {
    Role.SURVEY: "Looks over the whole volume",
    Role.KEY: "Works on a key slice",
    Role.CARRY: "Goes on to the next slice",
    Role.INSPECT: "Checks the whole result",
    Role.REVIEW: "Corrects a slice",
    Role.FILL: "Fills the slices between two drawn ones",
}

OUTCOMES: Mapping[str, str] = {
    Outcome.KEPT: "The outline is kept",
    Outcome.ROLLED_BACK: "Not better: the earlier outline stays",
    Outcome.UNCHANGED: "The outline did not change",
    Outcome.DUPLICATE: "The same as before: not tried again",
    Outcome.REFUSED: "Could not be used",
    Outcome.NO_MASK: "Nothing was drawn",
    Outcome.STOPPED: "Finished here",
    Outcome.ABSENT: "Not here",
}

OPEN_STATES = (
    RequestState.QUEUED,
    RequestState.SELECTED,
    RequestState.SEGMENTING,
    RequestState.WRITING,
    RequestState.SENDING,
)
"""The states of a request that has not ended, in their order."""

_COUNTED = frozenset({WorkStep.ENCODE, WorkStep.OUTLINE, WorkStep.FINISH})


def moment(at: datetime | None) -> str:
    """A time on the node's own clock, to the second; "" for none."""
    return "" if at is None else at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def study_title(facts: StudyFacts | None) -> str:
    """A study in a line.

    >>> study_title(StudyFacts("CT", "Abdomen^routine", "20260131"))
    'CT · Abdomen routine · 2026-01-31'
    >>> study_title(None)
    'Study without images'
    """
    if facts is None:
        return "Study without images"
    parts = (facts.modality, facts.description.replace("^", " "), _day(facts.date))
    return " · ".join(part for part in parts if part.strip()) or "Study without a description"


def _day(date: str) -> str:
    return f"{date[:4]}-{date[4:6]}-{date[6:]}" if len(date) == 8 and date.isdigit() else date


def volume(volume_ml: float | None) -> str:
    """A volume for a reader; "" for none."""
    return "" if volume_ml is None else f"{whole_ml(volume_ml)} ml"


def progress_share(request: RequestView) -> float | None:
    """How much of the step under way is done, 0 to 1; None where nothing is counted."""
    step = request.progress
    if step is None or step.step not in _COUNTED or not step.of:
        return None
    return min(1.0, (step.done or 0) / step.of)


def place(turn: TurnView) -> str:
    """Where a turn was; slices are counted from 0, as everywhere in Segnode."""
    return "whole volume" if turn.slice_index == WHOLE_VOLUME else f"slice {turn.slice_index}"


def action(record: Mapping[str, Any]) -> str:
    """What the planner did, from a recorded action (agent.actions.action_record).

    >>> action({"kind": "positive_point", "point_xy_px": [3.4, 8]})
    'Clicks inside, at x 3, y 8'
    """
    match record:
        case {"kind": "box", "box_xyxy_px": [x0, y0, x1, y1]}:
            return f"Draws a box, x {x0:.0f} to {x1:.0f}, y {y0:.0f} to {y1:.0f}"
        case {"kind": "positive_point", "point_xy_px": [x, y]}:
            return f"Clicks inside, at x {x:.0f}, y {y:.0f}"
        case {"kind": "negative_point", "point_xy_px": [x, y]}:
            return f"Clicks outside, at x {x:.0f}, y {y:.0f}"
        case {"kind": "stop"}:
            return "Is content with the outline"
        case {"kind": "absent"}:
            reason = str(record.get("reason", ""))
            return f"Says it is not here: {reason}" if reason else "Says it is not here"
        case {"kind": "slices", "slices": [*slices]}:
            return f"Names slices to work on: {', '.join(map(str, slices)) or 'none'}"
        case {"kind": "malformed"}:
            return f"Gave an answer that is no action: {record.get('fault', '')}"
    return "Did something that this version does not know"
