"""Make the file of the views that were learnt (models.policies.locator.learnt_views), and measure
how far a patient who was left out is from the others:

    python -m models.policies.locator.views_of_training --data ../shared/data/btcv --out
    models/policies/locator/weights/learnt_views.safetensors
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.policies.locator.augment import augmented, hounsfield, windowed
from models.policies.locator.btcv import LabelledSlice, read_btcv
from models.policies.locator.examples import Encode, quick_encoder
from models.policies.locator.knowledge import body_of
from models.policies.locator.learnt_views import FARTHEST, LearntViews, pooled_of
from models.segmenters.litemedsam import model_input

VARIED = 15  # every so many slices: with another rim, too, and changed as in training
_RIM_PX, _WIDER_PX = 8, 90  # of 512
_WITHOUT_RIM = 0.9  # of the side


@dataclass(frozen=True, eq=False)
class LearntView:
    """A slice as `pooled_of` it (256,), and whether it shows it as it is."""

    patient: str
    pooled: NDArray[np.float32]
    plain: bool


def views_of(slices: Sequence[LabelledSlice], encode: Encode) -> Iterator[LearntView]:
    """Every slice as it is, and one in VARIED as other scanners would show it."""
    for number, labelled in enumerate(slices):
        hu = hounsfield(labelled.pixels)
        yield _view(labelled.patient, windowed(hu), encode, plain=True)
        if number % VARIED == VARIED // 5:
            changed, _ = augmented(hu, labelled.labels, np.random.default_rng([0, number]))
            for image in (*other_rims(windowed(hu)), changed):
                yield _view(labelled.patient, image, encode, plain=False)


def other_rims(image: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """A windowed slice (rows, columns) cut to its body, in wider air, and without its rim."""
    body = body_of(image)
    window = tuple(
        slice(max(0, int(filled[0]) - _RIM_PX), int(filled[-1]) + 1 + _RIM_PX)
        for filled in (np.flatnonzero(body.any(axis=1)), np.flatnonzero(body.any(axis=0)))
    )
    yield image[window]
    yield np.pad(image, _WIDER_PX)
    rows, columns = (round(length * (1 - _WITHOUT_RIM) / 2) for length in image.shape)
    yield image[rows : image.shape[0] - rows, columns : image.shape[1] - columns]


def left_out_distances(views: Sequence[LearntView]) -> dict[str, list[float]]:
    """The distances of each patient's views from those of the others."""
    distances = {}
    for patient in dict.fromkeys(view.patient for view in views):
        others = LearntViews(np.stack([v.pooled for v in views if v.patient != patient]))
        distances[patient] = [others.distance(v.pooled) for v in views if v.patient == patient]
    return distances


def _view(patient: str, image: NDArray[np.float32], encode: Encode, *, plain: bool) -> LearntView:
    return LearntView(patient, pooled_of(encode(image), model_input(image)[0, 0]), plain)


def main(arguments: list[str] | None = None) -> None:
    """Encode, measure, write."""
    parser = argparse.ArgumentParser(description="Make the file of the views that were learnt.")
    parser.add_argument("--data", type=Path, required=True, help="folder with dataset.json")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    options = parser.parse_args(arguments)
    views = list(views_of(list(read_btcv(options.data, "training")), quick_encoder()))
    LearntViews(np.stack([view.pooled for view in views])).save(options.out)
    distances = left_out_distances(views)
    for patient in sorted(distances, key=lambda patient: -max(distances[patient])):
        largest, median = max(distances[patient]), np.median(distances[patient])
        print(f"patient {patient} left out: largest {largest:.3f}, median {median:.3f}")  # noqa: T201  a command
    print(f"unlike what was learnt from {FARTHEST}")  # noqa: T201  a command


if __name__ == "__main__":
    main()
