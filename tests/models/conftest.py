"""Fixtures of the models' tests: one LiteMedSAM a session, the sample CT as a volume with its
labels.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from agent.geometry import Geometry
from agent.values import Prompts, Volume
from tests.support import parity

if TYPE_CHECKING:
    from models.segmenters.litemedsam import LiteMedSam


@pytest.fixture(scope="session")
def litemedsam(tmp_path_factory: pytest.TempPathFactory) -> LiteMedSam:
    """The real segmenter on its fast encoder, exported once a session."""
    from models.segmenters.litemedsam import LiteMedSam

    return LiteMedSam(cache_dir=tmp_path_factory.mktemp("onnx"))


@pytest.fixture(params=["points", "box", "points_box", "one click"])
def prompts(request: pytest.FixtureRequest) -> Prompts:
    """Each kind of prompt, on the slice of tests/support/parity.py."""
    return parity.PROMPTS[request.param]


@dataclass(frozen=True, eq=False)
class SampleCt:
    """The sample CT (z, y, x) in HU and its reference labels on the same grid, by name."""

    volume: Volume
    labels: dict[str, NDArray[np.bool_]]


@pytest.fixture(scope="session")
def sample_ct(shared_data: Path) -> SampleCt:
    """The 20-slice contrast CT, read with pydicom and nibabel alone; labels mapped by affine, not
    by index.
    """
    folder = shared_data / "ct_dicom_totalseg"
    files = [pydicom.dcmread(path) for path in (folder / "dicom").iterdir()]
    files.sort(key=lambda file: float(file.ImagePositionPatient[2]))
    first, last = files[0], files[-1]
    slope, intercept = float(first.RescaleSlope), float(first.RescaleIntercept)
    hu = np.stack([file.pixel_array * slope + intercept for file in files]).astype(np.float32)
    row_mm, column_mm = map(float, first.PixelSpacing)
    origin = np.array(first.ImagePositionPatient, dtype=float)
    affine = np.eye(4)
    affine[:3, 0] = (np.array(last.ImagePositionPatient, dtype=float) - origin) / (len(files) - 1)
    affine[:3, 1] = np.array(first.ImageOrientationPatient[3:], dtype=float) * row_mm
    affine[:3, 2] = np.array(first.ImageOrientationPatient[:3], dtype=float) * column_mm
    affine[:3, 3] = origin
    geometry = Geometry(hu.shape, affine)

    image: Any = nibabel.load(folder / "example_seg_dicom.nii.gz")
    label_map = np.asarray(image.dataobj).astype(np.uint8)
    index = np.stack(np.meshgrid(*map(np.arange, hu.shape), indexing="ij"), -1).reshape(-1, 3)
    ras = geometry.to_patient_mm(index.astype(float)) * (-1, -1, 1)
    ijk = np.rint((ras - image.affine[:3, 3]) @ np.linalg.inv(image.affine[:3, :3]).T).astype(int)
    labels = label_map[tuple(ijk.T)].reshape(hu.shape)
    names = json.loads((folder / "labels.json").read_text())
    return SampleCt(
        Volume(hu, geometry, "CT"),
        {name: labels == int(value) for value, name in names.items()},
    )
