"""Measurements of a real CT's organs, beside those of SimpleITK's label filters."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray

from dicom_node.results.measurements import diameters, intensity, volume_ml
from dicom_node.series.header import read_header
from dicom_node.values import ResultSegment, SourceVolume
from dicom_node.volume.volume import load_volume

Segment = Callable[..., ResultSegment]
# thick and thin, in one piece and in several, and one that touches the first and last slice
ORGANS = ("liver", "spleen", "stomach", "colon", "aorta", "adrenal_gland_right")


@pytest.fixture(scope="module")
def organs(shared_data: Path) -> tuple[SourceVolume, dict[str, NDArray[np.bool_]]]:
    """The sample's volume and its masks on the volume's own grid."""
    folder = shared_data / "ct_dicom_totalseg"
    volume = load_volume([read_header(path) for path in sorted((folder / "dicom").iterdir())])
    reference: Any = nibabel.load(folder / "example_seg_dicom.nii.gz")
    names = json.loads((folder / "labels.json").read_text("utf-8"))
    to_index = np.linalg.inv(reference.affine) @ np.diag([-1.0, -1.0, 1.0, 1.0])
    to_index = to_index @ volume.affine_zyx_to_lps
    shape = volume.intensities.shape
    places = np.indices(shape).reshape(3, -1)
    i, j, k = np.rint(to_index[:3, :3] @ places + to_index[:3, 3:]).astype(int)
    labels = np.asarray(reference.dataobj)[i, j, k].reshape(shape)
    masks = {name: labels == int(number) for number, name in names.items() if name in ORGANS}
    return volume, masks


def itk_image(array: NDArray[Any], spacing_xyz_mm: tuple[float, ...]) -> SimpleITK.Image:
    """An array (z, y, x) or (y, x) with its voxels' size."""
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing(spacing_xyz_mm)
    return image


@pytest.mark.parametrize("organ", ORGANS)
def test_volume_mean_and_deviation_are_simpleitks(
    organs: tuple[SourceVolume, dict[str, NDArray[np.bool_]]], segment: Segment, organ: str
) -> None:
    volume, masks = organs
    spacing = tuple(float(s) for s in np.linalg.norm(volume.affine_zyx_to_lps[:3, 2::-1], axis=0))
    mask = itk_image(masks[organ].astype(np.uint8), spacing)
    shape, grey = (
        SimpleITK.LabelShapeStatisticsImageFilter(),
        SimpleITK.LabelStatisticsImageFilter(),
    )
    shape.Execute(mask)
    grey.Execute(itk_image(volume.intensities, spacing), mask)
    drawn = segment("liver", masks[organ])
    inside = intensity(drawn, volume)

    assert volume_ml(drawn, volume) == pytest.approx(shape.GetPhysicalSize(1) / 1000, rel=1e-9)
    assert inside.mean == pytest.approx(grey.GetMean(1), abs=1e-3)
    # ITK's is that of a sample, ours of the voxels that there are
    count = shape.GetNumberOfPixels(1)
    of_sample = inside.standard_deviation * np.sqrt(count / (count - 1))
    assert of_sample == pytest.approx(grey.GetSigma(1), abs=1e-3)


@pytest.mark.parametrize("organ", ORGANS)
def test_the_long_axis_is_simpleitks_between_outer_edges_of_pixels(
    organs: tuple[SourceVolume, dict[str, NDArray[np.bool_]]], segment: Segment, organ: str
) -> None:
    """Feret's diameter runs between the centres of pixels, the report's between their outer edges:
    half a pixel more at each end, at most half a diagonal.
    """
    volume, masks = organs
    measured = diameters(segment("liver", masks[organ]), volume)
    plane = masks[organ][measured.z]
    spacing = tuple(float(s) for s in np.linalg.norm(volume.affine_zyx_to_lps[:3, 2:0:-1], axis=0))
    shape = SimpleITK.LabelShapeStatisticsImageFilter()
    shape.ComputeFeretDiameterOn()
    shape.Execute(itk_image(plane.astype(np.uint8), spacing))

    assert plane.sum() == max(mask.sum() for mask in masks[organ])
    more_mm = measured.long_mm - shape.GetFeretDiameter(1)
    assert 0.7 * min(spacing) < more_mm <= math.hypot(*spacing)
    assert 0 < measured.short_mm <= measured.long_mm
