"""From the source grid to the working grid and back, with MONAI: a tested inverse pair.

The working grid is what the agent sees (agent.ports.Slices): rows run front to back, columns from
the patient's right to left, slice 0 is the lowest, pixels are square. Most CT lies so already and
is passed through untouched; other orientations are turned (bit-exact); only where pixels are not
square, or slices are merged, are values resampled. Grids stay as oblique as they were acquired.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from nibabel.orientations import aff2axcodes
from numpy.typing import NDArray

from agent.geometry import Geometry
from agent.values import Mask, Volume

if TYPE_CHECKING:
    import torch

WORKING_AXES = "SPL"  # (z, y, x) rise towards superior, posterior, left
SQUARE_TOLERANCE = 0.005  # pixels whose sides differ by less are square: 1 px in 200
_SLAB_SLICES = 16  # resampling makes its grid for this many slices at a time, which bounds memory

_LETTERS = (("R", "L"), ("A", "P"), ("I", "S"))  # falling and rising along each axis of LPS


@dataclass(frozen=True, eq=False)
class WorkingGrid:
    """The way between a source grid and the working grid made for it.

    `source` and `working` are the two grids; `resamples` whether values are interpolated on the way
    (if not, the way there and back is bit-exact).
    """

    source: Geometry
    working: Geometry
    resamples: bool

    @classmethod
    def of(cls, source: Geometry, *, slice_step_mm: float = 0.0) -> WorkingGrid:
        """The working grid for `source`; slices closer than `slice_step_mm` are merged to at least
        that step.

        A lone slice that is not axial (a radiograph, one sagittal image) is worked on as it is
        stored.
        """
        axes = axis_codes(source)
        as_stored = source.shape[0] == 1 and axes[0] not in "SI"
        turned = source if as_stored else _turned(source, axes)
        steps = _working_spacing(turned, slice_step_mm)
        if steps is None:
            return cls(source, turned, resamples=False)
        return cls(source, _regridded(turned, steps), resamples=True)

    @property
    def is_identity(self) -> bool:
        """Whether both grids are one and the same."""
        return not self.resamples and self.source.matches(self.working, tolerance_mm=1e-9)

    def to_working(self, volume: Volume) -> Volume:
        """The volume on the working grid (linear where resampled, edges continued); ValueError for
        another grid.
        """
        if not volume.geometry.matches(self.source):
            raise ValueError("the volume is not on the grid that this way was made for")
        if self.is_identity:
            return volume
        voxels = self._carry(volume.intensities, self.source, self.working)
        colour = self._colour(volume.colour)
        return replace(volume, intensities=voxels, geometry=self.working, colour=colour)

    def to_source(self, voxels: NDArray[np.bool_] | NDArray[np.float32]) -> Mask:
        """The mask on the source grid from (z, y, x) on the working grid: bool, or float 0..1,
        inside above 0.5.

        Shape and geometry are those of the source exactly; ValueError for another shape.
        """
        if voxels.shape != self.working.shape:
            raise ValueError(f"voxels {voxels.shape} are not on the grid {self.working.shape}")
        if self.resamples:
            voxels = voxels.astype(np.float32)
        carried: NDArray[Any] = (
            voxels if self.is_identity else self._carry(voxels, self.working, self.source)
        )
        return Mask(carried if carried.dtype == np.bool_ else carried > 0.5, self.source)

    def _colour(self, colour: NDArray[np.uint8] | None) -> NDArray[np.uint8] | None:
        """Red, green and blue (z, y, x, 3) on the working grid, each as the intensities are."""
        if colour is None:
            return None
        channels = [
            self._carry(colour[..., channel].astype(np.float32), self.source, self.working)
            for channel in range(colour.shape[-1])
        ]
        return np.asarray(np.rint(np.stack(channels, axis=-1)), dtype=np.uint8)

    def _carry(self, voxels: Any, start: Geometry, end: Geometry) -> Any:
        """Voxels from grid `start` to grid `end`: turned where that suffices, else interpolated."""
        if self.resamples:
            return _resampled(voxels, start, end)
        return _reoriented(voxels, start, end)


def axis_codes(geometry: Geometry) -> str:
    """Three letters: where z, y and x rise to (nearest of R L, A P, I S), such as "SPL" for common
    axial CT.
    """
    affine = geometry.affine_zyx_to_lps
    letters = aff2axcodes(affine, labels=_LETTERS)  # type: ignore[no-untyped-call]  # nibabel's hints are partial
    return "".join(letters)


def _turned(source: Geometry, axes: str) -> Geometry:
    """The grid `source` (axes as `axis_codes`) permuted and flipped to the working axes, no voxel
    moved.
    """
    columns, start = [], source.affine_zyx_to_lps[:3, 3]
    order = [_axis_along(axes, letter) for letter in WORKING_AXES]
    # A voxel (z, y, x) lies at start + z·a + y·b + x·c, with the columns a, b, c in mm. To flip an
    # axis of n voxels is to start at its other end, start + (n - 1)·a, and to go by -a
    for letter, axis in zip(WORKING_AXES, order, strict=True):
        column = source.affine_zyx_to_lps[:3, axis]
        if axes[axis] != letter:
            start = start + column * (source.shape[axis] - 1)
            column = -column
        columns.append(column)
    shape = (source.shape[order[0]], source.shape[order[1]], source.shape[order[2]])
    return Geometry(shape, _affine(columns, start))


def _axis_along(axes: str, direction: str) -> int:
    """Which of the axes `axes` (as `axis_codes`) runs along `direction`, either way."""
    either_way = next(letters for letters in _LETTERS if direction in letters)
    return next(axis for axis, letter in enumerate(axes) if letter in either_way)


def _affine(columns: list[NDArray[np.float64]], start: NDArray[np.float64]) -> NDArray[np.float64]:
    affine = np.eye(4)
    affine[:3, :3] = np.stack(columns, axis=1)
    affine[:3, 3] = start
    return affine


def _working_spacing(turned: Geometry, slice_step_mm: float) -> tuple[float, float, float] | None:
    """(z, y, x) mm of the working grid; None when the turned grid serves as it is.

    Square pixels take the finer side's spacing; merged slices a whole multiple of the step they
    have.
    """
    z, y, x = turned.spacing_mm
    # the least whole number m with m·z >= the step asked for; 1e-6 forgives 2.4999999 mm for 2.5
    merged = max(1, int(np.ceil(slice_step_mm / z - 1e-6)))
    merged = min(merged, turned.shape[0])
    square = abs(y - x) <= SQUARE_TOLERANCE * min(y, x)
    if square and merged == 1:
        return None
    return (z * merged, y, x) if square else (z * merged, min(y, x), min(y, x))


def _regridded(turned: Geometry, spacing_mm: tuple[float, float, float]) -> Geometry:
    """A grid of the same axes and centre with `spacing_mm` (z, y, x), filling the same field of
    view.
    """
    # The field of view is n·d mm along an axis, n voxels of d mm: the new size is round(n·d / d').
    # Both grids have the same centre c, so the first voxel's centre is c - D·diag(d')·(n' - 1) / 2,
    # D the unit vectors of the axes
    old = np.array(turned.spacing_mm)
    new = np.array(spacing_mm)
    sizes = np.maximum(1, np.rint(np.array(turned.shape) * old / new)).astype(int)
    directions = turned.affine_zyx_to_lps[:3, :3] / old
    centre = turned.to_patient_mm((np.array([turned.shape], dtype=np.float64) - 1) / 2)[0]
    start = centre - (directions * new) @ ((sizes - 1) / 2)
    shape = (int(sizes[0]), int(sizes[1]), int(sizes[2]))
    return Geometry(shape, _affine(list((directions * new).T), start))


def _tensor(voxels: Any, grid: Geometry) -> Any:
    """Voxels (z, y, x) as MONAI's (1, z, y, x) with its affine, sharing memory where numpy and
    torch can.

    The one place where DICOM's LPS becomes the RAS that MONAI and nibabel count in.
    """
    import torch
    from monai.data.meta_tensor import MetaTensor

    return MetaTensor(
        torch.from_numpy(np.ascontiguousarray(voxels))[None],
        affine=torch.from_numpy(_ras(grid)),
    )


def _ras(grid: Geometry) -> NDArray[np.float64]:
    """The grid's affine to RAS: x and y point the other way (PS3.3 C.7.6.2.1.1 against NIfTI-1)."""
    ras: NDArray[np.float64] = np.diag([-1.0, -1.0, 1.0, 1.0]) @ grid.affine_zyx_to_lps
    return ras


def _reoriented(voxels: Any, start: Geometry, end: Geometry) -> Any:
    """Voxels turned by MONAI's Orientation, bit for bit, contiguous."""
    from monai.transforms.spatial.array import Orientation

    turn = Orientation(axcodes=axis_codes(end), labels=(("L", "R"), ("P", "A"), ("I", "S")))
    return np.ascontiguousarray(turn(_tensor(voxels, start))[0].numpy())


def _resampled(voxels: Any, start: Geometry, end: Geometry) -> NDArray[np.float32]:
    """Voxels float32 interpolated linearly on `end` by MONAI's SpatialResample, a slab of slices at
    a time.

    Both grids fill the same field of view to half a voxel, so that beyond the last centre the edge
    goes on.
    """
    import torch
    from monai.transforms.spatial.array import SpatialResample

    # linear between the eight nearest voxel centres; masks are resampled as 0 and 1 and cut at a
    # half by the caller, which keeps edges within half a voxel
    resample = SpatialResample(
        mode="bilinear", padding_mode="border", align_corners=False, dtype=np.float32
    )
    tensor: torch.Tensor = _tensor(voxels, start)
    result = np.empty(end.shape, dtype=np.float32)
    for first in range(0, end.shape[0], _SLAB_SLICES):
        slices = min(_SLAB_SLICES, end.shape[0] - first)
        corner = end.to_patient_mm(np.array([[first, 0, 0]], dtype=np.float64))[0]
        slab = Geometry(
            (slices, *end.shape[1:]), _affine(list(end.affine_zyx_to_lps[:3, :3].T), corner)
        )
        out = resample(tensor, dst_affine=torch.from_numpy(_ras(slab)), spatial_size=slab.shape)
        result[first : first + slices] = out[0].numpy()
    return result
