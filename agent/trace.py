"""The trace: everything that was done for each target, as versioned JSON. It holds no pixels and no
identity.

    {"version": 2, "targets": [{"text", "structure", "status", "reason", "confidence", "warnings",
                                "window"?, "conditions"?, "presence"?, "assessed"?,
                                "second_opinion"?,
                                "turns": [{"slice_index", "index", "role", "action", "outcome",
                                           …, "masks"?, "slice_scores"?}]}]}

`masks` is the digest of what a turn drew; the masks lie in a file beside the trace. In version 1 a
turn had none. Files of every version stay readable for ever: tests/golden holds some. A new field
with a default needs no new version; a changed meaning does.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agent.actions import action_from_record, action_record
from agent.conditions import Conditions, conditions_from_record, conditions_record
from agent.errors import BadTrace
from agent.turn_masks import TurnMasks
from agent.turns import Outcome, SecondOpinion, TargetResult, Turn, Usage
from agent.values import Role, Target, TargetStatus

VERSION = 2
_READABLE = (1, 2)


@dataclass(frozen=True)
class TracedTarget:
    """A target's result without its voxels, kept for ever. Fields as in TargetResult."""

    target: Target
    status: TargetStatus
    turns: tuple[Turn, ...] = ()
    reason: str = ""
    confidence: float = 0.0
    warnings: tuple[str, ...] = ()
    window: str = ""
    conditions: Conditions | None = None
    presence: tuple[float, ...] = ()
    assessed: tuple[int, ...] | None = None
    second_opinion: SecondOpinion | None = None

    @classmethod
    def of(cls, result: TargetResult) -> TracedTarget:
        """What a trace keeps of a result."""
        return cls(
            result.target,
            result.status,
            result.turns,
            result.reason,
            result.confidence,
            result.warnings,
            result.window,
            result.conditions,
            result.presence,
            result.assessed,
            result.second_opinion,
        )


@dataclass(frozen=True)
class Trace:
    """All targets of one request, in the order they were asked for."""

    targets: tuple[TracedTarget, ...] = ()

    @classmethod
    def of(cls, results: Iterable[TargetResult]) -> Trace:
        """The trace of finished targets."""
        return cls(tuple(TracedTarget.of(result) for result in results))


def turn_record(turn: Turn) -> dict[str, Any]:
    """A turn as JSON values; its fields' names and units are those of `Turn`."""
    return {
        "slice_index": turn.slice_index,
        "index": turn.index,
        "role": str(turn.role),
        "action": action_record(turn.action),
        "outcome": str(turn.outcome),
        "reply": turn.reply,
        "observation": turn.observation,
        "area_px": turn.area_px,
        "predicted_iou": turn.predicted_iou,
        "score": turn.score,
        "policy_s": turn.policy_s,
        "segmenter_s": turn.segmenter_s,
        **_of_candidates(turn),
        **({"usage": asdict(turn.usage)} if turn.usage is not None else {}),
        **({"masks": turn.masks.digest} if turn.masks is not None else {}),
        **({"slice_scores": list(turn.slice_scores)} if turn.slice_scores else {}),
    }


def turn_from_record(record: dict[str, Any]) -> Turn:
    """The inverse of `turn_record`; BadTrace when a field is missing or means nothing."""
    try:
        return Turn(
            slice_index=int(record["slice_index"]),
            index=int(record["index"]),
            role=Role(record["role"]),
            action=action_from_record(record["action"]),
            outcome=Outcome(record["outcome"]),
            reply=str(record.get("reply", "")),
            observation=str(record.get("observation", "")),
            area_px=None if record.get("area_px") is None else int(record["area_px"]),
            predicted_iou=_figure(record.get("predicted_iou")),
            score=_figure(record.get("score")),
            policy_s=float(record.get("policy_s", 0.0)),
            segmenter_s=float(record.get("segmenter_s", 0.0)),
            mask_choice=None if "mask_choice" not in record else int(record["mask_choice"]),
            candidate_ious=tuple(map(float, record.get("candidate_ious", ()))),
            usage=None if "usage" not in record else Usage(**record["usage"]),
            masks=None if "masks" not in record else TurnMasks(str(record["masks"])),
            slice_scores=tuple(map(float, record.get("slice_scores", ()))),
        )
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise BadTrace(f"a turn of this trace cannot be read: {error!r}") from error


def trace_record(trace: Trace) -> dict[str, Any]:
    """A trace as JSON values, of this version."""
    return {"version": VERSION, "targets": [_target_record(target) for target in trace.targets]}


def trace_from_record(record: Any) -> Trace:
    """The inverse of `trace_record`; BadTrace for another version or another shape."""
    if not isinstance(record, dict) or "version" not in record:
        raise BadTrace('this is no trace: it has no "version"')
    if record["version"] not in _READABLE:
        raise BadTrace(
            f"this trace is of version {record['version']!r}; "
            f"this segnode reads versions up to {VERSION}"
        )
    try:
        return Trace(tuple(_target_from_record(target) for target in record["targets"]))
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise BadTrace(f"a target of this trace cannot be read: {error!r}") from error


def write_trace(path: Path, trace: Trace) -> None:
    """Write a trace as UTF-8 JSON, whole or not at all."""
    text = json.dumps(trace_record(trace), indent=1, allow_nan=False) + "\n"
    temporary = path.with_name(path.name + ".part")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read_trace(path: Path) -> Trace:
    """Read a trace file; BadTrace when it is no JSON, no trace, or of an unknown version."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadTrace(f"{path.name} is no JSON: {error}") from error
    return trace_from_record(record)


def _target_record(target: TracedTarget) -> dict[str, Any]:
    conditions, second = target.conditions, target.second_opinion
    return {
        "text": target.target.text,
        "structure": target.target.structure,
        "status": str(target.status),
        "reason": target.reason,
        "confidence": target.confidence,
        "warnings": list(target.warnings),
        **({"window": target.window} if target.window else {}),
        **({"conditions": conditions_record(conditions)} if conditions is not None else {}),
        **({"presence": list(target.presence)} if target.presence else {}),
        **({"assessed": list(target.assessed)} if target.assessed is not None else {}),
        **({"second_opinion": asdict(second)} if second is not None else {}),
        "turns": [turn_record(turn) for turn in target.turns],
    }


def _target_from_record(record: dict[str, Any]) -> TracedTarget:
    return TracedTarget(
        target=Target(record["text"], record.get("structure")),
        status=TargetStatus(record["status"]),
        turns=tuple(turn_from_record(turn) for turn in record["turns"]),
        reason=str(record.get("reason", "")),
        confidence=float(record.get("confidence", 0.0)),
        warnings=tuple(map(str, record.get("warnings", ()))),
        window=str(record.get("window", "")),
        conditions=conditions_from_record(record["conditions"]) if "conditions" in record else None,
        presence=tuple(map(float, record.get("presence", ()))),
        assessed=tuple(map(int, record["assessed"])) if "assessed" in record else None,
        second_opinion=_second_from(record["second_opinion"])
        if "second_opinion" in record
        else None,
    )


def _second_from(record: dict[str, Any]) -> SecondOpinion:
    slices = tuple(map(int, record["slices"]))
    return SecondOpinion(str(record["segmenter"]), _figure(record["dice"]), slices)


def _of_candidates(turn: Turn) -> dict[str, Any]:
    if turn.mask_choice is None:
        return {}
    return {"mask_choice": turn.mask_choice, "candidate_ious": list(turn.candidate_ious)}


def _figure(value: Any) -> float | None:
    return None if value is None else float(value)
