"""All trajectories of one case: which slices, which questions, how many."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from agent.case import Case, Truth
from agent.language.prompt_builder import slices_of_object
from agent.ports import Slices
from agent.training.damage import as_drawn, damaged
from agent.training.reader_settings import TrajectoryKind
from agent.training.simulated_reader import draws_for
from agent.training.slice_tasks import (
    SliceTask,
    carried_to,
    corrected_slices,
    reached_slices,
    redrawn,
    worst_first,
)
from agent.training.trajectory import Dropped, Exercise, Trajectory, TrajectoryMaker
from agent.training.volume_questions import assessment_trajectory, localisation_trajectory
from agent.values import Target

SlicesFor = Callable[[Target], Slices]
"""The slices of a case as a target is best seen."""

FULL = "the truth fills the whole image"
_WRONG_SLICES = 3  # of an object that is assessed, at most
_ALL_RIGHT = 0.25  # share of assessments of an object that is right
_BEYOND = 3  # an absent slice is taken from this near the structure's ends, if it can be


def trajectories_of(
    case: Case,
    truths: Sequence[Truth],
    slices_for: SlicesFor,
    maker: TrajectoryMaker,
    per_case: int = 1,
) -> Iterator[Trajectory | Dropped]:
    """The trajectories of `case`, whose `truths` lie on the working grid that `slices_for` shows.

    Each structure gets `per_case` of them where it is: on the only slice of an image, on slices of
    a volume that are drawn from all that show it. Where it is not, one with the chance that the
    reader's settings give. In a volume as many slices are reached from a neighbour that is drawn,
    and with that chance one beyond the structure's end; it is also asked where each structure is,
    whether an object is right, and its worst slice is drawn anew. A truth that is a correction
    gives nothing else than the way from the mask that was corrected to what the reader made of it.
    SegmenterFailed passes through; ValueError for a truth of another shape than the slices.
    """
    for truth in truths:
        slices = slices_for(truth.target)
        if truth.voxels.shape != slices.shape:
            raise ValueError(
                f"the truth of {truth.target.text} is {truth.voxels.shape}, the image "
                f"{slices.shape}"
            )
        if truth.corrected_from is not None:
            yield from _corrected(case, truth, truth.corrected_from, slices, maker, per_case)
            continue
        for exercise in _exercises(case, truth, slices, maker, per_case):
            if exercise.task.truth.all():
                yield Dropped(exercise.name, TrajectoryKind.BOX_TO_POINT, FULL)
            else:
                yield maker.make(exercise)
        if slices.shape[0] > 1:
            yield localisation_trajectory(maker, case, truth.target, slices, truth.voxels)
            yield from _carried(case, truth, slices, maker, per_case)
            yield from _inspected(case, truth, slices, maker)


def _exercises(
    case: Case, truth: Truth, slices: Slices, maker: TrajectoryMaker, per_case: int
) -> Iterator[Exercise]:
    rng = draws_for(maker.seed, case.dataset, case.case_id, truth.target.text, "slices")
    present = np.flatnonzero(truth.voxels.any(axis=(1, 2)))
    chosen = [int(z) for z in _in_turn(present, per_case, rng)]
    if rng.random() < maker.reader.absent_chance:
        chosen += _one_absent(present, len(truth.voxels), rng)
    for number, z in enumerate(chosen):
        yield Exercise(case, truth.target, slices, SliceTask(z, truth.voxels[z]), number)


def _in_turn(present: NDArray[np.int64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """`count` of the slices `present` in an order that is drawn, from the start again where they
    are fewer; none of none.
    """
    return np.resize(rng.permutation(present), count) if present.size else present


def _one_absent(present: NDArray[np.int64], depth: int, rng: np.random.Generator) -> list[int]:
    """A slice without the structure, near its ends if there is one; [] where it is on all."""
    absent = np.setdiff1d(np.arange(depth), present)
    if not absent.size:
        return []
    if present.size:
        near = absent[np.abs(absent[:, None] - present).min(axis=1) <= _BEYOND]
        absent = near if near.size else absent
    return [int(rng.choice(absent))]


def _carried(
    case: Case, truth: Truth, slices: Slices, maker: TrajectoryMaker, per_case: int
) -> Iterator[Trajectory | Dropped]:
    """Slices that are reached from a neighbour, whose mask is as good as a program draws it."""
    rng = draws_for(maker.seed, case.dataset, case.case_id, truth.target.text, "carry")
    present = np.asarray(truth.voxels.any(axis=(1, 2)))
    reached = reached_slices(present)
    within = [(z, step) for z, step in reached if present[z]]
    beyond = [(z, step) for z, step in reached if not present[z]]
    chosen = [within[n] for n in _in_turn(np.arange(len(within)), per_case, rng)]
    if beyond and rng.random() < maker.reader.absent_chance:
        chosen.append(beyond[int(rng.integers(len(beyond)))])
    for number, (z, step) in enumerate(chosen):
        task = carried_to(truth.voxels, z, step, as_drawn(truth.voxels[z - step], rng))
        yield maker.make(Exercise(case, truth.target, slices, task, number))


def _inspected(
    case: Case, truth: Truth, slices: Slices, maker: TrajectoryMaker
) -> Iterator[Trajectory | Dropped]:
    """The object with some slices damaged, or none, assessed; the worst of them drawn anew."""
    if truth.absent:
        return
    rng = draws_for(maker.seed, case.dataset, case.case_id, truth.target.text, "inspect")
    shown = slices_of_object(truth.voxels, maker.language.sheets * maker.language.sheet_slices)
    wrong = _damaged_slices(truth.voxels, shown, rng) if rng.random() >= _ALL_RIGHT else {}
    voxels = truth.voxels.copy()
    for z, mask in wrong.items():
        voxels[z] = mask
    named = worst_first(wrong, truth.voxels)
    yield assessment_trajectory(maker, case, truth.target, slices, voxels, named)
    if named:
        task = redrawn(voxels, named[0], truth.voxels[named[0]])
        yield maker.make(Exercise(case, truth.target, slices, task))


def _corrected(
    case: Case,
    truth: Truth,
    drawn: NDArray[np.bool_],
    slices: Slices,
    maker: TrajectoryMaker,
    per_case: int,
) -> Iterator[Trajectory | Dropped]:
    """From the object `drawn` (z, y, x) bool to the reader's: which of its slices are wrong, and
    each of those drawn anew. Where two readers would not differ more, nothing is wrong.
    """
    tasks = corrected_slices(truth.voxels, drawn, maker.reader.satisfied_iou)
    if len(drawn) > 1 and drawn.any():
        shown = set(slices_of_object(drawn, maker.language.sheets * maker.language.sheet_slices))
        named = [task.z for task in tasks if task.z in shown][: maker.limits.inspected_slices]
        yield assessment_trajectory(maker, case, truth.target, slices, drawn, named)
    for task in tasks:
        for number in range(per_case):
            yield maker.make(Exercise(case, truth.target, slices, task, number))


def _damaged_slices(
    voxels: NDArray[np.bool_], shown: Sequence[int], rng: np.random.Generator
) -> dict[int, NDArray[np.bool_]]:
    """Wrong masks (rows, columns) bool by slice, of some of those that are shown."""
    present = [z for z in shown if voxels[z].any()]
    count = min(len(present), int(rng.integers(1, _WRONG_SLICES + 1)))
    masks = {int(z): damaged(voxels[z], rng) for z in rng.choice(present, count, replace=False)}
    return {z: mask for z, mask in masks.items() if mask is not None}
