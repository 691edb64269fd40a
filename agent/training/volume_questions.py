"""Questions about a whole volume, answered from the truth: where a structure is, and on which
slices its outline is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from agent.actions import Absent, NameSlices, Stop
from agent.case import Case
from agent.language.chat import Conversation
from agent.language.replies import as_message
from agent.ports import Slices
from agent.protocol.dialects import Dialect
from agent.protocol.slice_replies import parse_assessment, parse_localisation, render_naming
from agent.training.reader_settings import TrajectoryKind
from agent.training.trajectory import Trajectory, TrajectoryMaker
from agent.turns import WHOLE_VOLUME, Outcome, Turn
from agent.values import Role, Target

_PART = 0.1  # of the largest part's voxels: smaller ones are no part to name a slice for
_CLEAR = 0.5  # of the largest area: a slice with less does not show the structure well
_APART = 3  # slices at least between two that are named
ABSENT_IN_VOLUME = "no slice shows anything like it"


def named_slices(voxels: NDArray[np.bool_], most: int = 3) -> tuple[int, ...]:
    """The slices to work on for a structure (z, y, x) bool, at most `most`, the best first; () for
    an empty one.

    Each part of the structure (26-connected) has its largest section named, the largest part first;
    a single part also the slices midway to its two ends, where they show half that area.
    """
    labels, count = ndimage.label(voxels, structure=np.ones((3, 3, 3)))
    if not count:
        return ()
    sizes = np.bincount(labels.ravel())[1:]
    parts = [int(part) for part in np.argsort(-sizes, kind="stable") + 1]
    large = [part for part in parts if sizes[part - 1] >= _PART * sizes.max()]
    best = [int(np.argmax(np.count_nonzero(labels == part, axis=(1, 2)))) for part in large]
    if len(large) == 1:
        best += _midways(np.count_nonzero(labels == large[0], axis=(1, 2)), best[0])
    named: list[int] = []
    for z in best:
        if all(abs(z - other) >= _APART for other in named):
            named.append(z)
    return tuple(named[:most])


def localisation_trajectory(
    maker: TrajectoryMaker, case: Case, target: Target, slices: Slices, voxels: NDArray[np.bool_]
) -> Trajectory:
    """Where in the volume the structure `voxels` (z, y, x) bool is: its slices, or absent."""
    dialect, named = maker.language.dialect, named_slices(voxels)
    answer = NameSlices(named) if named else Absent(ABSENT_IN_VOLUME)
    thought = "It is large and clear there." if named else "The target is nowhere in this volume."
    text = render_naming(answer, dialect, thought if dialect is Dialect.THINK_ACTION else "")
    turn = Turn(
        WHOLE_VOLUME,
        0,
        Role.SURVEY,
        parse_localisation(text, len(voxels), dialect),
        Outcome.KEPT if named else Outcome.ABSENT,
        text,
    )
    question = maker.prompt_builder.about_volume(target, slices)
    return _answered("survey", question, turn, case, target)


def assessment_trajectory(
    maker: TrajectoryMaker,
    case: Case,
    target: Target,
    slices: Slices,
    voxels: NDArray[np.bool_],
    wrong: Sequence[int],
) -> Trajectory:
    """On which slices the outline `voxels` (z, y, x) bool is wrong: `wrong`, the worst first, or
    none.
    """
    dialect = maker.language.dialect
    answer = NameSlices(tuple(wrong)) if wrong else Stop()
    thought = "The outline does not follow the target there." if wrong else "All outlines fit."
    text = render_naming(answer, dialect, thought if dialect is Dialect.THINK_ACTION else "")
    turn = Turn(
        WHOLE_VOLUME,
        0,
        Role.INSPECT,
        parse_assessment(text, len(voxels), dialect),
        Outcome.KEPT,
        text,
    )
    question = maker.prompt_builder.about_object(target, slices, voxels)
    return _answered("inspect", question, turn, case, target)


def _answered(
    name: str, question: Conversation, turn: Turn, case: Case, target: Target
) -> Trajectory:
    return Trajectory(
        name=f"{case.dataset}:{case.case_id}:{target.text}:{name}",
        case=case,
        target=target,
        slice_index=WHOLE_VOLUME,
        kind=TrajectoryKind.VOLUME,
        turns=(turn,),
        learnt=(True,),
        ious=(None,),
        final_iou=None,
        conversation=Conversation((*question.messages, as_message(turn.reply, native=False))),
    )


def _midways(areas: NDArray[np.int64], best: int) -> list[int]:
    """Halfway from the best slice to each end of a part, where it shows enough of it."""
    present = np.flatnonzero(areas)
    ways = [(best + int(end)) // 2 for end in (present[-1], present[0])]
    return [z for z in ways if areas[z] >= _CLEAR * areas[best]]
