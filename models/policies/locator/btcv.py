"""Reading the BTCV slices: PNG pictures and index masks of 21 patients
(models/policies/locator/weights/MODEL_CARD.md).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


@dataclass(frozen=True, eq=False)
class LabelledSlice:
    """One axial slice, column 0 = the patient's right.

    `pixels` (rows, columns) uint8 on a scale of the slice's own, not HU; `labels` (rows, columns)
    uint8, 0 the background, 1 to 13 as models.policies.locator.structures.ORGANS counts them.
    """

    patient: str
    name: str
    pixels: NDArray[np.uint8]
    labels: NDArray[np.uint8]


def read_btcv(folder: Path, split: str) -> Iterator[LabelledSlice]:
    """The slices of `split` ("training" or "validation") in the data set's own order.

    Raises OSError when files are missing and KeyError for another split.
    """
    index = json.loads((folder / index_name()).read_text())
    for name in index[split]:
        yield LabelledSlice(
            patient=name.split("_")[1],
            name=Path(name).stem,
            pixels=np.asarray(Image.open(folder / index["image_dir"] / name)),
            labels=np.asarray(Image.open(folder / index["label_dir"] / name)),
        )


def index_name() -> str:
    """The file that lists patients, splits and labels."""
    return "dataset.json"
