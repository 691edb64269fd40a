"""The embedded planner (agent.ports.Policy): the locator points, LiteMedSAM draws, each checks the
other.

The first box goes round what the locator sees. LiteMedSAM does not understand clicks, so a
correction is another box: looser, tighter, or round what was drawn where the locator agrees. Every
mask is scored by how well it and the locator's map agree, and the loop keeps the best one.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.actions import Absent, AddBox, Stop
from agent.ports import Assessment, Localisation, Observation, Reply, Slices
from agent.values import Box, Role, Segmentation, Target
from agent.volume.between import drawing_stride, slices_drawn
from agent.volume.evidence import LIKELY
from models.policies.locator.boxes import blurred, candidate_boxes
from models.policies.locator.field_of_view import LOOKED_AT, doubt_of_view
from models.policies.locator.learnt_views import LearntViews, unlike_learnt
from models.policies.locator.maps import Encoder, OrganMaps
from models.policies.locator.net import load_locator
from models.policies.locator.presence import (
    MODEL_PX,
    area_px,
    coarse_step,
    key_slices,
    near,
    presence,
)
from models.policies.locator.structures import KNOWLEDGE, LUNGS

WEIGHTS = Path(__file__).parent / "weights" / "locator.safetensors"
"""The shipped weights; models/policies/locator/weights/MODEL_CARD.md says where they come from."""

VIEWS = WEIGHTS.with_name("learnt_views.safetensors")
"""The slices that the shipped weights were trained on, as models.policies.locator.learnt_views."""


SUFFICIENT_SCORE = 0.93
"""A score from which no further box is tried: there is nothing left to win."""

CARRIED_WEIGHT = 0.3  # of the neighbour's mask beside the locator's map; falls with the distance
_CARRIED_MM = 5.0
_CARRIED_BLUR = 2.0 / MODEL_PX  # of the slice's side: an outline moves that much between slices


class LocatorPolicy:
    """Plans for 13 abdominal organs and the lungs on CT, without a language model.

    `weights` of models.policies.locator.net, and `views` the slices that they were trained on
    (None: no view is told to be unlike them). Raises OSError or RuntimeError when they are missing
    or do not fit. `own_encoder` is LiteMedSAM's, for slices that another segmenter encodes; None:
    the slices' encodings are LiteMedSAM's. Of slices closer than `look_step_mm` those that far
    apart are looked at, and others as they are worked on (0: all are). For threads that work on
    different volumes.
    """

    name = "locator"
    knowledge = KNOWLEDGE

    def __init__(
        self,
        weights: Path = WEIGHTS,
        *,
        views: Path | None = VIEWS,
        own_encoder: Encoder | None = None,
        look_step_mm: float = 0.0,
    ) -> None:
        self._locator, self._own_encoder = load_locator(weights), own_encoder
        self._learnt_views = None if views is None else LearntViews.load(views)
        self._look_step_mm = look_step_mm
        self._maps: weakref.WeakKeyDictionary[Slices, OrganMaps] = weakref.WeakKeyDictionary()
        self._mixed: _Mixed | None = None

    def localise(self, target: Target, slices: Slices) -> Localisation:
        """Look for the structure; absent where no slice is more likely than not to show it.

        Slices that lie close are first looked at one in two or three: those between two without a
        sign of the structure are neither encoded nor looked at, and count as without it. With a
        `look_step_mm` the others' areas are interpolated, and none of them is a key slice.
        """
        structure = self._structure(target)
        maps, depth = self._maps_of(slices), slices.shape[0]
        stride = self._stride(slices)
        grid, grid_mm = slices_drawn(depth, stride), stride * slices.spacing_mm[0]
        within = _worth_a_look(maps, structure, grid, grid_mm)
        grid_areas = [maps.area(z, structure) if z in within else 0.0 for z in grid]
        areas = tuple(map(float, np.interp(range(depth), grid, grid_areas)))
        likely = tuple(presence(structure, area, alone=depth == 1) for area in areas)
        keys = key_slices(tuple(likely[z] for z in grid), tuple(grid_areas), grid_mm)
        if keys:
            seen = sum(p >= LIKELY for p in likely)
            named = tuple(grid[k] for k in keys)
            return Localisation(
                likely,
                named,
                f"seen on {seen} slices",
                doubts=_doubts(slices),
                unlike=_unlike(maps, structure, named),
            )
        # without a figure: a presence is no probability that a report may state
        reason = "not seen on any slice when the whole was surveyed"
        looked_at = [grid[n] for n in slices_drawn(len(grid), coarse_step(grid_mm))]
        unlike = _unlike(maps, structure, looked_at)
        return Localisation(likely, (), reason, doubts=_doubts(slices), unlike=unlike)

    def act(self, observation: Observation) -> Reply:
        """The next box that was not tried, until one is good enough or none is left."""
        expected = self._expected(observation)
        if not observation.turns and self._gone(observation):
            return Reply(Absent("the locator sees nothing of it on this slice"))
        if observation.turns and (observation.turns[-1].score or 0.0) >= SUFFICIENT_SCORE:
            return Reply(Stop(), "mask and map agree")
        earlier_boxes = [
            turn.action.box for turn in observation.turns if isinstance(turn.action, AddBox)
        ]
        for why, box in candidate_boxes(expected, observation.best):
            if not any(_alike(box, earlier) for earlier in earlier_boxes):
                return Reply(AddBox(box), why)
        if earlier_boxes:
            return Reply(Stop(), "no box is left to try")
        return Reply(Absent("there is nothing to draw a box round"))

    def score(self, observation: Observation, segmentation: Segmentation) -> float:
        """The Dice to expect, 0..1: how well mask and map agree and what the segmenter thinks of
        it.
        """
        return expected_dice(
            agreement(segmentation.mask, self._expected(observation)), segmentation.predicted_iou
        )

    def assess(
        self,
        target: Target,  # noqa: ARG002  every slice was scored as it was drawn
        slices: Slices,  # noqa: ARG002
        voxels: NDArray[np.bool_],  # noqa: ARG002
    ) -> Assessment:
        """Nothing to correct beyond what does not fit its neighbours, which the agent sees
        itself.
        """
        return Assessment()

    def _structure(self, target: Target) -> str:
        return str(target.structure)

    def _maps_of(self, slices: Slices) -> OrganMaps:
        if slices not in self._maps:
            looked_at = slices_drawn(slices.shape[0], self._stride(slices))
            self._maps[slices] = OrganMaps(
                self._locator,
                weakref.proxy(slices),
                self._own_encoder,
                frozenset(looked_at),
                self._learnt_views,
            )
        return self._maps[slices]

    def _stride(self, slices: Slices) -> int:
        return drawing_stride(slices.spacing_mm[0], self._look_step_mm)

    def _seen(self, observation: Observation) -> NDArray[np.float32]:
        structure = self._structure(observation.target)
        return self._maps_of(observation.slices).map(observation.slice_index, structure)

    def _gone(self, observation: Observation) -> bool:
        """Whether the locator is sure that the structure is not on the slice."""
        structure = self._structure(observation.target)
        alone = observation.slices.shape[0] == 1
        likely = presence(structure, area_px(self._seen(observation)), alone=alone)
        # on a slice between others that show it, half the evidence is enough
        return likely < (0.5 if observation.role is Role.KEY else 0.25)

    def _expected(self, observation: Observation) -> NDArray[np.float32]:
        """The locator's map, and where the neighbour's mask is known some of that."""
        located = self._seen(observation)
        if observation.carried is None:
            return located
        # the same all through an episode: blurred once, not at every turn and appraisal
        mixed = self._mixed
        if mixed is None or not mixed.made_of(located, observation.carried):
            step_mm = observation.slices.spacing_mm[0]
            mixed = self._mixed = _Mixed.of(located, observation.carried, step_mm)
        return mixed.expected


@dataclass(frozen=True, eq=False)
class _Mixed:
    """A locator's map `located` and a neighbour's mask `carried`, and what both together expect."""

    located: NDArray[np.float32]
    carried: NDArray[np.bool_]
    expected: NDArray[np.float32]

    @classmethod
    def of(cls, located: NDArray[np.float32], carried: NDArray[np.bool_], step_mm: float) -> _Mixed:
        """Mix them, the mask blurred and the less of it the further away its slice is."""
        # 0.3·exp(-d / 5 mm): a neighbour 1 mm away has a weight of 0.25, one 10 mm away of 0.04.
        # Both maps are probabilities, and so is their weighted mean
        weight = np.float32(CARRIED_WEIGHT * math.exp(-step_mm / _CARRIED_MM))
        blur_px = _CARRIED_BLUR * max(located.shape)
        spread = blurred(carried, blur_px)
        return cls(located, carried, (1 - weight) * located + weight * spread)

    def made_of(self, located: NDArray[np.float32], carried: NDArray[np.bool_]) -> bool:
        """Whether these very arrays were mixed."""
        return self.located is located and self.carried is carried


def agreement(mask: NDArray[np.bool_], expected: NDArray[np.float32]) -> float:
    """Soft Dice of a mask and a map in 0..1, both (rows, columns): 1 only for a map that is
    sure.
    """
    # 2·Σ m·p / (Σ m + Σ p) over the pixels, m in {0, 1} and p in 0..1. A map that is 1 in all of
    # the mask and 0 elsewhere gives 1; one that is 0.5 in it and 0 elsewhere gives 2/3
    total = float(np.count_nonzero(mask)) + float(expected.sum())
    return 2 * float(expected[mask].sum()) / total if total else 0.0


def expected_dice(agreed: float, predicted_iou: float) -> float:
    """The mean Dice that masks of this agreement had in cross-validation, 0..1."""
    # a plane through the masks of cross-validation; beyond 0..1 no Dice can be expected
    offset, of_agreement, of_iou = CALIBRATION
    return float(np.clip(offset + of_agreement * agreed + of_iou * predicted_iou, 0.0, 1.0))


CALIBRATION = (-0.31, 0.63, 0.72)
"""Least squares on the cross-validated masks (r = 0.85): constant, per agreement, per predicted
IoU.
"""


def _worth_a_look(maps: OrganMaps, structure: str, grid: Sequence[int], step_mm: float) -> set[int]:
    """The slices of `grid`, `step_mm` apart, that may show the structure: all around those of a
    coarse first look that do, up to the next one of that look and as far as the neighbours'
    agreement carries a sign.

    The lungs need no encoding, so every slice is looked at.
    """
    step = coarse_step(step_mm)
    if step == 1 or structure in LUNGS:
        return set(grid)
    signs = [n for n in slices_drawn(len(grid), step) if maps.hints_at(grid[n], structure)]
    return {grid[n] for n in near(signs, step + maps.reach, len(grid))}


def _unlike(maps: OrganMaps, structure: str, slice_indices: Iterable[int]) -> str:
    """A sentence where none of the slices is like those that the network learnt.

    The lungs' rule learnt nothing, and holds for a whole chest.
    """
    if structure in LUNGS:
        return ""
    return unlike_learnt(maps.distance(z) for z in slice_indices)


def _doubts(slices: Slices) -> tuple[str, ...]:
    """What is in doubt of all answers about a volume."""
    spread = np.unique(np.linspace(0, slices.shape[0] - 1, LOOKED_AT).round().astype(int))
    doubt = doubt_of_view(slices.image(int(z)) for z in spread)
    return (doubt,) if doubt else ()


def _alike(box: Box, other: Box) -> bool:
    """Whether two boxes are the same to a pixel on every side."""
    return (
        max(
            abs(box.x0 - other.x0),
            abs(box.y0 - other.y0),
            abs(box.x1 - other.x1),
            abs(box.y1 - other.y1),
        )
        < 1.0
    )
