"""The phantoms themselves: what the other tests believe of them, checked with a reader of its
own.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.uid import UID, JPEG2000Lossless, JPEGLSLossless, RLELossless

from tests.support import phantoms


@pytest.mark.parametrize(
    "orientation", ["axial", "sagittal", "coronal", "oblique", "negated_columns"]
)
def test_the_liver_lies_to_the_right_in_every_orientation(tmp_path: Path, orientation: str) -> None:
    phantom = phantoms.torso_ct(
        tmp_path, orientation=orientation, shape=(30, 48, 48), spacing_mm=(8, 8, 8)
    )
    points = (
        np.argwhere(phantom.masks["liver"]) @ phantom.affine_zyx_to_lps[:3, :3].T
        + phantom.affine_zyx_to_lps[:3, 3]
    )

    # the liver's ellipsoid is centred at x = -62 (patient right), a little in front, at the
    # middle's height; the right kidney bites a little off behind
    assert np.allclose(points.mean(axis=0), (-62, -8, 5), atol=5)


def test_another_reader_finds_the_same_numbers_at_the_same_places(tmp_path: Path) -> None:
    phantom = phantoms.torso_ct(tmp_path, orientation="oblique", shape=(8, 20, 24), shuffle=3)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    image = reader.Execute()

    first = image.TransformIndexToPhysicalPoint((5, 7, 3))  # (x, y, z)
    expected = phantom.affine_zyx_to_lps @ (3, 7, 5, 1)

    assert np.array_equal(SimpleITK.GetArrayFromImage(image), phantom.hu)
    assert np.allclose(first, expected[:3], atol=1e-3)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_compressed_slices_decode_to_what_was_meant(tmp_path: Path, syntax: UID) -> None:
    phantom = phantoms.torso_ct(tmp_path, shape=(2, 32, 40), transfer_syntax_uid=syntax)
    ds = pydicom.dcmread(phantom.paths[1])

    assert ds.file_meta.TransferSyntaxUID == syntax
    assert np.array_equal(ds.pixel_array - 1024.0, phantom.hu[phantom.z_of_path[phantom.paths[1]]])


def test_an_enhanced_object_has_a_frame_a_slice(tmp_path: Path) -> None:
    phantom = phantoms.torso_ct(tmp_path, shape=(6, 16, 16), enhanced=True, shuffle=1)
    ds = pydicom.dcmread(phantom.paths[0])
    heights = [
        float(f.PlanePositionSequence[0].ImagePositionPatient[2])
        for f in ds.PerFrameFunctionalGroupsSequence
    ]

    order = np.argsort(heights)

    assert heights != sorted(heights)
    assert np.array_equal(ds.pixel_array[order] - 1024.0, phantom.hu)
