"""The seams of the agent: what it needs of a policy, a segmenter and the slices. Fakes:
agent/fakes.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from agent.actions import Action
from agent.turns import Turn, Usage
from agent.values import (
    PromptKind,
    Prompts,
    Role,
    Segmentation,
    Target,
    VolumePrompts,
    VolumeSegmentation,
)


class Encoding(Protocol):
    """A slice as the segmenter's image encoder sees it: made once, prompted many times."""

    @property
    def embedding(self) -> NDArray[np.float32]:
        """Features (channels, h, w) float32; h and w are the model's own."""

    @property
    def high_res(self) -> tuple[NDArray[np.float32], ...]:
        """Finer features (channels, h, w) float32 where the model has them, the finest first; else
        ().
        """

    @property
    def source_shape(self) -> tuple[int, int]:
        """(rows, columns) of the slice that was encoded."""


@dataclass(frozen=True, eq=False)
class PromptedSlice:
    """One question to a segmenter: what to draw on which encoded slice."""

    encoding: Encoding
    prompts: Prompts


class Segmenter(Protocol):
    """A promptable 2-D segmenter."""

    @property
    def name(self) -> str:
        """Name in configuration, traces and results."""

    @property
    def supported_prompts(self) -> frozenset[PromptKind]:
        """The kinds of prompt that improve its answer; others are refused as an observation."""

    def encode(self, image: NDArray[np.float32]) -> Encoding:
        """Run the image encoder on a slice float32 in 0..1: grey (rows, columns) or RGB (rows,
        columns, 3).
        """

    def segment(self, encoding: Encoding, prompts: Prompts) -> Segmentation:
        """The mask for prompts in the slice's own pixels, at the slice's own size."""

    def segment_many(self, asks: Sequence[PromptedSlice]) -> list[Segmentation]:
        """The masks for several asks, in order, on the same or on different slices: one run of the
        decoder where their prompts can share one.
        """


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
        """What part of the intensities `image` shows, in words for the trace; "" when nobody
        said.
        """

    @property
    def levels(self) -> tuple[float, float] | None:
        """The stored intensities that `image` shows as 0 and as 1; None when nobody said."""

    def image(self, z: int) -> NDArray[np.float32]:
        """Slice `z` (rows, columns) float32 in 0..1, windowed as the models see it."""

    def intensities(self, z: int) -> NDArray[np.float32]:
        """Slice `z` (rows, columns) float32 as it was measured (HU for CT), without a window."""

    def picture(self, z: int) -> NDArray[np.float32]:
        """Slice `z` (rows, columns, 3) float32 RGB in 0..1 as a language model sees it; grey is
        repeated.
        """

    def encoding(self, z: int) -> Encoding:
        """The segmenter's encoding of slice `z`; the encoder runs at the first call only."""


@dataclass(frozen=True, eq=False)
class Seed:
    """An object to follow through a volume: its outlines (rows, columns) bool by slice, at least
    one.

    Only slices `lowest` to `highest` (both included) are worked on; None: as far as the volume
    goes.
    """

    masks: Mapping[int, NDArray[np.bool_]]
    lowest: int | None = None
    highest: int | None = None


@dataclass(frozen=True, eq=False)
class PropagatedSlice:
    """Object number `index` as it was drawn on slice `z`; `score` 0..1 how sure the model is that
    it is there.
    """

    index: int
    z: int
    segmentation: Segmentation
    score: float


ContinueIf = Callable[[PropagatedSlice], bool]
"""Whether an object goes on beyond a slice; False ends it in that direction, and that slice is not
kept.
"""


@runtime_checkable
class VolumeSegmenter(Segmenter, Protocol):
    """A segmenter that follows objects from slice to slice by itself (MedSAM2, SAM 2)."""

    def propagate(
        self, slices: Slices, seeds: Sequence[Seed], continue_if: ContinueIf
    ) -> Iterator[PropagatedSlice]:
        """Follow all objects from their outlines, upwards and downwards, and yield each slice as it
        is drawn.

        The seeds' own slices are not yielded. Between two outlines of one object a slice is
        followed from the nearer one. An object is followed until `continue_if` says no, its bounds, or
        the volume's edge. All objects go in one pass over the slices, each slice is encoded once,
        and what is held does not grow with the slices.
        """


@runtime_checkable
class VolumePrompter(Segmenter, Protocol):
    """A promptable 3-D segmenter: a prompt on any slice, the whole object as the answer
    (nnInteractive, VoxTell).

    Its answers on a slice alone are those on a volume of that slice (agent/volume/prompter.py).
    """

    def segment_volume(self, slices: Slices, prompts: VolumePrompts) -> VolumeSegmentation:
        """The object (z, y, x) that `prompts`, all that were given for it so far, ask for.

        The answer depends on nothing else, so a prompter that keeps a session begins it anew unless
        `prompts` go on from its last ones on the same `slices`. SegmenterFailed for no prompt, for
        one of a kind that is not in `supported_prompts`, and for one outside the volume.
        """


@dataclass(frozen=True)
class Assessment:
    """What a policy thinks of a drawn object: `slices` that need correcting, the worst first;
    `replies` as said.
    """

    slices: tuple[int, ...] = ()
    replies: tuple[Reply, ...] = ()


@dataclass(frozen=True)
class Localisation:
    """What a policy thinks of a whole volume before drawing.

    `presence` one value 0..1 a slice, or () from a policy that gives no figures; `key_slices`
    zero-based, best first, empty when absent; `reason` a sentence for a person; `replies` what was
    said, for the record.
    """

    presence: tuple[float, ...]
    key_slices: tuple[int, ...]
    reason: str = ""
    replies: tuple[Reply, ...] = ()

    @property
    def absent(self) -> bool:
        """Whether the structure is nowhere in the volume."""
        return not self.key_slices


@dataclass(frozen=True, eq=False)
class Observation:
    """What the policy is shown in a turn: a pure function of the turns so far.

    `turns` of this episode, oldest first, each with its outcome; `latest` the segmentation of the
    last turn that drew one, `best` the best so far; `carried` (rows, columns) bool the neighbouring
    slice's mask when the structure is carried through the volume; `shown` what the policy was shown
    after each of `turns`: the best mask at that time (rows, columns), None while there was none;
    `supported_prompts` the prompts that the segmenter takes; `opening` the mask it was shown before its
    first turn (under review), if any.
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
    shown: tuple[NDArray[np.bool_] | None, ...] = ()
    supported_prompts: frozenset[PromptKind] = frozenset(PromptKind)
    opening: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Reply:
    """A policy's move: the action it means, the words it used, what they took and the seconds it
    thought.
    """

    action: Action
    text: str = ""
    usage: Usage | None = None
    seconds: float = 0.0


class Policy(Protocol):
    """The planner."""

    @property
    def name(self) -> str:
        """Name in configuration, traces and results."""

    def check(self, target: Target) -> None:
        """Raise UnknownTarget when this policy cannot look for `target`."""

    def localise(self, target: Target, slices: Slices) -> Localisation:
        """Look over the whole volume: where is the target, and is it there at all?"""

    def act(self, observation: Observation) -> Reply:
        """The next action on a slice. On Role.CARRY, Absent means "it ends before this slice"."""

    def score(self, observation: Observation, segmentation: Segmentation) -> float:
        """How good a segmentation is, 0..1, comparable within a target; the highest one is kept."""

    def assess(self, target: Target, slices: Slices, voxels: NDArray[np.bool_]) -> Assessment:
        """Look over a drawn object (z, y, x) bool: which slices should be corrected? None is an
        answer.
        """


@runtime_checkable
class BatchPolicy(Policy, Protocol):
    """A policy that answers several episodes in one go, faster than one by one."""

    def act_many(self, observations: Sequence[Observation]) -> list[Reply]:
        """The next action of each episode, in order; each as `act` would give it."""
