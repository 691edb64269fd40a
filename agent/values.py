"""The frozen values that cross between rooms: volumes, masks, prompts and a segmenter's answers.

Pixel coordinates of a slice are (x, y): x is the column from the left, y the row from the top, zero
at the centre of the first pixel. Arrays are read-only by agreement: no function writes into its
arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from agent.geometry import Geometry


@dataclass(frozen=True, eq=False)
class Volume:
    """Intensities (z, y, x) float32 (HU for CT) on a grid; `modality` as in DICOM ("CT", "MR", …).

    `colour` (z, y, x, 3) uint8 RGB where the image has colours; the intensities are then their
    luminance. `placed` is whether the grid says where it lies in the patient, `sized` whether its
    spacing is in mm: both False for a picture that tells neither. `contrast` is whether contrast
    medium is known to have been given. `window` is what a user wants it shown through, from black
    to white: HU for CT, the unit of the intensities for everything else; None as is fit.
    """

    intensities: NDArray[np.float32]
    geometry: Geometry
    modality: str
    colour: NDArray[np.uint8] | None = None
    placed: bool = True
    sized: bool = True
    contrast: bool = False
    window: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.intensities.shape != self.geometry.shape:
            raise ValueError(
                f"intensities {self.intensities.shape} do not fill the grid {self.geometry.shape}"
            )
        if self.colour is not None and self.colour.shape != (*self.geometry.shape, 3):
            raise ValueError(f"colour {self.colour.shape} does not fill the grid in RGB")


@dataclass(frozen=True)
class ImageFacts:
    """What is known of an image's slices, "" and False where it is not: the `plane` ("axial"), what
    of the patient is at the `left` and `top` edge ("right", "front"), whether the spacing is in mm
    (`sized`), and whether contrast medium was given (`contrast`).
    """

    plane: str = ""
    left: str = ""
    top: str = ""
    sized: bool = False
    contrast: bool = False


UNTOLD_FACTS = ImageFacts()
"""Of an image of which nobody says how it lies."""

AXIAL = ImageFacts("axial", "right", "front", sized=True)
"""Of the slices of a volume whose place and spacing are known."""


@dataclass(frozen=True, eq=False)
class Mask:
    """A structure's voxels (z, y, x) bool on a grid."""

    voxels: NDArray[np.bool_]
    geometry: Geometry

    def __post_init__(self) -> None:
        if self.voxels.shape != self.geometry.shape:
            raise ValueError(
                f"voxels {self.voxels.shape} do not fill the grid {self.geometry.shape}"
            )

    @property
    def volume_ml(self) -> float:
        """Millilitres inside the mask."""
        return float(np.count_nonzero(self.voxels)) * self.geometry.voxel_ml


@dataclass(frozen=True)
class Target:
    """What a request asks for: `text` in the user's words, `structure` its key in the catalogue.

    Keys are snake case, such as "left_kidney"; None is free text without a catalogue entry.
    """

    text: str
    structure: str | None = None


@dataclass(frozen=True)
class Point:
    """A click at pixel (x, y); `positive` inside the structure, otherwise outside."""

    x: float
    y: float
    positive: bool = True


@dataclass(frozen=True)
class Box:
    """A box in pixels, both corners included; ValueError unless finite, x0 <= x1 and y0 <= y1."""

    x0: float
    y0: float
    x1: float
    y1: float

    def __post_init__(self) -> None:
        corners = (self.x0, self.y0, self.x1, self.y1)
        if not all(np.isfinite(corners)) or self.x1 < self.x0 or self.y1 < self.y0:
            raise ValueError(f"a box needs x0 <= x1 and y0 <= y1, not {corners}")

    def grown(self, margin_px: float, shape: tuple[int, int]) -> Box:
        """This box widened by `margin_px` on each side, cut to `shape` (rows, columns)."""
        rows, columns = shape
        return Box(
            x0=min(max(self.x0 - margin_px, 0), columns - 1),
            y0=min(max(self.y0 - margin_px, 0), rows - 1),
            x1=max(min(self.x1 + margin_px, columns - 1), 0),
            y1=max(min(self.y1 + margin_px, rows - 1), 0),
        )

    @classmethod
    def around(cls, mask: NDArray[np.bool_]) -> Box:
        """The tight box of a non-empty mask (rows, columns); ValueError when it is empty."""
        rows, columns = np.nonzero(mask)
        if rows.size == 0:
            raise ValueError("an empty mask has no box")
        return cls(float(columns.min()), float(rows.min()), float(columns.max()), float(rows.max()))


class PromptKind(StrEnum):
    """The kinds of prompt of a segmenter."""

    BOX = "box"
    POINT = "point"
    MASK = "mask"
    TEXT = "text"
    SCRIBBLE = "scribble"  # of a VolumePrompter only


@dataclass(frozen=True, eq=False)
class Prompts:
    """All prompts so far on one slice: the box, the clicks, the best answer's low-res logits.

    `mask` (rows, columns) bool is a mask to start from, used where there are no logits yet; `text`
    names the structure for a segmenter that takes text.
    """

    box: Box | None = None
    points: tuple[Point, ...] = ()
    previous_logits: NDArray[np.float32] | None = None
    mask: NDArray[np.bool_] | None = None
    text: str = ""


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A segmenter's answer on one slice.

    `mask` (rows, columns) bool at the slice's own size; `logits` (h, w) float32 at the model's
    low resolution, > 0 inside; `predicted_iou` the model's own estimate, 0..1. Of several
    candidates this one has the index `choice`; `candidate_ious` are the model's estimates of all.
    """

    mask: NDArray[np.bool_]
    logits: NDArray[np.float32]
    predicted_iou: float
    choice: int = 0
    candidate_ious: tuple[float, ...] = ()

    def masks_from(self, slice_index: int) -> Mapping[int, NDArray[np.bool_]]:
        """What was drawn for a prompt on slice `slice_index`, by slice: this mask alone."""
        return {slice_index: self.mask}

    @classmethod
    def of_mask(cls, mask: NDArray[np.bool_]) -> Segmentation:
        """A mask (rows, columns) bool whose logits are gone."""
        return cls(mask, np.zeros((0, 0), dtype=np.float32), 0.0)


@dataclass(frozen=True)
class VoxelPoint:
    """A click in a volume: slice `z`, row `y`, column `x`, zero-based voxel indices of the working
    grid with zero at the centre of the first voxel; only `y` and `x` may have fractions.
    """

    z: int
    y: float
    x: float
    positive: bool = True


@dataclass(frozen=True)
class VoxelBox:
    """A box in a volume, voxel indices as in VoxelPoint, both corners included.

    A box that was drawn on one slice has `z0` = `z1`. ValueError unless each first index is finite
    and at most the last.
    """

    z0: int
    y0: float
    x0: float
    z1: int
    y1: float
    x1: float

    def __post_init__(self) -> None:
        first, last = (self.z0, self.y0, self.x0), (self.z1, self.y1, self.x1)
        if not all(np.isfinite((*first, *last))) or np.greater(first, last).any():
            raise ValueError(f"a box needs z0 <= z1, y0 <= y1 and x0 <= x1, not {first}, {last}")

    @classmethod
    def on_slice(cls, z: int, box: Box) -> VoxelBox:
        """The box of slice `z` as a box of the volume, one slice thick."""
        return cls(z, box.y0, box.x0, z, box.y1, box.x1)


@dataclass(frozen=True, eq=False)
class Scribble:
    """A line drawn freely inside (`positive`) or outside the structure: its `voxels` (n, 3) int64
    as (z, y, x) indices, at least one; ValueError otherwise.
    """

    voxels: NDArray[np.int64]
    positive: bool = True

    def __post_init__(self) -> None:
        if self.voxels.ndim != 2 or self.voxels.shape[1] != 3 or not len(self.voxels):
            raise ValueError(f"a scribble is (n, 3) voxels, n > 0, not {self.voxels.shape}")


@dataclass(frozen=True, eq=False)
class VolumePrompts:
    """All prompts so far for one object in a volume, in voxel indices of the working grid.

    `boxes` and `points` in the order in which they came; `mask` (z, y, x) bool the object to start
    from, which the other prompts correct; `text` names the structure where text is supported.
    """

    boxes: tuple[VoxelBox, ...] = ()
    points: tuple[VoxelPoint, ...] = ()
    scribbles: tuple[Scribble, ...] = ()
    mask: NDArray[np.bool_] | None = None
    text: str = ""

    @classmethod
    def on_slice(
        cls, z: int, prompts: Prompts, mask: NDArray[np.bool_] | None = None
    ) -> VolumePrompts:
        """Box, clicks and text of slice `z` as prompts of the volume, with the object to start
        from; mask and logits of the slice alone are left out.
        """
        return cls(
            boxes=() if prompts.box is None else (VoxelBox.on_slice(z, prompts.box),),
            points=tuple(VoxelPoint(z, p.y, p.x, p.positive) for p in prompts.points),
            mask=mask,
            text=prompts.text,
        )

    @property
    def kinds(self) -> frozenset[PromptKind]:
        """The kinds of prompt that there are; a mask without a voxel is none."""
        present = {
            PromptKind.BOX: bool(self.boxes),
            PromptKind.POINT: bool(self.points),
            PromptKind.SCRIBBLE: bool(self.scribbles),
            PromptKind.MASK: self.mask is not None and bool(self.mask.any()),
            PromptKind.TEXT: bool(self.text),
        }
        return frozenset(kind for kind, is_present in present.items() if is_present)


@dataclass(frozen=True, eq=False)
class VolumeSegmentation:
    """A 3-D segmenter's answer: `mask` (z, y, x) bool on the working grid; `score` 0..1, the
    model's own estimate; `logits` (z, y, x) float32, > 0 inside, where the model has them.

    The best of an episode's answers is kept by their scores. A prompter of a model without an
    estimate computes one, such as the agreement with the prompts: a constant score would undo every
    correction.
    """

    mask: NDArray[np.bool_]
    score: float
    logits: NDArray[np.float32] | None = None


class Role(StrEnum):
    """What a turn is for. The values stand in traces and the record.

    SURVEY: the policy localises the target in the whole volume. KEY: work on a key slice. CARRY: a
    slice beside one with a mask. INSPECT: the policy assesses the whole object. REVIEW: a slice
    that does not fit, or that the assessment has named, is corrected. FILL: the slices between two
    drawn ones that agree were interpolated; no model was asked.
    """

    SURVEY = "survey"
    KEY = "key"
    CARRY = "carry"
    INSPECT = "inspect"
    REVIEW = "review"
    FILL = "fill"


class TargetStatus(StrEnum):
    """How a target ended.

    UNCERTAIN: something is there that could neither be drawn nor be called absent.
    """

    SEGMENTED = "segmented"
    ABSENT = "absent"
    UNCERTAIN = "uncertain"
    FAILED = "failed"
