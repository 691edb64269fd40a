"""What a series is, is said as it is and in few words: mosaics, cone beam images, a series for
every slice.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import XRay3DCraniofacialImageStorage

from dicom_node.errors import NotAVolume, NoUsableSeries
from dicom_node.series.choice import choose_series
from dicom_node.series.header import read_header
from dicom_node.series.stack import stack_of
from dicom_node.values import InstanceHeader
from tests.support import phantoms

SMALL: dict[str, Any] = {"shape": (6, 10, 12), "spacing_mm": (5.0, 20.0, 18.0)}
MOSAIC = ("ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC")


def headers_in(folder: Path) -> list[InstanceHeader]:
    return [read_header(path) for path in sorted(folder.rglob("*.dcm"))]


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("step_mm", [0.0, 0.12, 30.0])
def test_mosaics_are_no_slices_however_they_moved(
    tmp_path: Path, count: int, step_mm: float
) -> None:
    phantoms.torso_ct(
        tmp_path,
        modality="MR",
        image_type=MOSAIC,
        shape=(count, 40, 48),
        spacing_mm=(step_mm, 8, 8),
    )

    with pytest.raises(NotAVolume, match="mosaic"):
        choose_series(headers_in(tmp_path))


def test_mosaics_among_slices_are_left_out(tmp_path: Path) -> None:
    phantom = phantoms.torso_ct(tmp_path, modality="MR", **SMALL)
    extra = tmp_path / "extra.dcm"
    extra.write_bytes(phantom.paths[0].read_bytes())
    phantoms.rewrite(extra, ImageType=[*MOSAIC], SOPInstanceUID="1.2.3", InstanceNumber=99)

    stack = stack_of(choose_series(headers_in(tmp_path)).headers)

    assert stack.shape == (6, 10, 12)
    assert stack.warnings == ("Left out as mosaics, many slices tiled in one image: instance 99.",)


def test_an_enhanced_object_that_still_says_mosaic_is_a_volume(tmp_path: Path) -> None:
    edit = phantoms.setting(ImageType=[*MOSAIC])
    phantoms.torso_ct(tmp_path, enhanced=True, edit=edit, **SMALL)

    assert stack_of(choose_series(headers_in(tmp_path)).headers).shape == (6, 10, 12)


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_many_frames_without_functional_groups(tmp_path: Path, modality: str) -> None:
    def edit(z: int, ds: Any) -> None:
        ds.NumberOfFrames = 4

    phantom = phantoms.torso_ct(tmp_path, modality=modality, shape=(1, 10, 12), edit=edit)
    phantoms.rewrite(phantom.paths[0], PixelData=bytes(4 * 240))

    with pytest.raises(NotAVolume) as caught:
        choose_series(headers_in(tmp_path))

    assert "of 4 frames without functional groups, as some cone beam scanners" in str(caught.value)
    assert "phases" not in str(caught.value)


def test_a_cone_beam_volume_of_its_own_class(tmp_path: Path) -> None:
    phantom = phantoms.torso_ct(tmp_path, shape=(1, 10, 12))
    phantoms.rewrite(phantom.paths[0], SOPClassUID=XRay3DCraniofacialImageStorage)

    with pytest.raises(NoUsableSeries, match="cone beam volume in one multi-frame image"):
        choose_series(headers_in(tmp_path))


@pytest.mark.parametrize("count", [3, 30])
def test_a_series_for_every_slice(tmp_path: Path, count: int) -> None:
    for n in range(count):
        phantoms.torso_ct(
            tmp_path / str(n),
            name=f"s{n}",
            series_number=n + 1,
            centre_mm=(0, 0, 5.0 * n),
            shape=(1, 10, 12),
        )
    phantoms.secondary_capture(tmp_path / "capture")

    with pytest.raises(NoUsableSeries) as caught:
        choose_series(headers_in(tmp_path))

    sentence = str(caught.value)
    assert f"{count} series of CT (1-{count}) hold a single slice each" in sentence
    assert "under one Series Instance UID" in sentence
    assert "series 90 (CT, 1 image) holds no slices" in sentence
    assert len(sentence) < 500


def test_many_reasons_are_counted(tmp_path: Path) -> None:
    for n in range(9):
        phantoms.torso_ct(
            tmp_path / str(n), name=f"s{n}", series_number=n + 1, skip=(2,), shape=(6, 10, 12)
        )

    with pytest.raises(NoUsableSeries) as caught:
        choose_series(headers_in(tmp_path))
    assert "; and 3 more." in str(caught.value)

    phantoms.torso_ct(tmp_path / "whole", name="whole", series_number=20, **SMALL)
    warnings = choose_series(headers_in(tmp_path)).warnings
    assert len(warnings) == 7
    assert warnings[-1] == "Left out for such reasons: 3 more series."


def test_the_series_that_a_study_holds_are_bounded(tmp_path: Path) -> None:
    for n in range(9):
        phantoms.torso_ct(tmp_path / str(n), name=f"s{n}", series_number=n + 1, shape=(1, 10, 12))

    with pytest.raises(NoUsableSeries, match=r"series 6 \(CT, 1 image\); and 3 more\.$"):
        choose_series(headers_in(tmp_path), series_instance_uid="1.2.3")
