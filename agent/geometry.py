"""Where voxels are in the patient: one affine, said exactly."""

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
        """Patient positions (n, 3) as (x, y, z) LPS mm of zero-based voxel indices (n, 3) as (z, y,
        x).
        """
        points = np.asarray(index_zyx, dtype=np.float64)
        return points @ self.affine_zyx_to_lps[:3, :3].T + self.affine_zyx_to_lps[:3, 3]

    def to_index_zyx(self, patient_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """The inverse of `to_patient_mm`; indices are fractional."""
        inverse = np.linalg.inv(self.affine_zyx_to_lps[:3, :3])
        points = np.asarray(patient_mm, dtype=np.float64) - self.affine_zyx_to_lps[:3, 3]
        return points @ inverse.T

    def matches(self, other: Geometry, tolerance_mm: float = 1e-3) -> bool:
        """Whether both grids have the same shape and every corner lies within `tolerance_mm`."""
        if self.shape != other.shape:
            return False
        far = np.array(
            np.meshgrid(*[(0, n - 1) for n in self.shape], indexing="ij"), dtype=np.float64
        )
        corners = far.reshape(3, -1).T
        gap = np.abs(self.to_patient_mm(corners) - other.to_patient_mm(corners))
        return bool(gap.max() <= tolerance_mm)
