"""Outlines as files: what a target has come to before it is finished, so that a worker that was
killed goes on from it.

One .npz a target: `record` the JSON of everything but the masks, `slices` their indices, `bits` the
masks packed. Of the turns' own masks it holds the digests; the bits are in the turn mask file.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.trace import (
    Trace,
    TracedTarget,
    trace_from_record,
    trace_record,
    turn_from_record,
    turn_record,
)
from agent.turns import TargetResult
from agent.values import Target
from agent.volume.outline import Outline
from server.files import write_file

_VERSION = 2


def write_outline(path: Path, outline: Outline) -> None:
    """Write an outline, whole or not at all."""
    slices = sorted(outline.masks)
    masks = np.stack([outline.masks[z] for z in slices]) if slices else np.zeros((0, 0, 0), bool)
    record = json.dumps(_record(outline))
    write_file(
        path,
        lambda stream: np.savez_compressed(
            stream,
            record=np.frombuffer(record.encode("utf-8"), dtype=np.uint8),
            slices=np.array(slices, dtype=np.int64),
            bits=np.packbits(masks),
            shape=np.array(masks.shape, dtype=np.int64),
        ),
    )


def read_outline(path: Path) -> Outline | None:
    """The outline in a file that `write_outline` left; None for one of another version, to be made
    again.
    """
    with np.load(path, allow_pickle=False) as stored:
        record = json.loads(stored["record"].tobytes())
        if record.get("version") != _VERSION:
            return None
        masks = _unpacked(stored["bits"], stored["shape"])
        slices = [int(z) for z in stored["slices"]]
    return _outline(record, dict(zip(slices, masks, strict=True)))


def _unpacked(bits: NDArray[np.uint8], shape: NDArray[np.int64]) -> NDArray[np.bool_]:
    flat = np.unpackbits(bits, count=int(np.prod(shape)))
    return flat.reshape(tuple(shape)).view(np.bool_)


def _record(outline: Outline) -> dict[str, Any]:
    ended = outline.ended
    return {
        "version": _VERSION,
        "target": asdict(outline.target),
        "presence": outline.presence,
        "scores": [[z, outline.scores[z]] for z in sorted(outline.scores)],
        "key_slices": outline.key_slices,
        "turns": [turn_record(turn) for turn in outline.turns],
        "warnings": outline.warnings,
        "followed": outline.followed,
        "ended": None if ended is None else trace_record(Trace((TracedTarget.of(ended),))),
    }


def _outline(record: dict[str, Any], masks: dict[int, NDArray[np.bool_]]) -> Outline:
    return Outline(
        target=Target(**record["target"]),
        presence=tuple(record["presence"]),
        masks=masks,
        scores={int(z): float(score) for z, score in record["scores"]},
        key_slices=tuple(record["key_slices"]),
        turns=tuple(turn_from_record(turn) for turn in record["turns"]),
        warnings=tuple(record["warnings"]),
        followed=record["followed"],
        ended=None if record["ended"] is None else _ended(record["ended"]),
    )


def _ended(record: dict[str, Any]) -> TargetResult:
    (traced,) = trace_from_record(record).targets
    return TargetResult(
        target=traced.target,
        status=traced.status,
        voxels=None,
        confidence=traced.confidence,
        turns=traced.turns,
        reason=traced.reason,
        warnings=traced.warnings,
        window=traced.window,
        conditions=traced.conditions,
        presence=traced.presence,
        assessed=traced.assessed,
    )
