"""What training and evaluation take: an image with the truth of one or more structures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.values import Target, Volume


@dataclass(frozen=True, eq=False)
class Truth:
    """What a reader drew for `target`: `voxels` (z, y, x) bool on the case's grid, empty where the
    reader says that the structure is absent.

    `corrected_from` (z, y, x) bool is the mask that the reader corrected, where there was one: that
    of an earlier result.
    """

    target: Target
    voxels: NDArray[np.bool_]
    corrected_from: NDArray[np.bool_] | None = None

    @property
    def absent(self) -> bool:
        """Whether the structure is nowhere in the image."""
        return not self.voxels.any()


@dataclass(frozen=True, eq=False)
class Case:
    """One image with the truth of its structures; an image without depth is a volume of one slice.

    `case_id` is unique within `dataset`. `patient` is the unit of splits and of statistics.
    `spacing_known` is False where the file stores no spacing and the grid's millimetres mean
    nothing. ValueError where a truth has another shape than the image, or is named twice.
    """

    case_id: str
    patient: str
    dataset: str
    split: str
    volume: Volume
    truths: tuple[Truth, ...]
    spacing_known: bool = True

    def __post_init__(self) -> None:
        shape = self.volume.geometry.shape
        for truth in self.truths:
            for voxels in (truth.voxels, truth.corrected_from):
                if voxels is not None and voxels.shape != shape:
                    raise ValueError(
                        f"{self.case_id}: the truth of {truth.target.text} is {voxels.shape}, "
                        f"the image {shape}"
                    )
        texts = [truth.target.text for truth in self.truths]
        if len(set(texts)) != len(texts):
            raise ValueError(f"{self.case_id}: a structure has two truths among {texts}")
