"""Series from real scanners: right where they are volumes, refused in words where they are none."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import generate_uid

from dicom_node.errors import DicomNodeError, NotAVolume, UndecodablePixels
from dicom_node.series.choice import choose_series
from dicom_node.series.header import read_header
from dicom_node.values import InstanceHeader, SourceVolume
from dicom_node.volume.volume import load_volume


def headers_in(folder: Path, pattern: str = "*") -> list[InstanceHeader]:
    return [read_header(path) for path in sorted(folder.glob(pattern)) if path.is_file()]


def by_itk(volume: Any) -> Any:
    """Another reader's array (z, y, x) and affine (z, y, x) -> LPS of the same files."""
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames([str(frame.path) for frame in volume.frames])
    image = reader.Execute()
    affine = np.eye(4)
    steps = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, :3] = steps[:, ::-1]
    affine[:3, 3] = image.GetOrigin()
    return SimpleITK.GetArrayFromImage(image), affine


@pytest.mark.parametrize(
    ("folder", "shape"),
    [
        ("ct_dicom_totalseg/dicom", (20, 512, 512)),
        ("mr_dicom_studyforrest_t1", (64, 384, 274)),
        ("odd_dicom/vs_seg_mr_3slices", (3, 512, 512)),
    ],
)
def test_real_series_agree_with_another_reader(
    shared_data: Path, folder: str, shape: tuple[int, int, int]
) -> None:
    choice = choose_series(headers_in(shared_data / folder))

    volume = load_volume(choice.headers)
    array, affine = by_itk(volume)

    assert volume.intensities.shape == shape
    assert np.array_equal(volume.intensities, array)
    assert np.allclose(volume.affine_zyx_to_lps, affine, atol=1e-3)
    assert volume.warnings == ()


@pytest.mark.parametrize("organ", ["liver", "spleen"])
def test_the_sample_lies_where_its_reference_masks_lie(shared_data: Path, organ: str) -> None:
    folder = shared_data / "ct_dicom_totalseg"
    volume = load_volume(headers_in(folder / "dicom"))
    reference: Any = nibabel.load(folder / "example_seg_dicom.nii.gz")
    names = json.loads((folder / "labels.json").read_text())
    (label,) = [int(number) for number, name in names.items() if name == organ]
    ijk = np.argwhere(np.asarray(reference.dataobj) == label)

    lps = (ijk @ reference.affine[:3, :3].T + reference.affine[:3, 3]) * (-1, -1, 1)
    inverse = np.linalg.inv(volume.affine_zyx_to_lps)
    zyx = np.round(lps @ inverse[:3, :3].T + inverse[:3, 3]).astype(int)
    grey = volume.intensities[tuple(zyx.T)]

    # enhanced organs are even; mirrored masks would take in gas, fat and bone (standard deviation
    # 150 and more)
    assert 60 < np.median(grey) < 250
    assert grey.std() < 60


def test_the_tilted_head_is_refused_with_its_angle(shared_data: Path) -> None:
    with pytest.raises(NotAVolume, match=r"instances 1-28 are stacked 18\.5 degrees"):
        choose_series(headers_in(shared_data / "ct_dicom_ge_tilted_head"))


def test_tilt_without_a_word_in_the_header_is_found(shared_data: Path) -> None:
    with pytest.raises(NotAVolume, match=r"instances 1-4 are stacked 14\.0 degrees"):
        choose_series(headers_in(shared_data / "odd_dicom" / "d2n", "failing*"))


def test_legacy_converted_and_enhanced_objects(shared_data: Path) -> None:
    odd = shared_data / "odd_dicom"

    legacy = load_volume([read_header(odd / "dcmqi" / "24x38x3__multiframe__mf.dcm")])
    siemens = load_volume([read_header(odd / "nv" / "enh.dcm")])
    supplement = load_volume([read_header(odd / "pdd" / "eCT_Supplemental.dcm")])

    assert legacy.intensities.shape == (3, 38, 24)
    assert siemens.intensities.shape == (6, 64, 64)
    # its rows run to the patient's right, so that row x column points to the feet
    assert np.allclose(supplement.affine_zyx_to_lps[:3, 0], (0, 0, -10), atol=1e-3)


def test_the_slices_that_lie_beside_their_own_segmentation(shared_data: Path) -> None:
    choice = choose_series(
        headers_in(shared_data / "odd_dicom" / "dcmqi_ct3slice_liverSEG", "*.dcm")
    )

    assert [header.path.name for header in choice.headers] == ["01.dcm", "02.dcm", "03.dcm"]


@pytest.mark.parametrize(
    "syntax", ["1.2.1.99", "2.4.50", "2.4.70", "2.4.80", "2.4.90", "2.4.91", "1.2.5"]
)
def test_one_real_slice_in_every_syntax(shared_data: Path, tmp_path: Path, syntax: str) -> None:
    headers = twice(one_real_slice(shared_data, syntax), tmp_path)
    reference = twice(one_real_slice(shared_data, "2.4.80"), tmp_path)

    decoded = load_volume(headers).intensities[0]
    expected = load_volume(reference).intensities[0]

    tolerance = {"2.4.50": 200.0, "2.4.91": 40.0}.get(syntax, 0.0)  # the lossy ones; .50 has 8 bits
    assert np.abs(decoded - expected).max() <= tolerance


@pytest.mark.parametrize("behind", [b"\0" * 64, b"\xff\xd9 behind it all"])
@pytest.mark.parametrize("syntax", ["2.4.50", "2.4.70", "2.4.80", "2.4.90", "2.4.91"])
def test_a_real_slice_with_bytes_behind_its_end(
    shared_data: Path, tmp_path: Path, syntax: str, behind: bytes
) -> None:
    headers = twice(one_real_slice(shared_data, syntax), tmp_path)
    expected = load_volume(headers).intensities
    for header in headers:
        ds = pydicom.dcmread(header.path)
        (frame,) = generate_frames(ds.PixelData, number_of_frames=1)
        ds.PixelData = encapsulate([frame + behind])
        ds.save_as(header.path)

    assert np.array_equal(load_volume(headers).intensities, expected)


@pytest.mark.parametrize("syntax", ["2.4.50", "2.4.70", "2.4.80", "2.4.90", "2.4.91", "1.2.5"])
def test_a_real_slice_that_lost_its_end_is_never_decoded(
    shared_data: Path, tmp_path: Path, syntax: str
) -> None:
    headers = twice(one_real_slice(shared_data, syntax), tmp_path)
    ds = pydicom.dcmread(headers[1].path)
    (frame,) = generate_frames(ds.PixelData, number_of_frames=1)
    ds.PixelData = encapsulate([frame[: len(frame) // 200 * 198]])
    ds.save_as(headers[1].path)

    with pytest.raises(UndecodablePixels, match="instance 2 is damaged"):
        load_volume(headers)


def test_the_syntax_that_nobody_decodes_is_refused_by_name(
    shared_data: Path, tmp_path: Path
) -> None:
    headers = twice(one_real_slice(shared_data, "2.4.53"), tmp_path)

    with pytest.raises(UndecodablePixels, match=r"1\.2\.840\.10008\.1\.2\.4\.53"):
        load_volume(headers)


def one_real_slice(shared_data: Path, syntax: str) -> Path:
    (path,) = (shared_data / "odd_dicom" / "cs3d").glob(f"*.{syntax}.dcm")
    return Path(path)


def twice(path: Path, folder: Path, **changes: Any) -> list[InstanceHeader]:
    """A series of two: the slice with `changes`, and the same 5 mm higher."""
    written = []
    for number in (0, 1):
        with warnings.catch_warnings(action="ignore"):  # these files are odd, pydicom says so
            ds = pydicom.dcmread(path)
            for keyword, value in changes.items():
                setattr(ds, keyword, value)
            ds.ImagePositionPatient[2] += 5 * number
            ds.InstanceNumber += number
            ds.SOPInstanceUID = generate_uid()
            written.append(folder / f"{path.name}-{number}.dcm")
            ds.save_as(written[-1])
    return [read_header(copy) for copy in written]


def test_every_odd_file_is_a_volume_or_a_sentence(shared_data: Path) -> None:
    outcomes: dict[str, SourceVolume | str] = {}
    for path in sorted((shared_data / "odd_dicom").rglob("*")):
        if not path.is_file():
            continue
        try:
            header = read_header(path)
            outcomes[path.name] = load_volume(choose_series([header]).headers)
        except DicomNodeError as error:
            outcomes[path.name] = str(error)

    assert len(outcomes) > 40
    assert all(
        len(said) > 20 and said.endswith((".", "DICOM", "file"))
        for said in outcomes.values()
        if isinstance(said, str)
    ), outcomes


@pytest.mark.parametrize(
    ("name", "lowest", "highest"),
    [
        ("pd/CT_small.dcm", -896, 1167),
        ("pd/MR_small.dcm", 127, 2145),
        ("pd/MR_small_RLE.dcm", 127, 2145),
        ("pd/MR_small_bigendian.dcm", 127, 2145),
        ("fod/CT1_J2KI", -3339, 1385),
    ],
)
def test_odd_slices_as_a_series_of_two(
    shared_data: Path, tmp_path: Path, name: str, lowest: int, highest: int
) -> None:
    volume = load_volume(twice(shared_data / "odd_dicom" / name, tmp_path))

    assert volume.intensities.min() == lowest
    assert volume.intensities.max() == highest


def test_a_codestream_whose_sign_the_header_denies(shared_data: Path, tmp_path: Path) -> None:
    straight = {"GantryDetectorTilt": 0, "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
    headers = twice(
        shared_data / "odd_dicom" / "pd" / "J2K_pixelrep_mismatch.dcm", tmp_path, **straight
    )

    volume = load_volume(headers)

    assert volume.intensities.min() == -2000  # read as unsigned, this would be 63,536 HU
    assert volume.intensities.max() < 4000


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "pd/MR_truncated.dcm",
            "instances 1, 2 is damaged or incomplete (it ends after 8130 of 8192 bytes)",
        ),
        ("pd/J2K_pixelrep_mismatch.dcm", "instances 7, 8 are stacked 22.0 degrees off"),
        ("pd/693_J2KI.dcm", "Frame of Reference UID is missing in instances 21, 22"),
        ("nib/slicethickness_empty_string.dcm", "one position (instances 17, 18)"),
    ],
)
def test_odd_slices_that_make_no_volume(
    shared_data: Path, tmp_path: Path, name: str, said: str
) -> None:
    with pytest.raises(NotAVolume) as caught:
        load_volume(twice(shared_data / "odd_dicom" / name, tmp_path))

    assert said in str(caught.value)
