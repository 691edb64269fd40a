"""Fakes that ship with the product: no weights, no chance, the same answer every time.

`FakeSegmenter` and `ThresholdPolicy` work end to end on any image whose structures differ in
brightness (`segnode segment --policy threshold --segmenter fake`); `ScriptedPolicy` and
`ScriptedSegmenter` follow a script, for tests that need one exact course of events.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from agent.actions import Absent, Action, AddBox, Stop
from agent.errors import SegmenterFailed, UnknownTarget
from agent.fake_drawing import (
    CLICK_RADIUS_PX,
    PROPAGATION_TOLERANCE,
    ball,
    bright_as_centre,
    bright_in_volume,
    filled_share,
    largest_island,
    low_res,
    overlapping_island,
)
from agent.knowledge import ANYTHING, Knowledge
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
    Segmenter,
    Slices,
)
from agent.values import (
    AXIAL,
    Box,
    ImageFacts,
    Point,
    PromptKind,
    Prompts,
    Role,
    Segmentation,
    Target,
    VolumePrompts,
    VolumeSegmentation,
)
from agent.volume.prompter import SlicesAsVolumes
from agent.volume.propagation_order import PropagationPath, paths_of, sweep

_MARGIN_PX = 2.0  # the box is drawn this far outside the structure


@dataclass(frozen=True, eq=False)
class FakeEncoding:
    """A slice as the fake's encoder sees it: the image itself, and an embedding of one channel."""

    image: NDArray[np.float32]

    @property
    def embedding(self) -> NDArray[np.float32]:
        """The image at low resolution, (1, h, w) float32."""
        return low_res(self.image)[None]

    @property
    def high_res(self) -> tuple[NDArray[np.float32], ...]:
        """No finer features."""
        return ()

    @property
    def source_shape(self) -> tuple[int, int]:
        """(rows, columns) of the slice."""
        rows, columns = self.image.shape
        return rows, columns


class FakeSegmenter:
    """Fills the box where it is as bright as at its centre; clicks add and remove discs of 3 px.

    Without a box the positive clicks' discs are the mask. `predicted_iou` is the share of the
    mask's tight box that is filled, so a mask that fills its box well scores high.
    """

    name = "fake"
    supported_prompts = frozenset({PromptKind.BOX, PromptKind.POINT})

    def encode(self, image: NDArray[np.float32]) -> FakeEncoding:
        """Keep the slice (rows, columns) float32; of RGB (rows, columns, 3) the mean."""
        return FakeEncoding(image if image.ndim == 2 else image.mean(axis=2))

    def segment_many(self, asks: Sequence[PromptedSlice]) -> list[Segmentation]:
        """One mask an ask, in order."""
        return [self.segment(ask.encoding, ask.prompts) for ask in asks]

    def segment(self, encoding: Encoding, prompts: Prompts) -> Segmentation:
        """The mask for box and clicks; SegmenterFailed without either, with other prompts beside
        them, and for the encoding of another segmenter.
        """
        if not isinstance(encoding, FakeEncoding):
            raise SegmenterFailed("this encoding was made by another segmenter")
        if (prompts.box is None and not prompts.points) or prompts.mask is not None or prompts.text:
            raise SegmenterFailed(f"{self.name} needs a box or clicks, and takes nothing else")
        image = encoding.image
        mask = np.zeros(image.shape, dtype=np.bool_)
        if prompts.box is not None:
            mask = bright_as_centre(image, prompts.box)
        for point in prompts.points:
            mask[_disc(image.shape, point)] = point.positive
        return segmentation(mask, filled_share(mask))


class FakeVolumeSegmenter(FakeSegmenter):
    """FakeSegmenter that propagates objects: what is as bright as the outline and overlaps the mask
    of the slice before.

    The score is the overlap as a share of the smaller of both masks. `steps` keeps every
    (slice, object numbers) in order, for tests of what was worked on.
    """

    name = "fake-volume"

    def __init__(self) -> None:
        self.steps: list[tuple[int, tuple[int, ...]]] = []

    def propagate(
        self, slices: Slices, seeds: Sequence[Seed], continue_if: ContinueIf
    ) -> Iterator[PropagatedSlice]:
        """Propagate all objects up, then down (agent.ports.VolumeSegmenter)."""
        latest_masks: dict[PropagationPath, NDArray[np.bool_]] = {}

        def draw(z: int, paths: Sequence[PropagationPath]) -> list[PropagatedSlice]:
            self.steps.append((z, tuple(path.index for path in paths)))
            return [step(z, path) for path in paths]

        def step(z: int, path: PropagationPath) -> PropagatedSlice:
            outline = seeds[path.index].masks[path.origin]
            bright = float(np.median(slices.image(path.origin)[outline]))
            before = latest_masks.get(path, outline)
            mask, score = overlapping_island(
                np.abs(slices.image(z) - bright) <= PROPAGATION_TOLERANCE, before
            )
            if mask.any():
                latest_masks[path] = mask
            return PropagatedSlice(path.index, z, segmentation(mask, score), score)

        yield from sweep(paths_of(seeds, slices.shape), draw, continue_if)


class FakeVolumePrompter(SlicesAsVolumes):
    """FakeSegmenter in three dimensions: a box gives all that is as bright as its centre and hangs
    together with it; clicks and scribbles add and remove what lies within 3 voxels.

    It starts from `mask`. `score` is the share of the tight box that is filled. `prompts` keeps
    what was asked, in order.
    """

    name = "fake-volume-prompter"
    supported_prompts = frozenset(PromptKind) - {PromptKind.TEXT}

    def __init__(self) -> None:
        self.prompts: list[VolumePrompts] = []

    def segment_volume(self, slices: Slices, prompts: VolumePrompts) -> VolumeSegmentation:
        """The object for all prompts (agent.ports.VolumePrompter)."""
        self.prompts.append(prompts)
        if not prompts.kinds or prompts.kinds - self.supported_prompts:
            raise SegmenterFailed(f"{self.name} needs box, clicks, scribble or mask, nothing else")
        mask = np.zeros(slices.shape, dtype=np.bool_)
        if prompts.mask is not None:
            mask |= prompts.mask
        volume = np.stack([slices.image(z) for z in range(slices.shape[0])])
        for box in prompts.boxes:
            mask |= bright_in_volume(volume, box)
        for point in prompts.points:
            mask[ball(slices.shape, (point.z, point.y, point.x))] = point.positive
        for scribble in prompts.scribbles:
            for voxel in scribble.voxels:
                mask[ball(slices.shape, voxel)] = scribble.positive
        return VolumeSegmentation(mask, filled_share(mask))


class ScriptedSegmenter:
    """Answers with masks in a given order; a string among them is the reason of a failure.

    `prompts` keeps what was asked, in order.
    """

    name = "scripted"
    knowledge = ANYTHING

    def __init__(
        self,
        answers: Iterable[Segmentation | str],
        supported_prompts: frozenset[PromptKind] = frozenset(PromptKind),
    ) -> None:
        self._answers = iter(answers)
        self.supported_prompts = supported_prompts
        self.prompts: list[Prompts] = []

    def encode(self, image: NDArray[np.float32]) -> FakeEncoding:
        """Keep the slice (rows, columns) float32."""
        return FakeEncoding(image)

    def segment_many(self, asks: Sequence[PromptedSlice]) -> list[Segmentation]:
        """The next answers, one an ask."""
        return [self.segment(ask.encoding, ask.prompts) for ask in asks]

    def segment(
        self,
        encoding: Encoding,  # noqa: ARG002  a script does not look
        prompts: Prompts,
    ) -> Segmentation:
        """The next answer; SegmenterFailed for a string, and when the script has ended."""
        self.prompts.append(prompts)
        answer = next(self._answers, "the script has ended")
        if isinstance(answer, str):
            raise SegmenterFailed(answer)
        return answer


class ArraySlices:
    """Slices of an array (z, y, x) float32 in 0..1; `encoder_passes` counts encoded slices."""

    def __init__(
        self,
        intensities: NDArray[np.float32],
        segmenter: Segmenter,
        spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
        window: str = "",
        levels: tuple[float, float] | None = None,
        modality: str = "",
        *,
        facts: ImageFacts = AXIAL,
    ) -> None:
        self._intensities, self._segmenter = intensities, segmenter
        self._encodings: dict[int, Encoding] = {}
        self.spacing_mm = spacing_mm
        self.window, self.levels, self.modality = window, levels, modality
        self.facts = facts
        self.encoder_passes = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """(z, y, x) of the array."""
        depth, rows, columns = self._intensities.shape
        return depth, rows, columns

    def image(self, z: int) -> NDArray[np.float32]:
        """Slice `z` (rows, columns) of the array."""
        return np.asarray(self._intensities[z], dtype=np.float32)

    def intensities(self, z: int) -> NDArray[np.float32]:
        """Slice `z` (rows, columns) of the array, which has no window."""
        return self.image(z)

    def picture(self, z: int) -> NDArray[np.float32]:
        """Slice `z` (rows, columns, 3), grey repeated."""
        return np.repeat(self.image(z)[..., None], 3, axis=2)

    def encoding(self, z: int) -> Encoding:
        """The segmenter's encoding of slice `z`, made once."""
        if z not in self._encodings:
            self._encodings[z] = self._segmenter.encode(self.image(z))
            self.encoder_passes += 1
        return self._encodings[z]


class ScriptedPolicy:
    """Replies from scripts by (slice, role), then by role, in order; "stop" when they have ended.

    `localisation` and `assessment` are its answers about the whole volume. It scores a mask by the
    segmenter's predicted IoU; `observations` keeps what it was shown.
    """

    name = "scripted"
    knowledge = ANYTHING

    def __init__(
        self,
        localisation: Localisation,
        replies: Mapping[Role | tuple[int, Role], Iterable[Action | Reply]],
        assessment: Assessment | None = None,
    ) -> None:
        self._localisation, self._assessment = localisation, assessment or Assessment()
        self._replies = {key: iter(script) for key, script in replies.items()}
        self.observations: list[Observation] = []

    def localise(self, target: Target, slices: Slices) -> Localisation:  # noqa: ARG002  a script does not look
        """The `localisation` of its construction."""
        return self._localisation

    def act(self, observation: Observation) -> Reply:
        """The next reply of the script for this slice and role, or for this role."""
        self.observations.append(observation)
        for key in ((observation.slice_index, observation.role), observation.role):
            move = next(self._replies.get(key, iter(())), None)
            if move is not None:
                return move if isinstance(move, Reply) else Reply(move)
        return Reply(Stop())

    def score(
        self,
        observation: Observation,  # noqa: ARG002  a script does not look
        segmentation: Segmentation,
    ) -> float:
        """The segmenter's predicted IoU."""
        return segmentation.predicted_iou

    def assess(
        self,
        target: Target,  # noqa: ARG002  a script does not look
        slices: Slices,  # noqa: ARG002
        voxels: NDArray[np.bool_],  # noqa: ARG002
    ) -> Assessment:
        """The `assessment` of its construction; nothing to correct without one."""
        return self._assessment


@dataclass(frozen=True)
class Band:
    """A structure's intensities, `low` to `high` (0..1), and its columns, `left` to `right` as
    shares of the slice's width.
    """

    low: float
    high: float
    left: float = 0.0
    right: float = 1.0


PHANTOM_BANDS: Mapping[str, Band] = {
    "liver": Band(0.63, 0.78, right=0.5),
    "spleen": Band(0.66, 0.82, left=0.5),
    "stomach": Band(0.44, 0.60, left=0.5),
    "aorta": Band(0.82, 0.96, left=0.45, right=0.6),
    "right_kidney": Band(0.84, 0.98, right=0.45),
    "left_kidney": Band(0.84, 0.98, left=0.6),
    "bright": Band(0.5, 1.0),
}
"""Bands of the synthetic torso in the window of level 40 and width 400; "bright" fits any blob."""


class ThresholdPolicy:
    """Finds a structure by its brightness: the largest island within the band, on each slice.

    Knows the structures of `bands` by key or by name. An island must hold `least_px` pixels, or the
    structure is not on that slice.
    """

    name = "threshold"

    def __init__(self, bands: Mapping[str, Band] = PHANTOM_BANDS, least_px: int = 12) -> None:
        self._bands, self._least_px = bands, least_px

    @property
    def knowledge(self) -> Knowledge:
        """The structures that there are bands for, in any image."""
        return Knowledge(tuple(self._bands))

    def localise(self, target: Target, slices: Slices) -> Localisation:
        """Every slice's largest island; the key slice is that of the largest one."""
        sizes = [np.count_nonzero(self._island(target, slices, z)) for z in range(slices.shape[0])]
        best = int(np.argmax(sizes))
        if not sizes[best]:
            return Localisation(
                (0.0,) * len(sizes), (), f"nothing as bright as {target.text} is there"
            )
        return Localisation(tuple(1.0 if size else 0.0 for size in sizes), (best,))

    def act(self, observation: Observation) -> Reply:
        """A box round the island, then stop; absent where there is none."""
        if observation.turns:
            return Reply(Stop(), "the island is drawn")
        island = self._island(observation.target, observation.slices, observation.slice_index)
        if not island.any():
            return Reply(Absent("nothing in the band"), "nothing in the band")
        rows, columns = island.shape
        return Reply(
            AddBox(Box.around(island).grown(_MARGIN_PX, (rows, columns))), "a box round it"
        )

    def score(self, observation: Observation, segmentation: Segmentation) -> float:
        """IoU of the mask with the island."""
        island = self._island(observation.target, observation.slices, observation.slice_index)
        union = np.count_nonzero(island | segmentation.mask)
        return float(np.count_nonzero(island & segmentation.mask) / union) if union else 0.0

    def assess(
        self,
        target: Target,  # noqa: ARG002  brightness has no opinion on the whole
        slices: Slices,  # noqa: ARG002
        voxels: NDArray[np.bool_],  # noqa: ARG002
    ) -> Assessment:
        """Nothing to correct."""
        return Assessment()

    def _band(self, target: Target) -> Band:
        for key in (target.structure, target.text.strip().lower().replace(" ", "_")):
            if key is not None and key in self._bands:
                return self._bands[key]
        raise UnknownTarget(target.text, self.name, tuple(self._bands))

    def _island(self, target: Target, slices: Slices, z: int) -> NDArray[np.bool_]:
        band, image = self._band(target), ndimage.median_filter(slices.image(z), 3)
        columns = (np.arange(image.shape[1]) + 0.5) / image.shape[1]
        inside = (image >= band.low) & (image <= band.high)
        inside &= (columns >= band.left) & (columns <= band.right)
        island = largest_island(ndimage.binary_opening(inside))
        return island if np.count_nonzero(island) >= self._least_px else np.zeros_like(island)


def segmentation(mask: NDArray[np.bool_], predicted_iou: float = 1.0) -> Segmentation:
    """A segmentation with this mask; logits of ±8 at the fake's low resolution."""
    logits = low_res(np.where(mask, 8.0, -8.0).astype(np.float32))
    return Segmentation(mask, logits, predicted_iou)


def ellipse(
    shape: tuple[int, int], centre_xy: tuple[float, float], semi_axes_xy: tuple[float, float]
) -> NDArray[np.bool_]:
    """An ellipse in a slice of `shape` (rows, columns): the pixels whose centres lie in it."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    across = ((x - centre_xy[0]) / semi_axes_xy[0]) ** 2
    return np.asarray(across + ((y - centre_xy[1]) / semi_axes_xy[1]) ** 2 <= 1.0)


def _disc(shape: tuple[int, ...], point: Point) -> NDArray[np.bool_]:
    return ellipse((shape[0], shape[1]), (point.x, point.y), (CLICK_RADIUS_PX, CLICK_RADIUS_PX))
