"""A 3-D segmenter (agent.ports.VolumePrompter) where prompts lie on one slice.

In a volume it is prompted on a slice and answers with the whole object, of which an episode sees
that slice. An image of its own is a volume of one slice.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.errors import SegmenterFailed
from agent.ports import Encoding, PromptedSlice, Slices, VolumePrompter
from agent.values import (
    UNTOLD_FACTS,
    ImageFacts,
    PromptKind,
    Prompts,
    Segmentation,
    VolumePrompts,
    VolumeSegmentation,
)

_NO_LOGITS = np.zeros((0, 0), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class SliceAsVolume:
    """A slice, grey (rows, columns) or RGB (rows, columns, 3) float32 in 0..1, as its own encoding
    (agent.ports.Encoding) and as a volume of one slice (agent.ports.Slices).
    """

    pixels: NDArray[np.float32]
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    window: str = ""
    levels: tuple[float, float] | None = None
    modality: str = ""
    facts: ImageFacts = UNTOLD_FACTS

    @property
    def embedding(self) -> NDArray[np.float32]:
        """The grey slice (1, rows, columns): no encoder has run."""
        return self.image(0)[None]

    @property
    def high_res(self) -> tuple[NDArray[np.float32], ...]:
        """No finer features."""
        return ()

    @property
    def source_shape(self) -> tuple[int, int]:
        """(rows, columns) of the slice."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(1, rows, columns)."""
        return 1, *self.source_shape

    def image(self, z: int) -> NDArray[np.float32]:  # noqa: ARG002  there is one slice only
        """The grey slice (rows, columns); of colours their mean."""
        return self.pixels if self.pixels.ndim == 2 else self.pixels.mean(axis=2)

    def intensities(self, z: int) -> NDArray[np.float32]:
        """As `image`: nothing else is known of the slice."""
        return self.image(z)

    def picture(self, z: int) -> NDArray[np.float32]:
        """The slice (rows, columns, 3), grey repeated."""
        return self.pixels if self.pixels.ndim == 3 else np.repeat(self.image(z)[..., None], 3, 2)

    def encoding(self, z: int) -> Encoding:  # noqa: ARG002  there is one slice only
        """Itself."""
        return self


class SlicesAsVolumes(ABC):
    """The 2-D half of a VolumePrompter: a real one derives from this and adds `name`,
    `supported_prompts` and `segment_volume`.
    """

    @abstractmethod
    def segment_volume(self, slices: Slices, prompts: VolumePrompts) -> VolumeSegmentation:
        """As agent.ports.VolumePrompter."""

    def encode(self, image: NDArray[np.float32]) -> SliceAsVolume:
        """The slice as it is: the network looks at volumes."""
        return SliceAsVolume(image)

    def segment(self, encoding: Encoding, prompts: Prompts) -> Segmentation:
        """The mask on a volume of one slice; SegmenterFailed as `segment_volume`, and for the
        encoding of another segmenter.
        """
        if not isinstance(encoding, SliceAsVolume):
            raise SegmenterFailed("this encoding was made by another segmenter")
        mask = None if prompts.mask is None else prompts.mask[None]
        prompts_3d = VolumePrompts.on_slice(0, prompts, mask)
        return SliceOfObject.of(self.segment_volume(encoding, prompts_3d), 0)

    def segment_many(self, asks: Sequence[PromptedSlice]) -> list[Segmentation]:
        """One mask an ask, in order."""
        return [self.segment(ask.encoding, ask.prompts) for ask in asks]


@dataclass(frozen=True, eq=False)
class SliceOfObject(Segmentation):
    """What a slice shows of a 3-D segmenter's answer, and the `whole` answer."""

    whole: VolumeSegmentation | None = None

    def masks_from(self, slice_index: int) -> Mapping[int, NDArray[np.bool_]]:
        """The slices that show the object, `slice_index` with the mask it has here."""
        slices = () if self.whole is None else self.whole.mask
        masks = {z: mask for z, mask in enumerate(slices) if mask.any()}
        return {**masks, slice_index: self.mask}

    @classmethod
    def of(cls, whole: VolumeSegmentation, z: int) -> SliceOfObject:
        """Slice `z` of an answer."""
        logits = _NO_LOGITS if whole.logits is None else whole.logits[z]
        return cls(whole.mask[z], logits, whole.score, whole=whole)


class EpisodePrompter:
    """A 3-D segmenter as the segmenter of the episode on slice `z` of `slices`: all prompts of the
    episode become prompts of the volume, to which `mask` (z, y, x) bool is the object so far.
    """

    def __init__(
        self, prompter: VolumePrompter, slices: Slices, z: int, mask: NDArray[np.bool_]
    ) -> None:
        self._prompter, self._slices, self._z = prompter, slices, z
        takes_masks = PromptKind.MASK in prompter.supported_prompts
        self._mask = mask if takes_masks and mask.any() else None

    @property
    def name(self) -> str:
        """As the prompter's."""
        return self._prompter.name

    @property
    def supported_prompts(self) -> frozenset[PromptKind]:
        """As the prompter's."""
        return self._prompter.supported_prompts

    def encode(self, image: NDArray[np.float32]) -> Encoding:
        """As the prompter's."""
        return self._prompter.encode(image)

    def segment(
        self,
        encoding: Encoding,  # noqa: ARG002  the prompter looks at the volume
        prompts: Prompts,
    ) -> SliceOfObject:
        """The whole object, seen on the episode's slice; SegmenterFailed where the answer does not
        fill the volume.
        """
        prompts_3d = VolumePrompts.on_slice(self._z, prompts, self._mask)
        whole = self._prompter.segment_volume(self._slices, prompts_3d)
        if whole.mask.shape != self._slices.shape or whole.mask.dtype != np.bool_:
            raise SegmenterFailed(f"its mask is {whole.mask.dtype} {whole.mask.shape}")
        return SliceOfObject.of(whole, self._z)

    def segment_many(self, asks: Sequence[PromptedSlice]) -> list[Segmentation]:
        """One answer an ask, in order."""
        return [self.segment(ask.encoding, ask.prompts) for ask in asks]
