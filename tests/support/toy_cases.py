"""Cases of bright ellipses on noise, seeded: images and volumes, several structures, absent ones.

What can be seen is what is true: a structure has its own brightness, so that a reader, a fake
segmenter and a tiny network can all find it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agent.case import Case, Truth
from agent.geometry import Geometry
from agent.values import Target, Volume

BRIGHTNESS = {"bright ellipse": 0.9, "grey ellipse": 0.65, "dim ellipse": 0.4}
"""The structures by name, each with its intensity 0..1; they lie side by side, in any order."""

BACKGROUND = 0.15
NOISE = 0.005  # standard deviation: below what FakeSegmenter takes for the same brightness


def toy_cases(
    count: int = 4, *, seed: int = 0, side: int = 64, depth: int = 1, split: str = "train"
) -> list[Case]:
    """`count` cases of `depth` slices, `side` x `side` pixels of 1 mm, two a patient.

    Every second case, from the second on, lacks one structure, each in its turn; its truth is
    empty. Case number i is the same whatever `count` is.
    """
    return [_case(index, seed, side, depth, split) for index in range(count)]


def _case(index: int, seed: int, side: int, depth: int, split: str) -> Case:
    rng = np.random.default_rng([seed, index])
    shape = (depth, side, side)
    image = rng.normal(BACKGROUND, NOISE, shape)
    lacking = list(BRIGHTNESS)[index // 2 % len(BRIGHTNESS)] if index % 2 else None
    columns = rng.permutation(len(BRIGHTNESS))
    truths = []
    for column, (name, brightness) in zip(columns, BRIGHTNESS.items(), strict=True):
        ellipsoid = _ellipsoid(shape, int(column), rng)
        voxels = np.zeros_like(ellipsoid) if name == lacking else ellipsoid
        image[voxels] += brightness - BACKGROUND
        truths.append(Truth(Target(name, name.replace(" ", "_")), voxels))
    volume = Volume(image.astype(np.float32), _geometry(shape), "MR")
    return Case(
        f"toy-{seed}-{index}", f"patient-{seed}-{index // 2}", "toy", split, volume, tuple(truths)
    )


def _ellipsoid(
    shape: tuple[int, int, int], column: int, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """One structure (z, y, x) bool within its third of the image's width."""
    depth, side, _ = shape
    third = side / len(BRIGHTNESS)
    centre_z = (depth - 1) / 2 + rng.uniform(-0.1, 0.1) * (depth - 1)
    centre_y, centre_x = rng.uniform(0.35, 0.65) * side, (column + 0.5) * third
    semi_z = max(0.35 * depth, 1.0)
    semi_y, semi_x = rng.uniform(0.15, 0.25) * side, rng.uniform(0.3, 0.42) * third
    z, y, x = np.ogrid[:depth, :side, :side]
    distance = ((z - centre_z) / semi_z) ** 2 + ((y - centre_y) / semi_y) ** 2
    return np.asarray(distance + ((x - centre_x) / semi_x) ** 2 <= 1.0)


def _geometry(shape: tuple[int, int, int]) -> Geometry:
    """1 mm pixels, slices 3 mm apart, on the working grid's axes: z rises to the head, y to the
    back, x to the left.
    """
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = 3.0, 1.0, 1.0, 1.0
    return Geometry(shape, affine)
