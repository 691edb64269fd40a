"""The measurements of a structure for the report: volume, area, diameters, intensities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from dicom_node.values import ResultSegment, SourceVolume
from dicom_node.voxels import Voxels


@dataclass(frozen=True)
class Diameters:
    """Long and short axis in mm on slice `z` (zero-based), where the structure is largest.

    `long_px` and `short_px` are where their ends lie on that slice, two points (column, row) (2, 2)
    in the coordinates of PS3.3 C.18.6: 0.0 at the outer corner of the first pixel, 0.5 its centre.
    """

    z: int
    long_mm: float
    short_mm: float
    long_px: NDArray[np.float64]
    short_px: NDArray[np.float64]


@dataclass(frozen=True)
class Intensity:
    """Mean and population standard deviation of the voxels inside, in the volume's unit."""

    mean: float
    standard_deviation: float


def volume_ml(segment: ResultSegment, volume: SourceVolume) -> float:
    """Voxels inside times the volume of one, in millilitres.

    The determinant of the three steps is a voxel's volume in mm3, on sheared grids too.
    """
    return voxels_ml(segment.voxels, volume)


def voxels_ml(voxels: Voxels, volume: SourceVolume) -> float:
    """As `volume_ml`, of a mask by itself."""
    voxel_mm3 = abs(float(np.linalg.det(volume.affine_zyx_to_lps[:3, :3])))
    return voxels.count * voxel_mm3 / 1000.0


def area_px(segment: ResultSegment) -> int:
    """Pixels inside, on a single image."""
    return segment.voxels.count


def area_mm2(segment: ResultSegment, volume: SourceVolume) -> float:
    """Pixels inside times the area of one, mm2, on a single image of known pixel size."""
    row_step, column_step = volume.affine_zyx_to_lps[:3, 1:3].T
    return area_px(segment) * float(np.linalg.norm(np.cross(row_step, column_step)))


def diameters(segment: ResultSegment, volume: SourceVolume) -> Diameters:
    """Long and short axis in mm on the acquired slice of largest area (the lowest z if equal).

    As RECIST 1.1 defines them (Eisenhauer 2009, Eur J Cancer 45:228): the longest distance between
    two points of the outline, and the longest chord perpendicular to it. All pieces on the slice
    count as one, concavities are bridged (the chord is that of the convex hull), and the outline
    runs halfway between voxels inside and outside, as in pyradiomics' and IBSI's maximum diameters:
    a row of n pixels is n pixels long.
    """
    z = int(segment.voxels.areas.argmax())
    axes = volume.affine_zyx_to_lps[:3, 1:3]  # mm along rows' and columns' index
    flattened = _flattened(axes)
    outline = _outline(segment.voxels.plane(z)) @ flattened
    hull = outline[ConvexHull(outline).vertices]
    apart = np.linalg.norm(hull[:, None] - hull[None], axis=2)
    start, end = (int(index) for index in np.unravel_index(int(apart.argmax()), apart.shape))
    chord = _longest_chord(hull, start, end)
    short_mm = float(np.linalg.norm(chord[1] - chord[0]))
    long_px, short_px = (
        _on_image(ends @ np.linalg.inv(flattened)) for ends in (hull[[start, end]], chord)
    )
    return Diameters(z, float(apart[start, end]), short_mm, long_px, short_px)


def intensity(segment: ResultSegment, volume: SourceVolume) -> Intensity:
    """Mean and standard deviation of the intensities inside."""
    inside = segment.voxels.of_grid(volume.intensities).astype(np.float64)
    return Intensity(float(inside.mean()), float(inside.std()))


def _outline(plane: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Middles of the four edges of every pixel inside, as (row, column) indices (n, 2)."""
    rows, columns = np.nonzero(plane)
    # only the ends of each row and column can lie on the hull
    extreme = _ends(rows, columns) | _ends(columns, rows)
    centres = np.stack([rows[extreme], columns[extreme]], axis=1).astype(np.float64)
    edges = np.array([(-0.5, 0.0), (0.5, 0.0), (0.0, -0.5), (0.0, 0.5)])
    middles: NDArray[np.float64] = (centres[:, None] + edges[None]).reshape(-1, 2)
    return middles


def _ends(lines: NDArray[np.intp], positions: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Which pixels are the first or last of their line (n,)."""
    low = np.full(int(lines.max()) + 1, np.iinfo(np.intp).max)
    high = np.full(int(lines.max()) + 1, -1)
    np.minimum.at(low, lines, positions)
    np.maximum.at(high, lines, positions)
    ends: NDArray[np.bool_] = (positions == low[lines]) | (positions == high[lines])
    return ends


def _flattened(axes: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2, 2) from (row, column) to mm in the slice's plane, from two axes (3, 2) in the patient."""
    # coordinates in the plane: the first along the columns' step, the second at right angles to it
    row_step, column_step = axes.T
    along = column_step / np.linalg.norm(column_step)
    x_of_row = float(row_step @ along)
    across = float(np.linalg.norm(row_step - x_of_row * along))
    return np.array([(x_of_row, across), (float(np.linalg.norm(column_step)), 0.0)])


def _on_image(indices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Image coordinates (column, row) (n, 2) of (row, column) indices, whose zero is a centre."""
    return indices[:, ::-1] + 0.5


def _longest_chord(hull: NDArray[np.float64], start: int, end: int) -> NDArray[np.float64]:
    """Both ends (2, 2) of the longest chord of a convex polygon (n, 2) at right angles to the line
    `start` to `end`.

    The two are its farthest vertices. Above that line the polygon is an upper and a lower chain of
    vertices; the width between them is piecewise linear, so its maximum lies at a vertex.
    """
    direction = (hull[end] - hull[start]) / np.linalg.norm(hull[end] - hull[start])
    normal = np.array([-direction[1], direction[0]])
    along = (hull - hull[start]) @ direction
    across = (hull - hull[start]) @ normal
    order = np.arange(len(hull))
    upper = np.roll(order, -start)[: (end - start) % len(hull) + 1]
    lower = np.roll(order, -end)[: (start - end) % len(hull) + 1][::-1]
    sides = np.stack([np.interp(along, along[side], across[side]) for side in (upper, lower)])
    widest = int(np.abs(sides[0] - sides[1]).argmax())
    foot = hull[start] + along[widest] * direction
    ends: NDArray[np.float64] = foot + sides[:, widest, None] * normal
    return ends
