"""The policy and the segmenter of a record: they say and draw what was said and drawn.

agent/replay.py runs the loop with them. Both are led by a `Recording`, which knows how far each
slice has come.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from agent.actions import Absent, NameSlices
from agent.conditions import Conditions
from agent.errors import ChatFailed, NoAnswer, SegmenterFailed
from agent.knowledge import ANYTHING
from agent.ports import (
    Assessment,
    ContinueIf,
    Encoding,
    Localisation,
    Observation,
    PromptedSlice,
    PropagatedSlice,
    Reply,
    Seed,
    Slices,
)
from agent.trace import TracedTarget
from agent.turns import WHOLE_VOLUME, Outcome, Turn
from agent.values import (
    UNTOLD_FACTS,
    ImageFacts,
    PromptKind,
    Prompts,
    Role,
    Segmentation,
    Target,
    TargetStatus,
    VolumePrompts,
    VolumeSegmentation,
)
from agent.volume.prompter import SlicesAsVolumes

_NOTHING = np.zeros((0, 0), dtype=np.float32)
_FAILED = "the segmenter failed: "  # how an observation begins where it did
_COMPARED = (
    "role",
    "action",
    "outcome",
    "observation",
    "area_px",
    "predicted_iou",
    "score",
    "slice_scores",
    "masks",
)


class Differs(Exception):
    """What was found again is not what was recorded. It is no AgentError: the loop, which ends a
    target with those, lets it through to agent/replay.py.
    """


def name_of(turn: Turn) -> str:
    """A turn, for a person: "turn 0 on slice 12", both counted from 0."""
    whole = turn.slice_index == WHOLE_VOLUME
    return f"turn {turn.index} {'of' if whole else 'on'} {turn.place}"


@dataclass(frozen=True, eq=False)
class ReplayedTurn:
    """A recorded turn and what the policy was shown before it: `observation` on a slice; of the
    whole volume `voxels` (z, y, x) bool, the object it looked over, or what was followed to or
    interpolated, None before there was one. `masks` (rows, columns) bool by slice are what the turn
    drew.
    """

    turn: Turn
    observation: Observation | None = None
    voxels: NDArray[np.bool_] | None = None
    masks: Mapping[int, NDArray[np.bool_]] = field(default_factory=dict)


class Recording:
    """A target's turns with their masks, how far each slice has come, and what was shown."""

    def __init__(
        self,
        traced: TracedTarget,
        masks: Mapping[tuple[int, int], Mapping[int, NDArray[np.bool_]]],
    ) -> None:
        self.traced, self._masks = traced, masks
        self._turns = {(turn.slice_index, turn.index): turn for turn in traced.turns}
        self._count: dict[int, int] = {}
        self._reached: set[tuple[int, int]] = set()
        self._replayed: dict[tuple[int, int], ReplayedTurn] = {}
        self._followed = iter(
            [turn for turn in self.of_role(Role.CARRY) if turn.slice_index == WHOLE_VOLUME]
        )
        self.latest_slice = WHOLE_VOLUME
        self.scores: dict[int, float] = {}

    def of_role(self, role: Role) -> list[Turn]:
        """The turns of a role, in order."""
        return [turn for turn in self.traced.turns if turn.role is role]

    def act(self, observation: Observation) -> Turn:
        """The next turn on a slice, before which the policy is shown `observation`."""
        z = observation.slice_index
        for earlier in observation.turns:
            self.check(earlier)
        index = self._count.get(z, 0)
        turn = self._turns.get((z, index))
        if turn is None and self.traced.status is TargetStatus.FAILED:
            raise ChatFailed(self.traced.reason)  # the policy could not go on, here or elsewhere
        if turn is None:
            raise Differs(f"turn {index} on slice {z} is missing in the record")
        self._count[z], self.latest_slice = index + 1, z
        self._replayed[(z, index)] = ReplayedTurn(turn, observation)
        return turn

    def current(self, z: int) -> Turn:
        """The latest turn that was begun on slice `z`."""
        return self._turns[(z, self._count[z] - 1)]

    def masks_of(self, turn: Turn) -> Mapping[int, NDArray[np.bool_]]:
        """What a turn drew, by slice; nothing for one that drew nothing."""
        return self._masks.get((turn.slice_index, turn.index), {})

    def next_followed(self, shape: tuple[int, int, int]) -> Turn | None:
        """The next turn in which a segmenter drew slices by itself; `scores` are those of its
        slices from now on.
        """
        turn = next(self._followed, None)
        if turn is not None and isinstance(turn.action, NameSlices):
            self.scores = dict(zip(turn.action.slices, turn.slice_scores, strict=True))
            self._replayed[(turn.slice_index, turn.index)] = ReplayedTurn(
                turn, voxels=stacked(self.masks_of(turn), shape)
            )
        return turn

    def look_over(self, voxels: NDArray[np.bool_]) -> None:
        """The policy is shown an object."""
        for turn in self.of_role(Role.INSPECT):
            self._replayed[(turn.slice_index, turn.index)] = ReplayedTurn(turn, voxels=voxels)

    def check(self, turn: Turn) -> None:
        """Differs unless a turn is as recorded, but for its seconds."""
        key = (turn.slice_index, turn.index)
        recorded = self._turns.get(key)
        if recorded is None:
            raise Differs(f"{name_of(turn)} is missing in the record")
        for label in _COMPARED:
            before, now = getattr(recorded, label), getattr(turn, label)
            if label == "masks" and before != now:
                raise Differs(f"{name_of(turn)} leads to another mask than the recorded one")
            if before != now:
                raise Differs(
                    f"{name_of(turn)} does not agree: recorded {label} {before!s}, now {now!s}"
                )
        self._reached.add(key)

    def is_reached(self, turn: Turn) -> bool:
        """Whether a turn was come to again."""
        return (turn.slice_index, turn.index) in self._reached

    def replayed(self, turn: Turn) -> ReplayedTurn:
        """A turn with what was shown before it."""
        masks = self.masks_of(turn)
        replayed = self._replayed.get((turn.slice_index, turn.index), ReplayedTurn(turn))
        if turn.role is Role.FILL and self.traced.conditions is not None:
            replayed = ReplayedTurn(turn, voxels=stacked(masks, self.traced.conditions.shape))
        return replace(replayed, masks=masks)


class RecordedPolicy:
    """Says what was said and scores as was scored (agent.ports.Policy)."""

    name = "recorded"
    knowledge = ANYTHING  # what the policy did not know ends where it is looked for

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    def localise(self, target: Target, slices: Slices) -> Localisation:  # noqa: ARG002  as recorded
        """What was found in the volume; NoAnswer or ChatFailed where that was the end."""
        traced, answers = self._recording.traced, self._recording.of_role(Role.SURVEY)
        replies = tuple(map(_reply, answers))
        match answers[-1].action if answers else None:
            case NameSlices(named):
                return Localisation(traced.presence, named, replies=replies)
            case Absent(reason):
                return Localisation(traced.presence, (), reason, replies)
            case None:
                return self._without_words()
            case _:
                raise NoAnswer(traced.reason, replies)

    def act(self, observation: Observation) -> Reply:
        """What was said before the next turn on this slice."""
        return _reply(self._recording.act(observation))

    def score(self, observation: Observation, segmentation: Segmentation) -> float:
        """The score that was given to the turn at work, or to a slice that was drawn beside it."""
        recording, z = self._recording, observation.slice_index
        if not recording.scores and z != recording.latest_slice:
            recording.next_followed(observation.slices.shape)
        if z in recording.scores:
            certainty = segmentation.predicted_iou
            return recording.scores.pop(z) / certainty if certainty else 0.0
        score = recording.current(z).score
        return math.nan if score is None else score

    def assess(
        self,
        target: Target,  # noqa: ARG002  as recorded
        slices: Slices,  # noqa: ARG002  as recorded
        voxels: NDArray[np.bool_],
    ) -> Assessment:
        """What was found wrong; NoAnswer where nothing could be read."""
        replies = tuple(map(_reply, self._recording.of_role(Role.INSPECT)))
        self._recording.look_over(voxels)
        assessed = self._recording.traced.assessed
        if assessed is None and replies:
            raise NoAnswer("as recorded", replies)
        return Assessment(assessed or (), replies)

    def _without_words(self) -> Localisation:
        """The survey of a policy that gave figures only: its key slices are those worked on."""
        traced = self._recording.traced
        keys = dict.fromkeys(turn.slice_index for turn in self._recording.of_role(Role.KEY))
        if not keys and traced.status not in (TargetStatus.ABSENT, TargetStatus.UNCERTAIN):
            raise ChatFailed(traced.reason)
        # uncertain before anything was drawn: the reason is the survey's own
        unlike = traced.reason if not keys and traced.status is TargetStatus.UNCERTAIN else ""
        return Localisation(traced.presence, tuple(keys), traced.reason, unlike=unlike)


class RecordedSegmenter:
    """Draws what was drawn (agent.ports.Segmenter)."""

    name = "recorded"

    def __init__(self, recording: Recording, supported_prompts: frozenset[PromptKind]) -> None:
        self._recording, self.supported_prompts = recording, supported_prompts

    def encode(self, image: NDArray[np.float32]) -> Encoding:
        """Nothing is encoded; ValueError."""
        raise ValueError(f"a record encodes no slice, not one of {image.shape}")

    def segment(self, encoding: Encoding, prompts: Prompts) -> Segmentation:  # noqa: ARG002  as recorded
        """The mask of the turn at work; SegmenterFailed where the segmenter failed."""
        if not isinstance(encoding, SliceName):
            raise SegmenterFailed("this encoding was made by another segmenter")
        turn = self._recording.current(encoding.slice_index)
        mask = self._recording.masks_of(turn).get(encoding.slice_index)
        if mask is None:
            _fail_as_recorded(turn)
            mask = np.zeros(encoding.source_shape, dtype=np.bool_)
        return _segmentation(turn, mask)

    def segment_many(self, asks: Sequence[PromptedSlice]) -> list[Segmentation]:
        """The masks of the turns at work, one an ask."""
        return [self.segment(ask.encoding, ask.prompts) for ask in asks]


class RecordedFollower(RecordedSegmenter):
    """Follows to the slices that were followed to (agent.ports.VolumeSegmenter)."""

    _was_asked = False

    def propagate(
        self,
        slices: Slices,
        seeds: Sequence[Seed],  # noqa: ARG002  as recorded
        continue_if: ContinueIf,  # noqa: ARG002  as recorded
    ) -> Iterator[PropagatedSlice]:
        """The slices of the next turn that followed; SegmenterFailed where there was none."""
        recording, first = self._recording, not self._was_asked
        self._was_asked = True
        carried = any(turn.slice_index != WHOLE_VOLUME for turn in recording.of_role(Role.CARRY))
        if first and carried:
            raise SegmenterFailed("the slices were carried one by one")
        turn = recording.next_followed(slices.shape)
        if turn is None:
            raise SegmenterFailed("nothing more was followed")
        for z, mask in recording.masks_of(turn).items():
            yield PropagatedSlice(0, z, Segmentation(mask, _NOTHING, 1.0), 1.0)


class RecordedPrompter(SlicesAsVolumes):
    """Draws the objects that were drawn (agent.ports.VolumePrompter)."""

    name = "recorded"

    def __init__(self, recording: Recording, supported_prompts: frozenset[PromptKind]) -> None:
        self._recording, self.supported_prompts = recording, supported_prompts

    def segment_volume(self, slices: Slices, prompts: VolumePrompts) -> VolumeSegmentation:  # noqa: ARG002  as recorded
        """The object of the turn at work; SegmenterFailed where the segmenter failed."""
        turn = self._recording.current(self._recording.latest_slice)
        masks = self._recording.masks_of(turn)
        if not masks:
            _fail_as_recorded(turn)
        return VolumeSegmentation(stacked(masks, slices.shape), turn.predicted_iou or 0.0)


@dataclass(frozen=True)
class SliceName:
    """A slice's number in place of its encoding (agent.ports.Encoding)."""

    slice_index: int
    source_shape: tuple[int, int]

    @property
    def embedding(self) -> NDArray[np.float32]:
        """Nothing."""
        return _NOTHING

    @property
    def high_res(self) -> tuple[NDArray[np.float32], ...]:
        """Nothing."""
        return ()


@dataclass(frozen=True)
class GridOnly:
    """The working grid of a record without its pixels (agent.ports.Slices)."""

    conditions: Conditions
    window: str = ""
    modality: str = ""
    facts: ImageFacts = UNTOLD_FACTS

    @property
    def shape(self) -> tuple[int, int, int]:
        """(z, y, x) of the working grid."""
        return self.conditions.shape

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """(z, y, x) of the working grid, mm."""
        return self.conditions.spacing_mm

    @property
    def levels(self) -> tuple[float, float] | None:
        """As recorded."""
        return self.conditions.levels

    def image(self, z: int) -> NDArray[np.float32]:
        """No pixels; ValueError."""
        raise ValueError(f"a record holds no pixels of slice {z}")

    def intensities(self, z: int) -> NDArray[np.float32]:
        """No pixels; ValueError."""
        return self.image(z)

    def picture(self, z: int) -> NDArray[np.float32]:
        """No pixels; ValueError."""
        return self.image(z)

    def encoding(self, z: int) -> Encoding:
        """The slice's number."""
        return SliceName(z, self.shape[1:])


def stacked(
    masks: Mapping[int, NDArray[np.bool_]], shape: tuple[int, int, int]
) -> NDArray[np.bool_]:
    """Masks (rows, columns) by slice as one object (z, y, x)."""
    voxels = np.zeros(shape, dtype=np.bool_)
    for z, mask in masks.items():
        voxels[z] = mask
    return voxels


def _fail_as_recorded(turn: Turn) -> None:
    if turn.outcome is Outcome.NO_MASK and turn.observation.startswith(_FAILED):
        raise SegmenterFailed(turn.observation.removeprefix(_FAILED))


def _segmentation(turn: Turn, mask: NDArray[np.bool_]) -> Segmentation:
    iou = 0.0 if turn.predicted_iou is None else turn.predicted_iou
    return Segmentation(mask, _NOTHING, iou, turn.mask_choice or 0, turn.candidate_ious)


def _reply(turn: Turn) -> Reply:
    return Reply(turn.action, turn.reply, turn.usage)
