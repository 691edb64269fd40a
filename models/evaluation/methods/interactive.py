"""The baseline of an ideal user of a volume, as the CVPR 2025 challenge of interactive 3-D
segmentation counts it: a box, then five clicks.

- A click lies in the largest part (26 neighbours) of all errors, misses and excesses together, and
  there where the Euclidean distance to its edge is greatest; a seeded draw decides among equals. It
  is positive where the truth is. Distances count in voxels.
- DSC and NSD (tolerance 2 mm, 0 where DSC <= 0.2) after each step; a failed prediction is an empty
  mask. Over 90 s a structure, the structure counts 0.
- DSC_AUC is the trapezoid over the five clicks (x = 0 … 4): the box step is left out, and it is not
  normalised, so 4 is perfect. NSD_AUC likewise. Final is after the fifth click.

A segmenter of slices is given the box on its middle slice; the object is followed from there within
the box, and anew from all slices that were prompted after each click.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from agent.case import Case
from agent.errors import SegmenterFailed
from agent.ports import Seed, Segmenter, Slices, VolumePrompter
from agent.values import (
    Box,
    Point,
    PromptKind,
    Prompts,
    Segmentation,
    Target,
    TargetStatus,
    VolumePrompts,
    VoxelBox,
    VoxelPoint,
)
from agent.volume.box_propagation import with_propagation
from models.evaluation.methods.answers import MethodAnswer, PreparedCase, targets_there
from models.evaluation.metrics import SpacingMm, overlap, surface_dice
from models.evaluation.records import Clicks

CLICKS = 5
TOLERANCE_MM = 2.0
NO_SURFACE_BELOW = 0.2
TIME_LIMIT_S = 90.0

Predict = Callable[[VoxelBox | VoxelPoint], NDArray[np.bool_]]
"""Adds a prompt, and gives the object (z, y, x) bool for all so far."""


@dataclass(frozen=True, eq=False)
class Interactive:
    """Box and clicks of an ideal user into `segmenter`, which must take points."""

    segmenter: Segmenter
    name: str = "interactive"
    time_limit_s: float = TIME_LIMIT_S
    clock: Callable[[], float] = time.perf_counter

    @property
    def names(self) -> tuple[str, ...]:
        """Its name alone."""
        return (self.name,)

    def targets(self, case: Case) -> tuple[Target, ...]:
        """Those that are in the image."""
        return targets_there(case)

    def answers(self, case: PreparedCase, targets: Sequence[Target]) -> Iterator[MethodAnswer]:
        """One answer a target; encodings that nobody made before are made within its time."""
        truths = {truth.target.text: truth.voxels for truth in case.case.truths}
        for target in targets:
            passes = case.prepared.encoder_passes
            answer = self._answer(case, target, truths[target.text])
            yield replace(answer, encoder_passes=case.prepared.encoder_passes - passes)

    def _answer(self, case: PreparedCase, target: Target, truth: NDArray[np.bool_]) -> MethodAnswer:
        working = case.working_truths[target.text]
        began, reason = self.clock(), ""
        masks: list[NDArray[np.bool_]] = []
        try:
            predict = prompted(case.slices(target), self.segmenter)
            masks.extend(case.to_source(mask) for mask in course(working, predict))
        except Exception as fault:  # noqa: BLE001 - one case must not end an evaluation of days
            reason = f"{type(fault).__name__}: {fault}"
        seconds = self.clock() - began
        if seconds > self.time_limit_s:
            reason = f"it took {seconds:.0f} s, the challenge allows {self.time_limit_s:.0f}"
            masks = []
        # what was not predicted is empty
        masks += [np.zeros_like(truth)] * (1 + CLICKS - len(masks))
        status = TargetStatus.FAILED if reason else TargetStatus.SEGMENTED
        clicks = judged(masks, truth, case.spacing_mm)
        return MethodAnswer(
            target, status, masks[-1], reason=reason, seconds=seconds, clicks=clicks
        )


def course(truth: NDArray[np.bool_], predict: Predict) -> Iterator[NDArray[np.bool_]]:
    """The masks (z, y, x) bool after the box and each click on `truth`, which has a voxel."""
    mask = predict(box_of(truth))
    yield mask
    rng = np.random.default_rng(0)
    for _ in range(CLICKS):
        click = next_click(mask, truth, rng)
        if click is not None:  # None: nothing is wrong any more
            mask = predict(click)
        yield mask


def judged(
    masks: Sequence[NDArray[np.bool_]], truth: NDArray[np.bool_], spacing_mm: SpacingMm | None
) -> Clicks:
    """DSC, IoU and NSD after the box and each click, by the challenge's rules."""
    pairs = [overlap(mask, truth) for mask in masks]
    dice = tuple(pair[0] for pair in pairs)
    if spacing_mm is None:
        return Clicks(dice, tuple(pair[1] for pair in pairs), box=True)
    nsd = tuple(
        0.0 if value <= NO_SURFACE_BELOW else surface_dice(mask, truth, spacing_mm, TOLERANCE_MM)
        for value, mask in zip(dice, masks, strict=True)
    )
    return Clicks(dice, tuple(pair[1] for pair in pairs), nsd, box=True)


def area_under(values: Sequence[float]) -> float:
    """The trapezoid over the steps, one apart, not normalised: 4 for five values of 1."""
    return float(np.trapezoid(values))


def box_of(truth: NDArray[np.bool_]) -> VoxelBox:
    """The tight box of a truth (z, y, x) bool with a voxel."""
    z, y, x = (np.flatnonzero(truth.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1)))
    return VoxelBox(int(z[0]), float(y[0]), float(x[0]), int(z[-1]), float(y[-1]), float(x[-1]))


def next_click(
    mask: NDArray[np.bool_], truth: NDArray[np.bool_], rng: np.random.Generator
) -> VoxelPoint | None:
    """The click on the largest error of a mask (z, y, x) bool; None where there is no error."""
    errors = mask ^ truth
    labels, count = ndimage.label(errors, structure=np.ones((3, 3, 3)))
    if not count:
        return None
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    part = int(sizes.argmax())
    window = ndimage.find_objects(labels, max_label=part)[part - 1]
    inside = np.pad(labels[window] == part, 1)
    depth = ndimage.distance_transform_edt(inside)
    if truth.shape[0] == 1:  # a slice has no neighbours above and below
        depth = np.zeros_like(depth)
        depth[1] = ndimage.distance_transform_edt(inside[1])
    deepest = np.argwhere(depth == depth.max())
    offset = np.array([span.start for span in window]) - 1
    z, y, x = (int(index) for index in deepest[rng.integers(len(deepest))] + offset)
    return VoxelPoint(z, float(y), float(x), bool(truth[z, y, x]))


def prompted(slices: Slices, segmenter: Segmenter) -> Predict:
    """How `segmenter` answers prompts in a volume: by itself, or by slices."""
    if isinstance(segmenter, VolumePrompter):
        return _WholeObject(slices, segmenter).predict
    return _BySlices(slices, segmenter).predict


@dataclass(eq=False)
class _WholeObject:
    """The prompts so far for a segmenter that draws whole objects."""

    slices: Slices
    segmenter: VolumePrompter
    prompts: VolumePrompts = field(default_factory=VolumePrompts)

    def predict(self, prompt: VoxelBox | VoxelPoint) -> NDArray[np.bool_]:
        if isinstance(prompt, VoxelBox):
            self.prompts = replace(self.prompts, boxes=(*self.prompts.boxes, prompt))
        else:
            self.prompts = replace(self.prompts, points=(*self.prompts.points, prompt))
        mask = self.segmenter.segment_volume(self.slices, self.prompts).mask
        return _checked(mask, self.slices.shape)


class _BySlices:
    """The prompts so far on each slice, for a segmenter of slices."""

    def __init__(self, slices: Slices, segmenter: Segmenter) -> None:
        self._slices, self._segmenter = slices, with_propagation(segmenter)
        self._takes_masks = PromptKind.MASK in segmenter.supported_prompts
        self._prompts: dict[int, Prompts] = {}
        self._answers: dict[int, Segmentation] = {}
        self._lowest, self._highest = slices.shape[0], -1

    def predict(self, prompt: VoxelBox | VoxelPoint) -> NDArray[np.bool_]:
        """The object after one more prompt."""
        if isinstance(prompt, VoxelBox):
            z = (prompt.z0 + prompt.z1) // 2
            box = Box(prompt.x0, prompt.y0, prompt.x1, prompt.y1)
            prompts, span = Prompts(box=box), (prompt.z0, prompt.z1)
        else:
            z, click = prompt.z, Point(prompt.x, prompt.y, prompt.positive)
            earlier = self._prompts.get(z, Prompts())
            prompts, span = replace(earlier, points=(*earlier.points, click)), (z, z)
        self._lowest, self._highest = min(self._lowest, span[0]), max(self._highest, span[1])
        self._prompts[z] = prompts
        self._draw(z)
        return self._followed()

    def _draw(self, z: int) -> None:
        prompts, before = self._prompts[z], self._answers.get(z)
        if before is not None and self._takes_masks:
            prompts = replace(prompts, previous_logits=before.logits)
        answer = self._segmenter.segment(self._slices.encoding(z), prompts)
        _checked(answer.mask, self._slices.shape[1:])
        self._answers[z] = answer

    def _followed(self) -> NDArray[np.bool_]:
        voxels = np.zeros(self._slices.shape, dtype=np.bool_)
        masks = {z: answer.mask for z, answer in self._answers.items() if answer.mask.any()}
        if masks and len(voxels) > 1:
            seed = Seed(masks, self._lowest, self._highest)
            for propagated in self._segmenter.propagate(self._slices, [seed], lambda _: True):
                voxels[propagated.z] = propagated.segmentation.mask
        for z, answer in self._answers.items():
            voxels[z] = answer.mask
        return voxels


def _checked(mask: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    if mask.shape != shape:
        raise SegmenterFailed(f"its mask is {mask.shape}, what it was shown {shape}")
    return mask
