"""The actions of a policy, and their JSON form.

One vocabulary for both papers' protocols (MedSAM-Agent: box, point, stop; IBISAgent: signed clicks,
terminate) plus "absent", which both lack.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_never

from agent.storable_text import storable
from agent.values import Box, Point


@dataclass(frozen=True)
class AddBox:
    """Draw a box round the structure; replaces the earlier box of this slice."""

    box: Box


@dataclass(frozen=True)
class AddPoint:
    """Click inside (positive) or outside (negative) the structure."""

    point: Point


@dataclass(frozen=True)
class Stop:
    """The best mask so far is right."""


@dataclass(frozen=True)
class Absent:
    """The structure is not on this slice; a model's `reason` is made storable."""

    reason: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", storable(self.reason))


@dataclass(frozen=True)
class NameSlices:
    """Slices of the volume to work on: zero-based on the working grid, the most important first."""

    slices: tuple[int, ...]


@dataclass(frozen=True)
class Malformed:
    """A reply that is no action. `fault` says why, for the policy's next try; it may quote the
    reply, so it is made storable.
    """

    fault: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "fault", storable(self.fault))


Action = AddBox | AddPoint | Stop | Absent | NameSlices | Malformed


def action_record(action: Action) -> dict[str, Any]:
    """An action as JSON: {"kind", …} with pixel coordinates (x, y)."""
    match action:
        case AddBox(box):
            return {"kind": "box", "box_xyxy_px": [box.x0, box.y0, box.x1, box.y1]}
        case AddPoint(point):
            kind = "positive_point" if point.positive else "negative_point"
            return {"kind": kind, "point_xy_px": [point.x, point.y]}
        case Stop():
            return {"kind": "stop"}
        case Absent(reason):
            return {"kind": "absent", "reason": reason}
        case NameSlices(slices):
            return {"kind": "slices", "slices": list(slices)}
        case Malformed(fault):
            return {"kind": "malformed", "fault": fault}
        case _:
            assert_never(action)


def action_from_record(record: dict[str, Any]) -> Action:
    """The inverse of `action_record`; ValueError for a kind this version does not know."""
    match record:
        case {"kind": "box", "box_xyxy_px": [x0, y0, x1, y1]}:
            return AddBox(Box(x0, y0, x1, y1))
        case {"kind": "positive_point" | "negative_point" as kind, "point_xy_px": [x, y]}:
            return AddPoint(Point(x, y, kind == "positive_point"))
        case {"kind": "stop"}:
            return Stop()
        case {"kind": "absent"}:
            return Absent(str(record.get("reason", "")))
        case {"kind": "slices", "slices": [*slices]}:
            return NameSlices(tuple(int(z) for z in slices))
        case {"kind": "malformed"}:
            return Malformed(str(record.get("fault", "")))
        case _:
            raise ValueError(f"not an action of this trace version: {record}")
