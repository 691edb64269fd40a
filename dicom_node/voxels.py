"""Where a structure is: a mask on a volume's grid, kept as the smallest box around it.

A mask of 500 slices takes 131 MB however small the structure; its box takes 2 to 10 MB for most
organs, so that a request for two hundred structures fits into memory when its result is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Index = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Voxels:
    """Voxels on a grid of `shape` (z, y, x): `box` (z, y, x) bool begins at `origin` of the grid.

    Indices start at 0. Nothing lies outside the box; that of an empty mask has no voxels.
    ValueError for a box that does not lie within the grid.
    """

    shape: Index
    origin: Index
    box: NDArray[np.bool_]

    def __post_init__(self) -> None:
        ends = np.add(self.origin, self.box.shape)
        if min(self.origin) < 0 or np.any(ends > self.shape):
            raise ValueError(
                f"a box of {self.box.shape} at {self.origin} does not lie within {self.shape}"
            )

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> Voxels:
        """A mask (z, y, x) bool in its smallest box, which is a copy."""
        depth, height, width = mask.shape
        slices = _extent(np.array([plane.any() for plane in mask], dtype=np.bool_))
        from_above = np.any(mask[slices], axis=0)
        rows, columns = _extent(np.any(from_above, axis=1)), _extent(np.any(from_above, axis=0))
        return cls(
            (depth, height, width),
            (slices.start, rows.start, columns.start),
            mask[slices, rows, columns].copy(),
        )

    @property
    def slices(self) -> range:
        """The slices of the grid that the box spans."""
        return range(self.origin[0], self.origin[0] + len(self.box))

    @property
    def count(self) -> int:
        """How many voxels are inside."""
        return int(np.count_nonzero(self.box))

    @property
    def areas(self) -> NDArray[np.int64]:
        """How many are inside on each slice of the grid (z,)."""
        areas = np.zeros(self.shape[0], dtype=np.int64)
        areas[self.slices] = [np.count_nonzero(plane) for plane in self.box]
        return areas

    def plane(self, z: int) -> NDArray[np.bool_]:
        """The whole slice `z` of the grid (rows, columns)."""
        plane = np.zeros(self.shape[1:], dtype=np.bool_)
        if z in self.slices:
            plane[self.place[1:]] = self.box[z - self.origin[0]]
        return plane

    def whole(self) -> NDArray[np.bool_]:
        """The mask on the whole grid."""
        mask = np.zeros(self.shape, dtype=np.bool_)
        mask[self.place] = self.box
        return mask

    def of_grid(self, grid: NDArray[np.float32]) -> NDArray[np.float32]:
        """The values (n,) inside, of `grid`, an array of the grid's shape, read slice by slice.

        ValueError when nothing is inside.
        """
        _, rows, columns = self.place
        return np.concatenate(
            [
                grid[z, rows, columns][inside]
                for z, inside in zip(self.slices, self.box, strict=True)
            ]
        )

    def turned(self, axes: Index, reverse: tuple[bool, bool, bool]) -> Voxels:
        """The same voxels with `axes` in this order, then those of `reverse` counted backwards."""
        box = self.box.transpose(axes)
        shape = [self.shape[axis] for axis in axes]
        origin = [self.origin[axis] for axis in axes]
        for axis in range(3):
            if reverse[axis]:
                box = np.flip(box, axis)
                origin[axis] = shape[axis] - origin[axis] - box.shape[axis]
        return Voxels((shape[0], shape[1], shape[2]), (origin[0], origin[1], origin[2]), box)

    @property
    def place(self) -> tuple[slice, slice, slice]:
        """Where the box lies in the grid: slices, rows, columns."""
        z, y, x = (
            slice(first, first + size)
            for first, size in zip(self.origin, self.box.shape, strict=True)
        )
        return z, y, x


def overlap(masks: Sequence[Voxels]) -> bool:
    """Whether a voxel is inside two of `masks`, which are on one grid."""
    for z in range(masks[0].shape[0]):
        occupied = np.zeros(masks[0].shape[1:], dtype=np.bool_)
        for mask in masks:
            if z not in mask.slices:
                continue
            _, rows, columns = mask.place
            there, inside = occupied[rows, columns], mask.box[z - mask.origin[0]]
            if (there & inside).any():
                return True
            there |= inside
    return False


def _extent(occupied: NDArray[np.bool_]) -> slice:
    """The slice from the first to the last index that is occupied; empty where none is."""
    indices = np.flatnonzero(occupied)
    return slice(int(indices[0]), int(indices[-1]) + 1) if indices.size else slice(0, 0)
