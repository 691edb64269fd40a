"""The seams of the agent: what it needs of a policy, a segmenter and the slices. Fakes: agent/fakes.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from agent.actions import Action
from agent.turns import Turn
from agent.values import PromptKind, Prompts, Role, Segmentation, Target


class Encoding(Protocol):
    """A slice as the segmenter's image encoder sees it: made once, prompted many times."""

    @property
    def embedding(self) -> NDArray[np.float32]:
        """Features (channels, h, w) float32; h and w are the model's own."""

    @property
    def source_shape(self) -> tuple[int, int]:
        """(rows, columns) of the slice that was encoded."""


class Segmenter(Protocol):
    """A promptable 2-D segmenter."""

    @property
    def name(self) -> str:
        """Name in configuration, traces and results."""

    @property
    def understands(self) -> frozenset[PromptKind]:
        """The kinds of prompt that improve its answer; others are refused as an observation."""

    def encode(self, image: NDArray[np.float32]) -> Encoding:
        """Run the image encoder on a slice (rows, columns) float32 in 0..1."""

    def segment(self, encoding: Encoding, prompts: Prompts) -> Segmentation:
        """The mask for prompts in the slice's own pixels, at the slice's own size."""


class Slices(Protocol):
    """The axial slices of one volume on the working grid: rows run front to back, columns from the
    patient's right to left, slice 0 is the lowest (feet), pixels are square.
    """

    @property
    def shape(self) -> tuple[int, int, int]:
        """(z, y, x) of the working grid."""

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """(z, y, x) of the working grid, mm."""

    @property
    def window(self) -> str:
        """What part of the intensities `image` shows, in words for the trace; "" when nobody said."""

    def image(self, z: int) -> NDArray[np.float32]:
        """Slice `z` (rows, columns) float32 in 0..1, windowed as the models see it."""

    def encoding(self, z: int) -> Encoding:
        """The segmenter's encoding of slice `z`; the encoder runs at the first call only."""


@dataclass(frozen=True)
class Survey:
    """What a policy thinks of a whole volume before drawing.

    `presence` one value 0..1 a slice; `key_slices` zero-based, best first, empty when absent;
    `reason` a sentence for a person.
    """

    presence: tuple[float, ...]
    key_slices: tuple[int, ...]
    reason: str = ""

    @property
    def absent(self) -> bool:
        """Whether the structure is nowhere in the volume."""
        return not self.key_slices


@dataclass(frozen=True, eq=False)
class Observation:
    """What the policy is shown in a turn: a pure function of the turns so far.

    `turns` of this episode, oldest first, each with its outcome; `latest` the segmentation of the
    last turn that drew one, `best` the best so far; `carried` (rows, columns) bool the neighbouring
    slice's mask when the structure is carried through the volume.
    """

    target: Target
    slices: Slices
    slice_index: int
    role: Role
    turns: tuple[Turn, ...] = ()
    latest: Segmentation | None = None
    best: Segmentation | None = None
    carried: NDArray[np.bool_] | None = None
    turns_left: int = 1


@dataclass(frozen=True)
class Reply:
    """A policy's move: the action it means and the words it used."""

    action: Action
    text: str = ""


class Policy(Protocol):
    """The planner."""

    @property
    def name(self) -> str:
        """Name in configuration, traces and results."""

    def check(self, target: Target) -> None:
        """Raise UnknownTarget when this policy cannot look for `target`."""

    def survey(self, target: Target, slices: Slices) -> Survey:
        """Look over the whole volume: where is the target, and is it there at all?"""

    def act(self, observation: Observation) -> Reply:
        """The next action on a slice. On Role.CARRY, Absent means "it ends before this slice"."""

    def appraise(self, observation: Observation, segmentation: Segmentation) -> float:
        """How good a segmentation is, 0..1, comparable within a target; the highest one is kept."""
