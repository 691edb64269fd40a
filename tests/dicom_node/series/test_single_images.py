"""Pictures: which one is taken, what it looks like, how large its pixels are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
    UltrasoundMultiFrameImageStorage,
)

from dicom_node.errors import NotAVolume, NoUsableSeries, UndecodablePixels
from dicom_node.series.choice import choose_series
from dicom_node.series.header import read_header
from dicom_node.values import SourceVolume
from dicom_node.volume.volume import load_volume
from tests.support import phantoms, pictures


def load(path: Path) -> SourceVolume:
    """The picture in a file as the node takes it."""
    choice = choose_series([read_header(path)])
    return load_volume(choice.headers)


def region(delta_cm: tuple[float, float], **elements: Any) -> Dataset:
    """An ultrasound region: centimetres between columns and rows."""
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType = 1, 1
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = 3
    item.PhysicalDeltaX, item.PhysicalDeltaY = delta_cm
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


class TestLook:
    @pytest.mark.parametrize("kind", ["CR", "DX", "US", "XC", "OP", "ES", "SC"])
    def test_every_class_is_one_slice(self, kind: str, tmp_path: Path) -> None:
        made = pictures.picture(tmp_path, kind)

        volume = load(made.path)

        assert volume.intensities.shape == (1, 48, 64)
        assert volume.single_image
        assert volume.modality == pictures.KINDS[kind][1]
        assert volume.frame_of_reference_uid == ""
        assert [frame.sop_instance_uid for frame in volume.frames] == [made.sop_instance_uid]
        assert (volume.intensities[0][made.mask] > volume.intensities[0][~made.mask].max()).all()

    @pytest.mark.parametrize(
        "stored", ["RGB", "RGB in planes", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422"]
    )
    def test_colour_is_rgb_however_it_is_stored(self, stored: str, tmp_path: Path) -> None:
        syntax = JPEGBaseline8Bit if stored == "YBR_FULL_422" else ExplicitVRLittleEndian
        made = pictures.picture(tmp_path, "ES", stored=stored, transfer_syntax_uid=syntax)

        volume = load(made.path)

        assert volume.colour is not None
        assert volume.colour.shape == (1, 48, 64, 3)
        assert volume.colour.dtype == np.uint8
        # lossy chrominance bleeds over edges, so the middle of both parts is compared
        apart = np.abs(volume.colour[0].astype(int) - made.rgb)
        assert np.median(apart[made.mask], axis=0).max() <= 3
        assert np.median(apart[~made.mask], axis=0).max() <= 3
        # luminance of (250, 200, 120) by ITU-R BT.601
        assert np.median(volume.intensities[0][made.mask]) == pytest.approx(205.8, abs=3)

    @pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless, RLELossless])
    @pytest.mark.parametrize("kind", ["DX", "XC"])
    def test_compressed_is_the_same(self, kind: str, syntax: Any, tmp_path: Path) -> None:
        plain = load(pictures.picture(tmp_path / "plain", kind).path)

        compressed = load(
            pictures.picture(tmp_path / "small", kind, transfer_syntax_uid=syntax).path
        )

        np.testing.assert_array_equal(compressed.intensities, plain.intensities)
        if plain.colour is not None:
            np.testing.assert_array_equal(compressed.colour, plain.colour)

    def test_inverted_grey_is_turned_round(self, tmp_path: Path) -> None:
        made = pictures.picture(tmp_path, "CR", stored="MONOCHROME1")

        shown = load(made.path).intensities[0]

        assert shown[made.mask].min() > shown[~made.mask].max()

    def test_the_window_in_the_header_is_used(self, tmp_path: Path) -> None:
        # Arrange: body 3200 of 4095, ground 640; a window that shows nothing below 2400
        made = pictures.picture(tmp_path, "DX", WindowCenter="2800", WindowWidth="800")

        shown = load(made.path).intensities[0]

        assert shown[~made.mask].max() == 0
        assert shown[made.mask].min() > 3500

    def test_a_window_without_width_hides_nothing(self, tmp_path: Path) -> None:
        made = pictures.picture(tmp_path, "DX", WindowCenter="0", WindowWidth="0")

        assert np.ptp(load(made.path).intensities) == 3200 - 640

    def test_padding_is_black_and_no_part_of_the_inversion(self, tmp_path: Path) -> None:
        def pad(ds: Dataset) -> None:
            values = np.frombuffer(ds.PixelData, "<u2").reshape(ds.Rows, ds.Columns).copy()
            values[:5] = 0
            ds.PixelData, ds.PixelPaddingValue = values.tobytes(), 0

        made = pictures.picture(tmp_path, "CR", stored="MONOCHROME1", edit=pad)

        shown = load(made.path).intensities[0]

        assert (shown[:5] == shown[5:].min()).all()
        assert shown[5:][made.mask[5:]].min() > shown[5:][~made.mask[5:]].max()

    def test_grey_stored_in_colour_is_grey(self, tmp_path: Path) -> None:
        def grey(ds: Dataset) -> None:
            ds.PixelData = np.repeat(np.frombuffer(ds.PixelData, np.uint8)[::3], 3).tobytes()

        volume = load(pictures.picture(tmp_path, "US", edit=grey).path)

        assert volume.colour is None
        assert set(np.unique(volume.intensities)) == {30.0, 250.0}

    @pytest.mark.parametrize("shape", [(48, 64), (1, 1), (7, 300), (301, 5)])
    def test_any_shape(self, shape: tuple[int, int], tmp_path: Path) -> None:
        made = pictures.picture(tmp_path, "XC", shape=shape)

        assert load(made.path).intensities.shape == (1, *shape)


class TestSize:
    @pytest.mark.parametrize(
        ("kind", "elements", "spacing_mm", "sized", "said"),
        [
            ("DX", {"PixelSpacing": ["0.2", "0.3"]}, (0.2, 0.3), True, ""),
            ("DX", {"PixelSpacing": ["0.2", "0.2"], "ImagerPixelSpacing": ["0.3", "0.3"]}, (0.2, 0.2), True, ""),
            ("DX", {"ImagerPixelSpacing": ["0.3", "0.3"]}, (0.3, 0.3), True, "on the detector"),
            ("DX", {"ImagerPixelSpacing": ["0.3", "0.3"], "EstimatedRadiographicMagnificationFactor": "1.5"}, (0.2, 0.2), True, ""),
            ("SC", {"NominalScannedPixelSpacing": ["0.1", "0.1"]}, (0.1, 0.1), True, "film"),
            ("US", {"SequenceOfUltrasoundRegions": [region((0.02, 0.03))]}, (0.3, 0.2), True, ""),
            ("US", {"SequenceOfUltrasoundRegions": [region((0.02, 0.03)), region((1, 1), RegionSpatialFormat=3)]}, (0.3, 0.2), True, ""),
            ("US", {"SequenceOfUltrasoundRegions": [region((0.02, 0.02)), region((0.03, 0.03))]}, (1, 1), False, "different scales"),
            ("US", {"SequenceOfUltrasoundRegions": [region((0.02, 0.02), PhysicalUnitsYDirection=4)]}, (1, 1), False, "in pixels"),
            ("XC", {"PixelAspectRatio": ["4", "3"]}, (4 / 3, 1), False, "in pixels"),
            ("XC", {"PixelSpacing": ["0", "0"]}, (1, 1), False, "in pixels"),
            ("ES", {}, (1, 1), False, "does not say how large a pixel is"),
        ],
    )  # fmt: skip
    def test_whatever_says_it(
        self,
        kind: str,
        elements: dict[str, Any],
        spacing_mm: tuple[float, float],
        sized: bool,
        said: str,
        tmp_path: Path,
    ) -> None:
        stored: dict[str, Any] = {
            keyword: DicomSequence(value) if keyword.startswith("Sequence") else value
            for keyword, value in elements.items()
        }
        made = pictures.picture(tmp_path, kind, **stored)

        volume = load(made.path)

        # rows downwards along y, columns along x, slices 1 mm along z
        steps = volume.affine_zyx_to_lps[:3, :3]
        row_mm, column_mm = spacing_mm
        expected = np.array([[0, 0, column_mm], [0, row_mm, 0], [1, 0, 0]])
        np.testing.assert_allclose(steps, expected)
        assert volume.sized == sized
        assert said in " ".join(volume.warnings)
        assert bool(volume.warnings) == bool(said)


def chosen(pictures: Sequence[Any], **options: Any) -> tuple[str, tuple[str, ...]]:
    """SOP Instance UID of what is chosen among these, and the warnings."""
    choice = choose_series([read_header(one.path) for one in pictures], **options)
    (header,) = choice.headers
    return header.sop_instance_uid, choice.warnings


class TestChoice:
    def test_the_frontal_view_of_a_chest_and_the_lateral_is_named(self, tmp_path: Path) -> None:
        lateral = pictures.picture(
            tmp_path, "DX", name="b", series="chest", InstanceNumber=1, ViewPosition="LL"
        )
        frontal = pictures.picture(
            tmp_path, "DX", name="a", series="chest", InstanceNumber=2, ViewPosition="PA"
        )

        uid, warnings = chosen([lateral, frontal])

        assert uid == frontal.sop_instance_uid
        assert len(warnings) == 1
        assert "instance 2 of series 3 (DX, PA)" in warnings[0]
        assert "Left out: instance 1 of series 3 (DX, LL)" in warnings[0]

    def test_the_first_of_many_and_the_sentence_stays_short(self, tmp_path: Path) -> None:
        made = [
            pictures.picture(tmp_path, "US", name=f"i{n}", series="us", InstanceNumber=n)
            for n in range(9, 0, -1)
        ]

        uid, (warning,) = chosen(made)

        assert uid == made[-1].sop_instance_uid
        assert "and 4 more" in warning

    def test_the_series_asked_for(self, tmp_path: Path) -> None:
        first = pictures.picture(tmp_path, "DX", name="a", SeriesNumber=1)
        second = pictures.picture(tmp_path, "DX", name="b", SeriesNumber=2)

        uid, warnings = chosen([first, second], series_instance_uid=second.series_instance_uid)

        assert (uid, warnings) == (second.sop_instance_uid, ())

    def test_for_display_before_raw(self, tmp_path: Path) -> None:
        raw = pictures.picture(
            tmp_path,
            "DX",
            name="raw",
            InstanceNumber=1,
            SOPClassUID="1.2.840.10008.5.1.4.1.1.1.1.1",
        )
        shown = pictures.picture(tmp_path, "DX", name="shown", InstanceNumber=2)

        assert chosen([raw, shown])[0] == shown.sop_instance_uid

    def test_slices_come_first_and_a_picture_only_when_asked_for(self, tmp_path: Path) -> None:
        phantom = phantoms.torso_ct(tmp_path / "ct", shape=(6, 10, 12))
        study = read_header(phantom.paths[0]).study_instance_uid
        made = pictures.picture(tmp_path / "us", "US", StudyInstanceUID=study)
        headers = [read_header(path) for path in (*phantom.paths, made.path)]

        assert choose_series(headers).series_instance_uid == phantom.series_instance_uid
        asked = choose_series(headers, series_instance_uid=made.series_instance_uid)
        assert [header.sop_instance_uid for header in asked.headers] == [made.sop_instance_uid]

    def test_slices_that_are_no_volume_are_not_answered_by_a_picture(self, tmp_path: Path) -> None:
        phantom = phantoms.torso_ct(tmp_path / "ct", shape=(6, 10, 12), skip=(3,))
        study = read_header(phantom.paths[0]).study_instance_uid
        made = pictures.picture(tmp_path / "us", "US", StudyInstanceUID=study)

        with pytest.raises(NotAVolume) as caught:
            choose_series([read_header(path) for path in (*phantom.paths, made.path)])

        assert "1 slice is missing" in str(caught.value)
        assert "holds pictures, which are taken only where a study has no slices" in str(
            caught.value
        )

    @pytest.mark.parametrize(
        ("kind", "elements", "said"),
        [
            ("US", {"SOPClassUID": UltrasoundMultiFrameImageStorage, "NumberOfFrames": 40}, "holds a loop of frames"),
            ("SC", {"Modality": "CT"}, "holds no slices"),  # a screen of the CT
            ("XC", {"SeriesInstanceUID": None}, "has no Series Instance UID"),
            ("US", {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "holds no slices"),
        ],
    )  # fmt: skip
    def test_what_is_no_picture_is_refused_with_a_sentence(
        self,
        kind: str,
        elements: dict[str, Any],
        said: str,
        tmp_path: Path,
    ) -> None:
        made = pictures.picture(tmp_path, kind, **elements)

        with pytest.raises(NoUsableSeries, match=said):
            choose_series([read_header(made.path)])

    def test_one_frame_of_a_class_for_loops_is_a_picture(self, tmp_path: Path) -> None:
        made = pictures.picture(
            tmp_path, "US", SOPClassUID=UltrasoundMultiFrameImageStorage, NumberOfFrames=1
        )

        assert load(made.path).intensities.shape == (1, 48, 64)


class TestDamage:
    @pytest.mark.parametrize(
        ("elements", "said"),
        [
            ({"PixelData": None}, "ends before its pixel data"),
            ({"PixelData": b"\0" * 100}, "instance 1 is damaged or incomplete"),
            ({"Rows": None}, "Rows or Columns are missing in instance 1"),
            (
                {"PhotometricInterpretation": "XYZ"},
                "Photometric Interpretation of instance 1 is XYZ",
            ),
            ({"BitsStored": 17}, "Bits Stored of instance 1 is 17 with 8 Bits Allocated"),
            ({"SamplesPerPixel": 1}, "Photometric Interpretation of instance 1 is RGB with 1"),
            ({"Rows": 60000, "Columns": 60000}, "make 3,600,000,000 pixels, more than the 100,000"),
        ],
    )
    def test_a_sentence_says_what_is_wrong(
        self, elements: dict[str, Any], said: str, tmp_path: Path
    ) -> None:
        made = pictures.picture(tmp_path, "XC", **elements)

        with pytest.raises(NotAVolume, match=said):
            load(made.path)

    def test_a_rescale_that_is_no_number_is_named(self, tmp_path: Path) -> None:
        made = pictures.picture(tmp_path, "CR", RescaleSlope=1, RescaleIntercept=0)
        phantoms.patch(made.path, "RescaleSlope", b"steep")

        with pytest.raises(NotAVolume, match="Rescale Slope of instance 1 is a text") as caught:
            load(made.path)

        assert "damaged" not in str(caught.value)

    def test_a_table_that_is_none_is_named(self, tmp_path: Path) -> None:
        made = pictures.picture(
            tmp_path, "US", stored="PALETTE COLOR", RedPaletteColorLookupTableData=None
        )

        with pytest.raises(NotAVolume, match="Palette Color Lookup Table of instance 1"):
            load(made.path)

    @pytest.mark.parametrize("behind", [b"\0" * 64, b"padding!"])
    def test_bytes_behind_a_jpeg_do_no_harm(self, behind: bytes, tmp_path: Path) -> None:
        def lengthen(ds: Dataset) -> None:
            (frame,) = generate_frames(ds.PixelData, number_of_frames=1)
            ds.PixelData = encapsulate([frame + behind])

        made = pictures.picture(
            tmp_path,
            "ES",
            stored="YBR_FULL_422",
            transfer_syntax_uid=JPEGBaseline8Bit,
            edit=lengthen,
        )

        assert load(made.path).colour is not None

    def test_a_jpeg_that_breaks_off(self, tmp_path: Path) -> None:
        def cut(ds: Dataset) -> None:
            (frame,) = generate_frames(ds.PixelData, number_of_frames=1)
            ds.PixelData = encapsulate([frame[: len(frame) // 2]])

        made = pictures.picture(
            tmp_path, "ES", stored="YBR_FULL_422", transfer_syntax_uid=JPEGBaseline8Bit, edit=cut
        )

        with pytest.raises(UndecodablePixels, match="breaks off before its end"):
            load(made.path)
