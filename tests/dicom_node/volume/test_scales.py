"""What grey values mean: scale, unit and sign are what the header and the values say together, or
the series is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless

from dicom_node.values import ResultSegment
from tests.support import phantoms
from tests.support.dicom.scaled_series import SMALL, refusal, volume_of


class TestAttributes:
    @pytest.mark.parametrize(
        ("keyword", "value", "problem"),
        [
            ("RescaleIntercept", b"NaN", 'is "NaN", which is no finite number'),
            ("RescaleIntercept", b"Infinity", 'is "Infinity", which is no finite number'),
            ("RescaleIntercept", b"-1e400", 'is "-1e400", which is no finite number'),
            ("RescaleIntercept", b"-1e39", "is -1e+39"),
            ("RescaleIntercept", "\u22121024".encode(), "is a text, which is no finite number"),
            ("RescaleIntercept", b"-1024\\-1024", "has 2 values"),
            ("RescaleIntercept", b"\\-1024", "is a text"),
            ("RescaleIntercept", b"Mueller^Anna", "is a text"),
            ("RescaleSlope", b"0", "is 0"),
            ("RescaleSlope", b"0.0E5", "is 0"),
            ("RescaleSlope", b"1e-60", "is 1e-60"),
            ("RescaleSlope", b"1_0", "is a text"),
            ("RescaleSlope", b"nan", 'is "nan"'),
            ("RescaleSlope", b"1\\1", "has 2 values"),
        ],
    )
    def test_what_cannot_be_used_is_named_with_its_instances(
        self, tmp_path: Path, keyword: str, value: Any, problem: str
    ) -> None:
        name = {"RescaleIntercept": "Rescale Intercept", "RescaleSlope": "Rescale Slope"}[keyword]
        phantom = phantoms.torso_ct(tmp_path, **SMALL)
        for path in phantom.paths[1:3]:
            phantoms.patch(path, keyword, value)

        sentence = refusal(phantom)

        assert sentence.startswith(f"{name} of instances 2, 3 {problem}")
        assert "Mueller" not in sentence

    @pytest.mark.parametrize(
        ("value", "vr"),
        [
            (b"-1024,0", "DS"),
            (b"-1024.00000000000000000000", "DS"),
            (b" -1.024E+03  ", "DS"),
            (b"-1024\0", "DS"),
            (b"-1024", "LO"),
            (b"-1024", "UN"),
            (np.float64(-1024).tobytes(), "FD"),
            (np.float32(-1024).tobytes(), "FL"),
            (np.int16(-1024).tobytes(), "SS"),
        ],
    )
    def test_an_intercept_that_can_be_read_is_read(
        self, tmp_path: Path, value: Any, vr: str
    ) -> None:
        phantom = phantoms.torso_ct(tmp_path, **SMALL)
        for path in phantom.paths:
            phantoms.patch(path, "RescaleIntercept", value, vr)

        assert np.array_equal(volume_of(phantom).intensities, phantom.hu)

    def test_decimal_commas_are_read_everywhere(
        self,
        tmp_path: Path,
        drawn: Callable[..., list[ResultSegment]],
        write: Callable[..., Dataset],
    ) -> None:
        phantom = phantoms.torso_ct(tmp_path, **SMALL)
        plain = volume_of(phantom)
        for path in phantom.paths:
            position = pydicom.dcmread(path).ImagePositionPatient
            text = "\\".join(f"{value:.1f}".replace(".", ",") for value in position)
            phantoms.patch(path, "ImagePositionPatient", text.encode())
            phantoms.patch(path, "PixelSpacing", b"8,0\\8,0")
            phantoms.patch(path, "SliceThickness", b"5,0")

        volume = volume_of(phantom)
        seg = write(volume, drawn(phantom, "liver"))

        assert np.allclose(volume.affine_zyx_to_lps, plain.affine_zyx_to_lps)
        shared = seg.SharedFunctionalGroupsSequence[0]
        assert list(shared.PixelMeasuresSequence[0].PixelSpacing) == [8, 8]

    @pytest.mark.parametrize(
        "keyword", ["BitsAllocated", "BitsStored", "PixelRepresentation", "HighBit"]
    )
    @pytest.mark.parametrize(
        ("value", "vr"),
        [
            (b"\x63\x63", "US"),
            (b"\x10\x00\x10\x00", "US"),
            (b"\x10\x00\x10", "US"),
            (b"some", "OB"),
            (b"twelve", "LO"),
            (b"12.5", "DS"),
        ],
    )
    def test_pixel_attributes_are_named(
        self, tmp_path: Path, keyword: str, value: bytes, vr: str
    ) -> None:
        phantom = phantoms.torso_ct(tmp_path, **SMALL)
        for path in phantom.paths:
            phantoms.patch(path, keyword, value, vr)

        sentence = refusal(phantom)

        assert pydicom.datadict.dictionary_description(keyword) in sentence
        assert "instances 1-4" in sentence


class TestSign:
    @pytest.mark.parametrize("intercept", [0, -1024])
    def test_unsigned_over_signed_values_is_refused(self, tmp_path: Path, intercept: int) -> None:
        phantom = phantoms.torso_ct(
            tmp_path, look=phantoms.Look(rescale=lambda z: (1.0, intercept)), **SMALL
        )
        for path in phantom.paths:
            phantoms.rewrite(path, PixelRepresentation=0, RescaleIntercept=0)

        sentence = refusal(phantom)

        assert "cannot be Hounsfield units" in sentence
        assert "Pixel Representation" in sentence

    def test_unsigned_over_signed_values_of_twelve_bits(self, tmp_path: Path) -> None:
        edit = phantoms.setting(BitsStored=12, HighBit=11)
        look = phantoms.Look(rescale=lambda z: (1.0, 0.0))
        phantom = phantoms.torso_ct(tmp_path, edit=edit, look=look, **SMALL)
        for path in phantom.paths:
            phantoms.rewrite(path, PixelRepresentation=0)

        assert "cannot be Hounsfield units: much is as bright as bone" in refusal(phantom)

    def test_a_negative_slope_over_positive_values_is_refused(
        self, stored: Callable[..., phantoms.Phantom]
    ) -> None:
        phantom = stored()
        for path in phantom.paths:
            ds = pydicom.dcmread(path)
            ds.RescaleSlope = -1
            ds.save_as(path)

        assert "cannot be Hounsfield units" in refusal(phantom)

    def test_a_negative_slope_that_is_meant_is_right(self, tmp_path: Path) -> None:
        look = phantoms.Look(rescale=lambda z: (-1.0, 0.0))
        phantom = phantoms.torso_ct(tmp_path, look=look, **SMALL)

        assert np.array_equal(volume_of(phantom).intensities, phantom.hu)

    @pytest.mark.parametrize("bits", [12, 16])
    def test_a_signed_codestream_under_an_unsigned_header(self, tmp_path: Path, bits: int) -> None:
        phantom = phantoms.torso_ct(
            tmp_path,
            transfer_syntax_uid=JPEG2000Lossless,
            look=phantoms.Look(rescale=lambda z: (1.0, 0.0)),
            edit=phantoms.setting(BitsStored=bits, HighBit=bits - 1),
            **SMALL,
        )
        for path in phantom.paths:
            phantoms.rewrite(path, PixelRepresentation=0)

        assert np.array_equal(volume_of(phantom).intensities, phantom.hu)

    def test_jpeg_ls_knows_no_sign(self, tmp_path: Path) -> None:
        phantom = phantoms.torso_ct(
            tmp_path,
            transfer_syntax_uid=JPEGLSLossless,
            look=phantoms.Look(rescale=lambda z: (1.0, 0.0)),
            **SMALL,
        )
        for path in phantom.paths:
            phantoms.rewrite(path, PixelRepresentation=0)

        assert "HU, and CT shows -10,240 to 32,767 HU" in refusal(phantom)

    def test_values_below_anything_are_padding(self, tmp_path: Path) -> None:
        hu, _ = phantoms.anatomy(phantoms.Grid(SMALL["shape"], SMALL["spacing_mm"]))
        hu[:, :6] = -20000
        phantom = phantoms.torso_ct(
            tmp_path, hu=hu, look=phantoms.Look(rescale=lambda z: (1.0, 0.0)), **SMALL
        )

        volume = volume_of(phantom)

        assert np.all(volume.intensities[:, :6] == -1024)
        assert np.array_equal(volume.intensities[:, 6:], hu[:, 6:])
        assert "taken as padding" in volume.warnings[0]
