"""Where the locator sees each structure of a volume: a probability map for each slice and
structure, neighbours agreeing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from agent.ports import Encoding, Slices
from models.policies.locator.knowledge import lung_map
from models.policies.locator.learnt_views import LearntViews, pooled_of
from models.policies.locator.net import (
    IMAGE_PX,
    MAP_PX,
    Locator,
    body_position,
    network_input,
)
from models.policies.locator.presence import area_px, least_area_px
from models.policies.locator.structures import LUNGS, ORGANS
from models.segmenters.litemedsam import Fit, model_input

NEIGHBOUR_MM = 3.0
"""Deviation of the Gaussian over neighbouring slices: organs do not come and go within a few mm."""

_HINT_LEVEL = 0.25
_HINT_SHARE = 0.25  # of the least area that is believed

_REACH_SIGMAS = 2.0  # slices further away have no say: their weight would be below e^-2 = 0.14
_KEPT_MAPS = 48  # full-size maps kept for the turns on a slice and its neighbours


Encoder = Callable[[NDArray[np.float32]], Encoding]
"""A slice (rows, columns) float32 in 0..1 as LiteMedSAM encodes it."""


class OrganMaps:
    """Probability maps of one volume's slices; the network runs once a slice, for all organs.

    What it reads is LiteMedSAM's embedding of a slice: the segmenter's, or that of `own_encoder`
    where another one draws. Either is asked once a slice; what is kept of it are the network's
    logits, a ninth of its size. `looked_at` are the slices that have a say beside the one it is
    asked about (None: all); `learnt_views` the slices that the network was trained on.
    """

    def __init__(
        self,
        locator: Locator,
        slices: Slices,
        own_encoder: Encoder | None = None,
        looked_at: Collection[int] | None = None,
        learnt_views: LearntViews | None = None,
    ) -> None:
        self._locator, self._slices, self._own_encoder = locator, slices, own_encoder
        self._learnt_views = learnt_views
        self._distances: dict[int, float] = {}
        self._looked_at = range(slices.shape[0]) if looked_at is None else looked_at
        self._logits: dict[int, NDArray[np.float16]] = {}
        self._maps: OrderedDict[tuple[int, str], NDArray[np.float32]] = OrderedDict()
        self._areas: dict[int, dict[str, float]] = {}

    def map(self, z: int, structure: str) -> NDArray[np.float32]:
        """How likely each pixel of slice `z` belongs to `structure`, (rows, columns) float32 in
        0..1.
        """
        key = (z, structure)
        if key not in self._maps:
            lung = structure in LUNGS
            self._maps[key] = (
                lung_map(self._slices.image(z), structure) if lung else self._organ(z, structure)
            )
        self._maps.move_to_end(key)
        while len(self._maps) > _KEPT_MAPS:
            self._maps.popitem(last=False)
        return self._maps[key]

    def area(self, z: int, structure: str) -> float:
        """`presence.area_px` of the map, without keeping the map.

        The first question about a slice counts all organs, since the softmax over the classes is
        what takes the time; what is kept is a number for each.
        """
        if structure in LUNGS:
            return area_px(self.map(z, structure))
        if z not in self._areas:
            self._areas[z] = self._count(self._shares(z))
        return self._areas[z][structure]

    @property
    def reach(self) -> int:
        """How many slices away a neighbour still has a say."""
        return int(_REACH_SIGMAS * NEIGHBOUR_MM / self._slices.spacing_mm[0])

    def hints_at(self, z: int, structure: str) -> bool:
        """Whether the slice by itself, without its neighbours, shows any sign of an organ.

        The sign is weaker than what `area` would count: a quarter of the least area believed, at
        half the level. So a slice on which only the neighbours' agreement would find it has one.
        """
        shares = torch.from_numpy(self._of_slice(z).astype(np.float32)).softmax(0)
        cells = int((shares[ORGANS.index(structure) + 1] > _HINT_LEVEL).sum())
        # a cell of the map stands for 2 x 2 pixels of the square in which areas are told
        cell_px = (IMAGE_PX / MAP_PX) ** 2
        return cells * cell_px >= _HINT_SHARE * least_area_px(structure, alone=False)

    def distance(self, z: int) -> float:
        """How far slice `z` is from the slices that were learnt (LearntViews.distance); 0 where
        these are not known.
        """
        self._of_slice(z)
        return self._distances.get(z, 0.0)

    def _count(self, shares: torch.Tensor) -> dict[str, float]:
        """The area of every organ; interpolation adds nothing above the highest value, so an organ
        that is nowhere above 0.5 needs none.
        """
        highest = shares.amax(dim=(0, 2, 3)).tolist()
        return {
            organ: area_px(self._full_size(shares[:, [number]])) if highest[number] > 0.5 else 0.0
            for number, organ in enumerate(ORGANS, start=1)
        }

    def _organ(self, z: int, structure: str) -> NDArray[np.float32]:
        """The organ's share among all classes, at the slice's own size."""
        return self._full_size(self._shares(z)[:, [ORGANS.index(structure) + 1]])

    def _shares(self, z: int) -> torch.Tensor:
        """Probabilities of all classes (1, 14, 256, 256), background first."""
        logits = torch.from_numpy(self._neighbourhood(z))[None]
        square = functional.interpolate(
            logits, size=(IMAGE_PX, IMAGE_PX), mode="bilinear", align_corners=False
        )
        # interpolated before the softmax: where two classes meet, their logits cross at a line, and
        # the edge lies on it; probabilities would be blurred over the width of a cell
        return square.softmax(1)

    def _full_size(self, share: torch.Tensor) -> NDArray[np.float32]:
        """One class (1, 1, 256, 256) at the slice's own size, the square's padding cut off."""
        shape = self._slices.shape[1:]
        rows, columns = Fit.of(shape).inner_shape
        full = functional.interpolate(
            share[:, :, :rows, :columns], size=shape, mode="bilinear", align_corners=False
        )
        expected: NDArray[np.float32] = full[0, 0].numpy()
        return expected

    def _neighbourhood(self, z: int) -> NDArray[np.float32]:
        """Logits (14, 128, 128) float32 of slice `z`, averaged with its neighbours by distance in
        mm.
        """
        step_mm = self._slices.spacing_mm[0]
        around = range(max(0, z - self.reach), min(self._slices.shape[0], z + self.reach + 1))
        near = [other for other in around if other == z or other in self._looked_at]
        # the mean is of logits, not of probabilities: it multiplies the odds, so that a slice that
        # is sure outweighs a neighbour that is not, and two that disagree cancel out
        weights = [np.exp(-0.5 * ((other - z) * step_mm / NEIGHBOUR_MM) ** 2) for other in near]
        total = sum(
            weight * self._of_slice(other).astype(np.float32)
            for weight, other in zip(weights, near, strict=True)
        )
        return np.asarray(total / sum(weights), dtype=np.float32)

    def _of_slice(self, z: int) -> NDArray[np.float16]:
        """The network's logits (14, 128, 128) of slice `z` alone."""
        if z not in self._logits:
            square = model_input(self._slices.image(z))[0, 0]
            embedding = self._encoding(z).embedding
            if self._learnt_views is not None:
                self._distances[z] = self._learnt_views.distance(pooled_of(embedding, square))
            with torch.inference_mode():
                inputs = network_input(
                    torch.from_numpy(embedding)[None],
                    torch.from_numpy(square)[None],
                    torch.from_numpy(body_position(square))[None],
                )
                self._logits[z] = self._locator(inputs)[0].numpy().astype(np.float16)
        return self._logits[z]

    def _encoding(self, z: int) -> Encoding:
        if self._own_encoder is None:
            return self._slices.encoding(z)
        return self._own_encoder(self._slices.image(z))
