"""Where voxels lie in the patient: one affine, exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Geometry:
    """A regular grid in the patient: `shape` (z, y, x) and the affine of voxel centres.

    `affine_zyx_to_lps` is (4, 4) float64 and maps a homogeneous zero-based voxel index (z, y, x, 1)
    to (x, y, z, 1) in mm in the patient's LPS frame (PS3.3 C.7.6.2.1.1). Raises ValueError
    for a shape that is not three positive sizes or an affine that cannot be inverted.
    """

    shape: tuple[int, int, int]
    affine_zyx_to_lps: NDArray[np.float64]

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise ValueError(f"shape must be three positive sizes (z, y, x), not {self.shape}")
        if self.affine_zyx_to_lps.shape != (4, 4):
            raise ValueError(f"affine must be (4, 4), not {self.affine_zyx_to_lps.shape}")
        if not np.isfinite(self.affine_zyx_to_lps).all():
            raise ValueError("the affine has values that are no finite numbers")
        if abs(np.linalg.det(self.affine_zyx_to_lps[:3, :3])) < 1e-9:
            raise ValueError(
                "the affine is singular: two axes of the grid are parallel or of length zero"
            )

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distances between neighbouring voxel centres along (z, y, x), mm."""
        z, y, x = np.linalg.norm(self.affine_zyx_to_lps[:3, :3], axis=0)
        return float(z), float(y), float(x)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres (right for sheared grids too)."""
        return float(abs(np.linalg.det(self.affine_zyx_to_lps[:3, :3])) / 1000.0)

    def to_patient_mm(self, index_zyx: NDArray[np.float64]) -> NDArray[np.float64]:
        """Positions (n, 3) float64 as (x, y, z) in LPS mm of voxel indices (n, 3) as (z, y, x),
        zero-based, fractions allowed.
        """
        points = np.asarray(index_zyx, dtype=np.float64)
        return points @ self.affine_zyx_to_lps[:3, :3].T + self.affine_zyx_to_lps[:3, 3]

    def matches(self, other: Geometry, tolerance_mm: float = 1e-3) -> bool:
        """Whether both grids have the same shape and every corner lies within `tolerance_mm`."""
        if self.shape != other.shape:
            return False
        # both maps are affine, so their difference is largest at one of the grid's 8 corners
        ends = [(0, size - 1) for size in self.shape]
        corners = np.array(np.meshgrid(*ends, indexing="ij"), dtype=np.float64).reshape(3, -1).T
        gap_mm = np.abs(self.to_patient_mm(corners) - other.to_patient_mm(corners))
        return bool(gap_mm.max() <= tolerance_mm)
