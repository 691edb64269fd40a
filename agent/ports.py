"""The agent's seams: Policy, Segmenter, Slices, and what passes between them.

The fakes are in agent/fakes.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from agent.actions import Action
from agent.knowledge import Knowledge
from agent.turns import Turn, Usage
from agent.values import (
    ImageFacts,
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
        """Finer features (channels, h, w) float32, the finest first; () from a model without."""

    @property
    def source_shape(self) -> tuple[int, int]:
        """(rows, columns) of the slice that was encoded."""


@dataclass(frozen=True, eq=False)
class PromptedSlice:
    """What a segmenter is asked: prompts on an encoded slice."""

    encoding: Encoding
    prompts: Prompts


class Segmenter(Protocol):
    """A promptable 2-D segmenter."""

    @property
    def name(self) -> str:
        """Name in configuration, traces and results."""

    @property
    def supported_prompts(self) -> frozenset[PromptKind]:
        """The kinds of prompt that it uses; others are refused, which is an observation."""

    def encode(self, image: NDArray[np.float32]) -> Encoding:
        """Run the image encoder on a slice float32 in 0..1: (rows, columns), or (…, 3) in RGB."""

    def segment(self, encoding: Encoding, prompts: Prompts) -> Segmentation:
        """The mask for prompts in the slice's own pixels, at the slice's own size."""

    def segment_many(self, asks: Sequence[PromptedSlice]) -> list[Segmentation]:
        """The masks for prompts on the same or on different slices, in order: one run of the
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
    def modality(self) -> str:
        """As in DICOM ("CT", "MR", …); "" or "OT" of an image that does not tell."""

    @property
    def facts(self) -> ImageFacts:
        """What is known of how the slices lie and were made."""

    @property
    def window(self) -> str:
        """The part of the intensities that `image` shows, in words for the trace; "" if unknown."""

    @property
    def levels(self) -> tuple[float, float] | None:
        """The intensities that `image` shows as 0 and as 1; None if unknown."""

    def image(self, z: int) -> NDArray[np.float32]:
        """Slice `z` (rows, columns) float32 in 0..1, windowed as the models see it."""

    def intensities(self, z: int) -> NDArray[np.float32]:
        """Slice `z` (rows, columns) float32 as it was measured (HU for CT), without a window."""

    def picture(self, z: int) -> NDArray[np.float32]:
        """Slice `z` (rows, columns, 3) float32 RGB in 0..1 for a language model; grey repeated."""

    def encoding(self, z: int) -> Encoding:
        """The segmenter's encoding of slice `z`; the encoder runs at the first call only."""


@dataclass(frozen=True, eq=False)
class Seed:
    """An object to propagate: its masks (rows, columns) bool by slice, at least one of them.

    Only slices `lowest` to `highest`, both included, are drawn; None is the volume's edge.
    """

    masks: Mapping[int, NDArray[np.bool_]]
    lowest: int | None = None
    highest: int | None = None


@dataclass(frozen=True, eq=False)
class PropagatedSlice:
    """Object number `index` on slice `z`; `score` 0..1 is the model's, for its presence there.

    `break_off` says, for a person, why the object is not to be followed there although something
    was drawn; "" where it is.
    """

    index: int
    z: int
    segmentation: Segmentation
    score: float
    break_off: str = ""


ContinueIf = Callable[[PropagatedSlice], bool]
"""Whether an object goes on beyond a slice; False ends it before that slice."""


@runtime_checkable
class VolumeSegmenter(Segmenter, Protocol):
    """A segmenter that propagates objects from slice to slice by itself (MedSAM2, SAM 2)."""

    def propagate(
        self, slices: Slices, seeds: Sequence[Seed], continue_if: ContinueIf
    ) -> Iterator[PropagatedSlice]:
        """Propagate all objects from their outlines, up and down; yields each slice as it is drawn.

        The seeds' own slices are not yielded. A slice between two outlines of one object is drawn
        from the nearer one. An object ends where `continue_if` is False, at its bounds, or at the
        volume's edge. All objects go in one pass over the slices, each slice is encoded once, and
        memory does not grow with the number of slices.
        """


@runtime_checkable
class VolumePrompter(Segmenter, Protocol):
    """A promptable 3-D segmenter: a prompt on any slice, the whole object as the answer
    (nnInteractive, VoxTell).

    On a single slice it works as on a volume of one slice (agent/volume/prompter.py).
    """

    def segment_volume(self, slices: Slices, prompts: VolumePrompts) -> VolumeSegmentation:
        """The object (z, y, x) for `prompts`, which are all its prompts so far.

        The answer depends on nothing else, so a prompter that keeps a session begins it anew unless
        `prompts` go on from its last ones on the same `slices`. SegmenterFailed for no prompt, for
        one of a kind that is not in `supported_prompts`, and for one outside the volume.
        """


@dataclass(frozen=True)
class Assessment:
    """A policy's opinion of an object: the `slices` to correct, the worst first, and `replies`."""

    slices: tuple[int, ...] = ()
    replies: tuple[Reply, ...] = ()


@dataclass(frozen=True)
class Localisation:
    """Where in a volume a policy takes the target to be.

    `presence` one value 0..1 a slice, or () from a policy that gives no figures; `key_slices`
    zero-based, the best first, empty when absent; `reason` a sentence for a person; `replies` for
    the record; `doubts` sentences about the answer, whatever it is; `unlike` one that says that
    the view is unlike what the policy learnt, "" where it is not: no answer is then believed.
    """

    presence: tuple[float, ...]
    key_slices: tuple[int, ...]
    reason: str = ""
    replies: tuple[Reply, ...] = ()
    doubts: tuple[str, ...] = ()
    unlike: str = ""

    @property
    def absent(self) -> bool:
        """Whether the structure is nowhere in the volume."""
        return not self.key_slices


@dataclass(frozen=True, eq=False)
class Observation:
    """What the policy is shown in a turn: a pure function of the turns so far.

    `turns` of this episode, oldest first, each with its outcome; `latest` the last segmentation,
    `best` the best one so far; `carried` (rows, columns) bool the mask that the neighbouring slices
    suggest; `best_masks` the best mask (rows, columns) bool after each of `turns`, None while there
    was none; `supported_prompts` those of the segmenter; `opening` the mask under review that was
    shown before the first turn, if any; `doubt` a sentence that says why a slice is under review;
    `object_outline` (rows, columns) bool what was drawn on the other slices, where the policy named
    this one when it was shown that much.
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
    best_masks: tuple[NDArray[np.bool_] | None, ...] = ()
    supported_prompts: frozenset[PromptKind] = frozenset(PromptKind)
    opening: NDArray[np.bool_] | None = None
    doubt: str = ""
    object_outline: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Reply:
    """A policy's move: its `action`, the model's `text`, the `usage` and `seconds` of both."""

    action: Action
    text: str = ""
    usage: Usage | None = None
    seconds: float = 0.0


class Policy(Protocol):
    """The planner."""

    @property
    def name(self) -> str:
        """Name in configuration, traces and results."""

    @property
    def knowledge(self) -> Knowledge:
        """The structures and modalities that it was made for."""

    def localise(self, target: Target, slices: Slices) -> Localisation:
        """Where in the whole volume the target is, or that it is absent."""

    def act(self, observation: Observation) -> Reply:
        """The next action on a slice. For Role.CARRY, Absent: the target ends before this slice."""

    def score(self, observation: Observation, segmentation: Segmentation) -> float:
        """How good a segmentation is, 0..1, comparable within a target; the highest one is kept."""

    def assess(self, target: Target, slices: Slices, voxels: NDArray[np.bool_]) -> Assessment:
        """Which slices of an object (z, y, x) bool need correction; there may be none."""


@runtime_checkable
class BatchPolicy(Policy, Protocol):
    """A policy that answers several episodes in one call, faster than one by one."""

    def act_many(self, observations: Sequence[Observation]) -> list[Reply]:
        """The next action of each episode, in order; each as `act` would give it."""
