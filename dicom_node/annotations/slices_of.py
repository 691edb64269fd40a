"""Where a plane in the patient lies among the slices of a volume."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dicom_node.errors import UnusableAnnotation
from dicom_node.results.check_segmentation import source_origins
from dicom_node.values import SourceVolume

_OFF_SLICE_MM, _OFF_SLICE_SHARE = 0.05, 0.02  # of the step: positions are written with two decimals
_OFF_PIXEL = 0.1  # of a pixel, at the far corner of a plane


class SlicesOf:
    """The slices of a volume as its files state them: places in the patient become rows and
    columns.

    OSError where a source file is gone, ResultMismatch where it contradicts the volume.
    """

    def __init__(self, volume: SourceVolume) -> None:
        affine = volume.affine_zyx_to_lps
        self.shape = volume.intensities.shape
        self._origins = source_origins(volume)
        self._in_plane = affine[:3, 1:3]
        normal = np.cross(affine[:3, 2], affine[:3, 1])
        self._normal = normal / np.linalg.norm(normal)
        step_mm = abs(float(self._normal @ affine[:3, 0]))
        self._tolerance_mm = max(_OFF_SLICE_MM, _OFF_SLICE_SHARE * step_mm)

    def slice_at(self, points_mm: NDArray[np.float64]) -> int:
        """The zero-based slice in whose plane all points (n, 3) LPS mm lie; UnusableAnnotation
        where there is none.
        """
        heights = points_mm @ self._normal
        slices = self._origins @ self._normal
        z = int(np.abs(slices - heights.mean()).argmin())
        apart_mm = float(np.abs(heights - slices[z]).max())
        if apart_mm > self._tolerance_mm:
            raise UnusableAnnotation(f"lies {apart_mm:.2f} mm off the nearest slice")
        return z

    def rows_and_columns(self, points_mm: NDArray[np.float64], z: int) -> NDArray[np.float64]:
        """Points (n, 3) LPS mm as (row, column) (n, 2) of slice `z`, zero at the centre of the
        first pixel.
        """
        solved, *_ = np.linalg.lstsq(self._in_plane, (points_mm - self._origins[z]).T, rcond=None)
        return np.asarray(solved.T)

    def place(
        self, mask: NDArray[np.bool_], to_lps_mm: NDArray[np.float64], onto: NDArray[np.bool_]
    ) -> None:
        """Add a plane's `mask` (rows, columns) to the voxels `onto` (z, y, x) where it lies.

        `to_lps_mm` (3, 3) maps (1, row, column) to LPS mm. Its pixels may be turned by quarters,
        mirrored or a part of the slice, but must fall on the slice's own; UnusableAnnotation
        otherwise.
        """
        far = np.array(mask.shape) - 1
        corners = np.array([[1, 0, 0], [1, far[0], 0], [1, 0, far[1]], [1, far[0], far[1]]])
        places = corners @ to_lps_mm.T
        z = self.slice_at(places)
        exact = self.rows_and_columns(places, z)
        if np.abs(exact - np.rint(exact)).max() > _OFF_PIXEL:
            raise UnusableAnnotation("does not fall on the pixels of its slice")
        pixels = np.argwhere(mask)
        if not len(pixels):
            return
        inside = np.concatenate([np.ones((len(pixels), 1)), pixels], axis=1) @ to_lps_mm.T
        rows, columns = np.rint(self.rows_and_columns(inside, z)).astype(int).T
        if min(rows.min(), columns.min()) < 0 or (
            rows.max() >= self.shape[1] or columns.max() >= self.shape[2]
        ):
            raise UnusableAnnotation("reaches beyond its slice")
        onto[z, rows, columns] = True
