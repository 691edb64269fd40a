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
from pydicom.encaps import encapsulate
from pydicom.uid import UID, JPEG2000Lossless, JPEGLSLossless

from dicom_node.errors import NotAVolume, UndecodablePixels
from dicom_node.series.choice import choose_series
from dicom_node.series.header import read_header
from dicom_node.values import ResultSegment, SourceVolume
from dicom_node.volume.volume import load_volume
from tests.support import phantoms

SMALL: dict[str, Any] = {"shape": (4, 40, 48), "spacing_mm": (5.0, 8.0, 8.0)}
PET_SLOPES = (1.1e-8, 0.9e-8, 1.3e-8, 1.0e-8)


def volume_of(phantom: phantoms.Phantom) -> SourceVolume:
    return load_volume([read_header(path) for path in phantom.paths])


def refusal(phantom: phantoms.Phantom) -> str:
    with pytest.raises(NotAVolume) as caught:
        volume_of(phantom)
    return str(caught.value)


@pytest.fixture
def stored(tmp_path: Path) -> Any:
    """CT of HU + 1024, unsigned, with these attributes beside it.

    `spoil(array, z)` changes the stored values.
    """

    def build(
        spoil: Any | None = None,
        *,
        rescale: Any = lambda z: (1.0, -1024.0),
        signed: bool = False,
        **values: Any,
    ) -> phantoms.Phantom:
        look = phantoms.Look(signed=signed, rescale=rescale)
        hu, _ = phantoms.anatomy(phantoms.Grid(SMALL["shape"], SMALL["spacing_mm"]))
        array = (hu + 1024).astype(np.int16)
        for z in range(len(array)):
            if spoil:
                spoil(array[z], z)

        # the builder is told what comes out, so that it stores what was made here
        come_out = np.stack(
            [
                plane * (rescale(z)[0] if rescale else 1.0) + (rescale(z)[1] if rescale else 0.0)
                for z, plane in enumerate(array)
            ]
        ).astype(np.int16)
        return phantoms.torso_ct(
            tmp_path, look=look, hu=come_out, edit=phantoms.setting(**values), **SMALL
        )

    return build


class TestCtWithoutRescale:
    def test_padding_proves_nothing(self, stored: Any) -> None:
        def corners(plane: Any, z: int) -> None:
            plane[:9, :9] = 0

        phantom = stored(corners, rescale=None, PixelPaddingValue=0)

        assert "Rescale Slope or Rescale Intercept is missing in instances 1-4" in refusal(phantom)

    @pytest.mark.parametrize("fill", [-2000, -1024, -32768])
    def test_padding_that_is_not_declared_proves_nothing(self, stored: Any, fill: int) -> None:
        def corners(plane: Any, z: int) -> None:
            plane[:9, :9] = fill

        phantom = stored(corners, rescale=None, signed=True)

        assert "are not Hounsfield units" in refusal(phantom)

    def test_a_scale_of_one_and_zero_is_no_proof_either(self, stored: Any) -> None:
        phantom = stored(rescale=lambda z: (1.0, 0.0))

        assert "cannot be Hounsfield units: much is as bright as bone" in refusal(phantom)

    def test_a_real_world_value_map_is_not_applied(self, stored: Any) -> None:
        item = Dataset()
        item.RealWorldValueSlope, item.RealWorldValueIntercept = 1.0, -1024.0
        item.RealWorldValueFirstValueMapped, item.RealWorldValueLastValueMapped = 0, 4095

        phantom = stored(rescale=None, RealWorldValueMappingSequence=[item])

        assert "Rescale Slope or Rescale Intercept is missing" in refusal(phantom)

    def test_one_frame_of_an_enhanced_object(self, tmp_path: Path) -> None:
        def edit(z: int, ds: Dataset) -> None:
            transform = ds.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence
            del ds.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence
            for number, groups in enumerate(ds.PerFrameFunctionalGroupsSequence, start=1):
                if number != 3:
                    groups.PixelValueTransformationSequence = transform

        phantom = phantoms.torso_ct(tmp_path, enhanced=True, edit=edit, **SMALL)

        assert "is missing in frame 3 of instance 1 and there" in refusal(phantom)


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


class TestOneScale:
    def test_pet_slopes_that_differ_are_as_they_should_be(self, tmp_path: Path) -> None:
        phantom = pet(tmp_path)

        volume = volume_of(phantom)

        assert volume.warnings == ()
        assert volume.modality == "PT"
        assert volume.unit is not None
        assert volume.unit.value == "Bq/ml"
        expected = np.arange(40 * 48).reshape(40, 48)[None] * np.array(PET_SLOPES)[:, None, None]
        assert np.allclose(volume.intensities, expected, rtol=1e-5, atol=0)

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            ({"RescaleSlope": None}, "is missing in instance 3 and there in the other slices"),
            (
                {"RescaleSlope": None, "RescaleIntercept": None},
                "is missing in instance 3 and there in the other slices",
            ),
            (
                {"Units": "CNTS"},
                (
                    "Rescale Type differs within the series: BQML in instances 1, 2, 4; CNTS in "
                    "instance 3"
                ),
            ),
        ],
    )
    def test_a_pet_slice_on_another_scale_is_refused(
        self, tmp_path: Path, change: Any, sentence: str
    ) -> None:
        phantom = pet(tmp_path)
        phantoms.rewrite(phantom.paths[2], **change)

        assert sentence in refusal(phantom)

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            ({"RescaleSlope": 1.0}, "Rescale Slope of instance 3 is more than a thousand times"),
            ({"RescaleIntercept": 5.0}, "Rescale Intercept of instance 3 differs"),
        ],
    )
    def test_a_pet_slice_on_a_doubtful_scale_is_told(
        self, tmp_path: Path, change: Any, sentence: str
    ) -> None:
        phantom = pet(tmp_path)
        phantoms.rewrite(phantom.paths[2], **change)

        assert sentence in " ".join(volume_of(phantom).warnings)

    def test_pet_without_any_scale_has_no_unit(self, tmp_path: Path) -> None:
        phantom = pet(tmp_path)
        for path in phantom.paths:
            phantoms.rewrite(path, RescaleSlope=None, RescaleIntercept=None)

        volume = volume_of(phantom)

        assert volume.unit is None
        assert "Rescale Slope is missing in instances 1-4" in volume.warnings[0]

    def test_an_mr_slice_with_another_slope_is_told(self, tmp_path: Path) -> None:
        look = phantoms.Look(rescale=lambda z: (4.0 if z == 1 else 2.0, 0.0))
        phantom = phantoms.torso_ct(tmp_path, modality="MR", look=look, **SMALL)

        assert "Rescale Intercept of instance 2 differs" in volume_of(phantom).warnings[0]

    def test_an_mr_slice_without_the_others_scale_is_refused(self, tmp_path: Path) -> None:
        look = phantoms.Look(rescale=lambda z: (2.0, 0.0))
        phantom = phantoms.torso_ct(tmp_path, modality="MR", look=look, **SMALL)
        phantoms.rewrite(phantom.paths[1], RescaleSlope=None, RescaleIntercept=None)

        assert "is missing in instance 2 and there" in refusal(phantom)

    def test_a_ct_slice_without_the_others_intercept_is_refused(self, stored: Any) -> None:
        phantom = stored(rescale=lambda z: (1.0, 0.0 if z == 2 else -1024.0))

        sentence = refusal(phantom)

        assert "The values of instance 3 cannot be Hounsfield units" in sentence


class TestUnits:
    @pytest.mark.parametrize("name", ["HU", "hu", "Hounsfield", None])
    def test_hounsfield_units_by_any_of_their_names(self, tmp_path: Path, name: str | None) -> None:
        phantom = phantoms.torso_ct(tmp_path, **SMALL)
        for path in phantom.paths:
            phantoms.rewrite(path, RescaleType=name)

        unit = volume_of(phantom).unit

        assert unit is not None
        assert unit.value == "[hnsf'U]"

    @pytest.mark.parametrize("name", ["Z_EFF", "MGML", "PCT", "OD", "ED", "EDW", "IODINE", "z_eff"])
    def test_another_quantity_is_refused(self, tmp_path: Path, name: str) -> None:
        phantom = phantoms.torso_ct(tmp_path, **SMALL)
        for path in phantom.paths:
            phantoms.patch(path, "RescaleType", name.encode())

        assert f"Rescale Type of instances 1-4 is {name.upper()}" in refusal(phantom)

    @pytest.mark.parametrize("name", ["US", "HU_MOD"])
    def test_an_unknown_unit_is_told_and_not_stated(self, tmp_path: Path, name: str) -> None:
        edit = phantoms.setting(RescaleType=name)
        volume = volume_of(phantoms.torso_ct(tmp_path, edit=edit, **SMALL))

        assert volume.unit is None
        assert f"Rescale Type of instances 1-4 is {name}" in volume.warnings[0]

    def test_another_series_is_taken_where_one_is_of_another_quantity(self, tmp_path: Path) -> None:
        edit = phantoms.setting(RescaleType="Z_EFF")
        effective = phantoms.torso_ct(
            tmp_path / "z", edit=edit, name="z", shape=(6, 40, 48), spacing_mm=(5.0, 8.0, 8.0)
        )
        plain = phantoms.torso_ct(tmp_path / "hu", **SMALL)

        choice = choose_series([read_header(path) for path in effective.paths + plain.paths])

        assert choice.series_instance_uid == plain.series_instance_uid
        assert "Rescale Type of instances 1-6 is Z_EFF" in " ".join(choice.warnings)

    def test_multi_energy_ct_must_say_its_unit(self, tmp_path: Path) -> None:
        phantom = phantoms.torso_ct(
            tmp_path, edit=phantoms.setting(MultienergyCTAcquisition="YES", RescaleType=""), **SMALL
        )

        assert volume_of(phantom).unit is None

    def test_an_image_type_that_is_no_attenuation(self, tmp_path: Path) -> None:
        kind = ("DERIVED", "PRIMARY", "AXIAL", "EFF_ATOMIC_NUM")
        phantom = phantoms.torso_ct(tmp_path, image_type=kind, **SMALL)

        assert "Image Type of instances 1-4 says EFF_ATOMIC_NUM" in refusal(phantom)

    def test_a_frame_type_that_is_no_attenuation(self, tmp_path: Path) -> None:
        def edit(z: int, ds: Dataset) -> None:
            kind = Dataset()
            kind.FrameType = ["DERIVED", "PRIMARY", "VOLUME", "EFF_ATOMIC_NUM"]
            ds.PerFrameFunctionalGroupsSequence[2].CTImageFrameTypeSequence = [kind]

        phantom = phantoms.torso_ct(tmp_path, enhanced=True, edit=edit, **SMALL)

        assert "says EFF_ATOMIC_NUM" in refusal(phantom)

    def test_one_slice_of_another_quantity(self, tmp_path: Path) -> None:
        phantom = phantoms.torso_ct(tmp_path, **SMALL)
        phantoms.rewrite(phantom.paths[3], RescaleType="US")

        assert "HU in instances 1-3; US in instance 4" in refusal(phantom)

    def test_a_frame_of_another_quantity(self, tmp_path: Path) -> None:
        def edit(z: int, ds: Dataset) -> None:
            transform = Dataset()
            transform.RescaleSlope, transform.RescaleIntercept = 1, -1024
            transform.RescaleType = "Z_EFF"
            ds.PerFrameFunctionalGroupsSequence[1].PixelValueTransformationSequence = [transform]

        phantom = phantoms.torso_ct(tmp_path, enhanced=True, edit=edit, **SMALL)

        assert "Rescale Type" in refusal(phantom)
        assert "Z_EFF" in refusal(phantom)


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

    def test_a_negative_slope_over_positive_values_is_refused(self, stored: Any) -> None:
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


class TestKind:
    @pytest.mark.parametrize("modality", ["ct", "CT ", "", None])
    def test_ct_is_ct_whatever_its_modality_says(
        self, tmp_path: Path, modality: str | None
    ) -> None:
        phantom = phantoms.torso_ct(tmp_path, **SMALL)
        for path in phantom.paths:
            if modality is None:
                phantoms.rewrite(path, Modality=None)
            else:
                phantoms.patch(path, "Modality", modality.encode())

        volume = volume_of(phantom)

        assert volume.modality == "CT"
        assert np.array_equal(volume.intensities, phantom.hu)
        missing = "Modality of instances 1-4 is missing: taken as CT, which their SOP class is of."
        assert volume.warnings == (() if modality else (missing,))

    @pytest.mark.parametrize(("modality", "said"), [("MR", "MR"), ("PET", "PT"), ("pt", "PT")])
    def test_a_modality_against_the_class_is_refused(
        self, tmp_path: Path, modality: str, said: str
    ) -> None:
        phantom = phantoms.torso_ct(tmp_path, **SMALL)
        phantoms.patch(phantom.paths[1], "Modality", modality.encode())

        assert f"Modality of instance 2 is {said}, but the SOP class is that of CT" in refusal(
            phantom
        )

    def test_ct_and_mr_in_one_series(self, tmp_path: Path) -> None:
        phantom = phantoms.torso_ct(tmp_path, **SMALL)
        phantoms.rewrite(phantom.paths[2], SOPClassUID=pydicom.uid.MRImageStorage, Modality="MR")

        assert "CT in instances 1, 2, 4; MR in instance 3" in refusal(phantom)

    @pytest.mark.parametrize("kind", ["PALETTE COLOR", "RGB", "YBR_FULL", "palette color", "GREY"])
    def test_what_is_no_grey_is_refused(self, tmp_path: Path, kind: str) -> None:
        phantom = phantoms.torso_ct(tmp_path, **SMALL)
        for path in phantom.paths:
            phantoms.patch(path, "PhotometricInterpretation", kind.encode())

        assert f"Photometric Interpretation of instances 1-4 is {kind.upper()}" in refusal(phantom)


class TestPadding:
    @pytest.mark.parametrize(
        ("limit", "vr", "warned"),
        [
            (b"", "SS", False),
            (b"\x30\xf8\x30\xf8", "SS", True),
            (b"-2000", "IS", False),
            (b"nothing ", "LO", True),
            (b"\x30\xf8", "US", False),
            (b"\x30\xf8", "UN", False),
        ],
    )
    def test_a_limit_that_is_odd_is_as_if_it_were_not_there(
        self, tmp_path: Path, limit: bytes, vr: str, warned: bool
    ) -> None:
        def edit(z: int, ds: Dataset) -> None:
            ds.add_new("PixelPaddingValue", "SS", -2000)

        hu, _ = phantoms.anatomy(phantoms.Grid(SMALL["shape"], SMALL["spacing_mm"]))
        hu[:, :6] = -3024
        phantom = phantoms.torso_ct(tmp_path, hu=hu, edit=edit, **SMALL)
        for path in phantom.paths:
            phantoms.patch(path, "PixelPaddingRangeLimit", limit, vr)

        volume = volume_of(phantom)

        assert np.all(volume.intensities[:, :6] == -1024)
        assert np.array_equal(volume.intensities[:, 6:], hu[:, 6:])
        assert any("Pixel Padding Range Limit" in text for text in volume.warnings) == warned

    @pytest.mark.parametrize(("first", "last"), [(1074, None), (0, 4095), (900, 1100)])
    def test_padding_that_is_tissue_makes_no_holes(
        self, stored: Any, first: int, last: int | None
    ) -> None:
        limit = {} if last is None else {"PixelPaddingRangeLimit": last}
        phantom = stored(PixelPaddingValue=first, **limit)

        volume = volume_of(phantom)

        assert np.array_equal(volume.intensities, phantom.hu)
        assert "Pixel Padding Value stands for tissue, in instances 1-4" in volume.warnings[0]


class TestBudget:
    def test_pixels_that_nobody_has_room_for(self, tmp_path: Path) -> None:
        phantom = phantoms.torso_ct(tmp_path, **SMALL)
        for path in phantom.paths:
            phantoms.rewrite(path, Rows=65535, Columns=65535)

        assert "Rows and Columns of instances 1-4 make 17,179" in refusal(phantom)

    @pytest.mark.parametrize("frames", [2, 1_000_000, 2_000_000_000])
    def test_frames_that_are_not_there(self, tmp_path: Path, frames: int) -> None:
        phantom = phantoms.torso_ct(tmp_path, **SMALL)
        phantoms.rewrite(phantom.paths[1], NumberOfFrames=frames)

        assert (
            f"Number of Frames is {frames}, but the pixel data holds at most 1 (instance 2)"
            in refusal(phantom)
        )

    def test_frames_that_no_group_places(self, tmp_path: Path) -> None:
        def edit(z: int, ds: Dataset) -> None:
            del ds.PerFrameFunctionalGroupsSequence[2:]

        phantom = phantoms.torso_ct(tmp_path, enhanced=True, edit=edit, **SMALL)

        assert "Number of Frames of instance 1 is 4, but functional groups place 2" in refusal(
            phantom
        )

    @pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless])
    def test_a_codestream_that_promises_more_than_the_header(
        self, tmp_path: Path, syntax: UID
    ) -> None:
        phantom = phantoms.torso_ct(tmp_path, transfer_syntax_uid=syntax, **SMALL)
        ds = pydicom.dcmread(phantom.paths[0])
        (frame,) = pydicom.encaps.generate_frames(ds.PixelData, number_of_frames=1)
        large = (60000).to_bytes(2)
        if syntax == JPEGLSLossless:
            at = frame.index(b"\xff\xf7") + 5
            frame = frame[:at] + large + large + frame[at + 4 :]
        else:
            frame = frame[:8] + (60000).to_bytes(4) + (60000).to_bytes(4) + frame[16:]
        ds.PixelData = encapsulate([frame])
        ds.save_as(phantom.paths[0])

        with pytest.raises(UndecodablePixels, match="60000 x 60000 pixels instead of 40 x 48"):
            volume_of(phantom)


def pet(folder: Path) -> Any:
    """PET of four slices with slopes of their own, stored values 0 to 1919."""
    values = np.arange(40 * 48).reshape(40, 48).astype("<u2")
    phantom = phantoms.torso_ct(
        folder, modality="PT", look=phantoms.Look(signed=False, rescale=None), **SMALL
    )
    for z, path in enumerate(phantom.paths):
        ds = pydicom.dcmread(path)
        ds.RescaleSlope, ds.RescaleIntercept, ds.Units = PET_SLOPES[z], 0, "BQML"
        ds.PixelData = values.tobytes()
        ds.save_as(path)
    return phantom
