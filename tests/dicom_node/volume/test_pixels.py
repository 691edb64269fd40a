"""Stored values become intensities: HU for CT, whatever the codec, the sign and the display say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from dicom_node.errors import NotAVolume
from dicom_node.series.header import read_header
from dicom_node.values import SourceVolume
from dicom_node.volume.volume import load_volume
from tests.support import phantoms

SMALL: dict[str, Any] = {"shape": (3, 40, 48), "spacing_mm": (5.0, 8.0, 8.0)}


def volume_of(phantom: phantoms.Phantom) -> SourceVolume:
    return load_volume([read_header(path) for path in phantom.paths])


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEG2000Lossless,
        JPEGLSLossless,
    ],
)
@pytest.mark.parametrize("signed", [True, False])
def test_every_syntax_gives_the_same_numbers(tmp_path: Path, syntax: UID, signed: bool) -> None:
    look = phantoms.Look(signed=signed)
    phantom = phantoms.torso_ct(tmp_path, transfer_syntax_uid=syntax, look=look, **SMALL)

    volume = volume_of(phantom)

    assert np.array_equal(volume.intensities, phantom.hu)
    assert volume.warnings == ()


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless])
def test_enhanced_objects_in_every_kind_of_syntax(tmp_path: Path, syntax: UID) -> None:
    phantom = phantoms.torso_ct(
        tmp_path, transfer_syntax_uid=syntax, enhanced=True, shuffle=1, **SMALL
    )

    assert np.array_equal(volume_of(phantom).intensities, phantom.hu)


def test_one_phase_of_a_compressed_enhanced_object(tmp_path: Path) -> None:
    phantom = phantoms.torso_ct(
        tmp_path, transfer_syntax_uid=RLELossless, enhanced=True, phases=3, shuffle=9, **SMALL
    )

    volume = volume_of(phantom)

    assert np.array_equal(volume.intensities, phantom.hu)
    assert volume.intensities.shape == (3, 40, 48)


def test_rescale_is_each_slices_own(tmp_path: Path) -> None:
    look = phantoms.Look(rescale=lambda z: (1.0 + z, -1024.0 - 100 * z))
    hu = np.full((3, 40, 48), -1024, np.int16) + 42 * np.arange(48, dtype=np.int16)
    hu -= 100 * np.arange(3, dtype=np.int16)[:, None, None]
    phantom = phantoms.torso_ct(tmp_path, look=look, hu=hu, **SMALL)

    assert np.allclose(volume_of(phantom).intensities, hu, atol=1e-3)


def test_hounsfield_units_without_rescale_are_taken_and_told(tmp_path: Path) -> None:
    phantom = phantoms.torso_ct(tmp_path, look=phantoms.Look(rescale=None), **SMALL)

    volume = volume_of(phantom)

    assert np.array_equal(volume.intensities, phantom.hu)
    assert "Rescale Slope or Rescale Intercept is missing in instances 1-3" in volume.warnings[0]


def test_ct_values_that_nobody_can_tell_are_refused(tmp_path: Path) -> None:
    phantom = phantoms.torso_ct(tmp_path, **SMALL)
    phantoms.rewrite(phantom.paths[1], RescaleSlope=None, RescaleIntercept=None)

    with pytest.raises(NotAVolume, match="missing in instance 2 and"):
        volume_of(phantom)


def test_mr_needs_no_rescale(tmp_path: Path) -> None:
    hu = np.arange(3 * 40 * 48, dtype=np.int16).reshape(3, 40, 48)
    look = phantoms.Look(rescale=None)
    phantom = phantoms.torso_ct(tmp_path, modality="MR", hu=hu, look=look, **SMALL)

    volume = volume_of(phantom)

    assert np.array_equal(volume.intensities, hu)
    assert volume.warnings == ()


def test_inverted_display_leaves_hounsfield_units_alone(tmp_path: Path) -> None:
    look = phantoms.Look(photometric_interpretation="MONOCHROME1")
    phantom = phantoms.torso_ct(tmp_path, look=look, **SMALL)

    assert np.array_equal(volume_of(phantom).intensities, phantom.hu)


@pytest.mark.parametrize(("signed", "expected"), [(True, -1 - 20), (False, 65535 - 20)])
def test_inverted_mr_is_turned_round(tmp_path: Path, signed: bool, expected: int) -> None:
    look = phantoms.Look(rescale=None, photometric_interpretation="MONOCHROME1", signed=signed)
    hu = np.full((3, 40, 48), 20, np.int16)
    phantom = phantoms.torso_ct(tmp_path, modality="MR", hu=hu, look=look, **SMALL)

    volume = volume_of(phantom)

    assert np.all(volume.intensities == expected)
    assert "MONOCHROME1" in volume.warnings[0]


@pytest.mark.parametrize(
    ("padding", "signed"),
    [
        ({"PixelPaddingValue": -2000}, True),
        ({"PixelPaddingValue": 63536}, False),
        ({"PixelPaddingValue": -2010, "PixelPaddingRangeLimit": -1990}, True),
        ({"PixelPaddingValue": -1990, "PixelPaddingRangeLimit": -2010}, True),
    ],
)
def test_padding_is_air_in_ct(tmp_path: Path, padding: Any, signed: bool) -> None:
    def pad(z: int, ds: Dataset) -> None:
        for keyword, value in padding.items():
            ds.add_new(keyword, "SS" if signed else "US", value)

    phantom = phantoms.torso_ct(tmp_path, edit=pad, look=phantoms.Look(signed=signed), **SMALL)
    for path in phantom.paths:
        ds = pydicom.dcmread(path)
        stored = ds.pixel_array.copy()
        stored[:, :5] = -2000 if signed else 63536
        ds.PixelData = stored.tobytes()
        ds.save_as(path)

    volume = volume_of(phantom)

    assert np.all(volume.intensities[:, :, :5] == -1024)
    assert np.array_equal(volume.intensities[:, :, 5:], phantom.hu[:, :, 5:])


def test_padding_is_cut_to_the_stored_bits_as_the_pixels_are(tmp_path: Path) -> None:
    def pad(z: int, ds: Dataset) -> None:
        ds.BitsStored, ds.HighBit = 12, 11
        ds.add_new("PixelPaddingValue", "US", 0xF830)  # with all bits that the pixel's word has

    phantom = phantoms.torso_ct(tmp_path, edit=pad, look=phantoms.Look(signed=False), **SMALL)
    for path in phantom.paths:
        ds = pydicom.dcmread(path)
        stored = np.frombuffer(ds.PixelData, "<u2").reshape(40, 48).copy()
        stored[:, :5] = 0xF830
        ds.PixelData = stored.tobytes()
        ds.save_as(path)

    assert np.all(volume_of(phantom).intensities[:, :, :5] == -1024)


def test_padding_is_the_lowest_value_elsewhere(tmp_path: Path) -> None:
    hu = np.full((3, 40, 48), 700, np.int16)
    hu[:, :10] = 300
    hu[:, 10:20] = 5000
    phantom = phantoms.torso_ct(
        tmp_path,
        modality="MR",
        hu=hu,
        look=phantoms.Look(rescale=None),
        edit=phantoms.setting(PixelPaddingValue=5000),
        **SMALL,
    )

    assert np.all(volume_of(phantom).intensities[:, :20] == 300)


def test_overlays_in_the_high_bits_are_no_grey(tmp_path: Path) -> None:
    edit = phantoms.setting(BitsStored=12, HighBit=11)
    phantom = phantoms.torso_ct(tmp_path, edit=edit, look=phantoms.Look(signed=False), **SMALL)
    for path in phantom.paths:
        ds = pydicom.dcmread(path)
        stored = np.frombuffer(ds.PixelData, "<u2").copy()
        stored[::7] |= 0xF000
        ds.PixelData = stored.tobytes()
        ds.save_as(path)

    assert np.array_equal(volume_of(phantom).intensities, phantom.hu)


def test_signed_values_of_twelve_bits_keep_their_sign(tmp_path: Path) -> None:
    hu = np.linspace(-2048, 2047, 3 * 40 * 48).astype(np.int16).reshape(40, 48, 3)
    hu = np.moveaxis(hu, -1, 0).copy()
    phantom = phantoms.torso_ct(
        tmp_path,
        hu=hu,
        look=phantoms.Look(rescale=lambda z: (1.0, 0.0)),
        edit=phantoms.setting(BitsStored=12, HighBit=11),
        **SMALL,
    )
    for path in phantom.paths:  # some scanners leave the unused high bits zero
        ds = pydicom.dcmread(path)
        ds.PixelData = (np.frombuffer(ds.PixelData, "<u2") & 0x0FFF).tobytes()
        ds.save_as(path)

    assert np.array_equal(volume_of(phantom).intensities, hu)


def test_files_without_meta_information_are_read_as_they_look(tmp_path: Path) -> None:
    phantom = phantoms.torso_ct(tmp_path, transfer_syntax_uid=ImplicitVRLittleEndian, **SMALL)
    for path in phantom.paths:
        ds = pydicom.dcmread(path)
        del ds.file_meta
        path.write_bytes(b"")
        ds.save_as(path, implicit_vr=True, little_endian=True, enforce_file_format=False)

    assert np.array_equal(volume_of(phantom).intensities, phantom.hu)


def test_values_that_break_the_rules_of_their_vr_do_no_harm(tmp_path: Path) -> None:
    phantom = phantoms.torso_ct(tmp_path, **SMALL)
    for (
        path
    ) in phantom.paths:  # a DS of more than 16 characters, an IS that is no integer, a bad UID
        raw = path.read_bytes()
        raw = raw.replace(b"DS\x04\x000.0 ", b"DS\x04\x000,0 ")
        path.write_bytes(raw.replace(b"A1", b"\xff\xfe"))

    assert np.array_equal(volume_of(phantom).intensities, phantom.hu)


def test_names_in_any_alphabet_do_no_harm(tmp_path: Path) -> None:
    for number, (charset, name) in enumerate(
        [
            ("ISO_IR 192", "Müller^Jürgen"),
            ("ISO_IR 100", "Ærø^Åse"),
            ("ISO 2022 IR 87", "山田^太郎"),
        ]
    ):
        identity = phantoms.Identity(
            study=charset,
            patient_name=name,
            character_set=["", charset] if "2022" in charset else charset,
        )
        phantom = phantoms.torso_ct(tmp_path / str(number), identity=identity, **SMALL)

        assert np.array_equal(volume_of(phantom).intensities, phantom.hu)
