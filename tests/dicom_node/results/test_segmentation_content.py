"""The SEG says whose it is, who made it and what it shows, and is the same every time."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from dicom_node.results.result_header import _series_number as series_number_of
from dicom_node.values import ResultIdentity, ResultSegment, SourceVolume
from tests.support import phantoms

Drawn = Callable[..., list[ResultSegment]]
VolumeOf = Callable[[Any], SourceVolume]
Write = Callable[..., Dataset]


class TestIdentity:
    def test_the_same_request_gives_the_same_bytes(
        self, tmp_path: Path, volume_of: VolumeOf, drawn: Drawn, write: Write
    ) -> None:
        phantom = phantoms.torso_ct(tmp_path / "ct")
        volume, segments = volume_of(phantom), drawn(phantom, "liver", "spleen")

        first = Path(str(write(volume, segments).filename)).read_bytes()
        second = Path(str(write(volume, segments).filename)).read_bytes()

        assert first == second

    def test_another_version_of_the_study_gives_other_uids(
        self,
        tmp_path: Path,
        volume_of: VolumeOf,
        drawn: Drawn,
        write: Write,
        identity: ResultIdentity,
    ) -> None:
        phantom = phantoms.torso_ct(tmp_path / "ct")
        volume, segments = volume_of(phantom), drawn(phantom, "liver")

        first = write(volume, segments)
        second = write(volume, segments, identity=replace(identity, study_version=2))

        assert first.SOPInstanceUID != second.SOPInstanceUID
        assert first.SeriesInstanceUID != second.SeriesInstanceUID
        assert first.StudyInstanceUID == second.StudyInstanceUID

    def test_a_run_without_a_request_time_carries_the_time_of_writing(
        self,
        tmp_path: Path,
        volume_of: VolumeOf,
        drawn: Drawn,
        write: Write,
        identity: ResultIdentity,
    ) -> None:
        phantom = phantoms.torso_ct(tmp_path / "ct")

        seg = write(
            volume_of(phantom),
            drawn(phantom, "liver"),
            identity=replace(identity, requested_at=None),
        )

        assert seg.ContentDate >= "20261121"

    @pytest.mark.parametrize(
        ("character_set", "name"),
        [
            ("ISO_IR 192", "Müller^Jürgen=山田^太郎"),
            ("ISO_IR 100", "Müller^Jürgen"),
            (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ],
    )
    def test_names_in_any_character_set_travel_unchanged(
        self,
        character_set: Any,
        name: str,
        tmp_path: Path,
        volume_of: VolumeOf,
        drawn: Drawn,
        write: Write,
    ) -> None:
        who = phantoms.Identity(patient_name=name, character_set=character_set)
        phantom = phantoms.torso_ct(tmp_path / "ct", identity=who)
        source = pydicom.dcmread(phantom.paths[0])

        seg = write(volume_of(phantom), drawn(phantom, "liver"))

        assert seg.PatientName == name
        assert seg.PatientName.original_string == source.PatientName.original_string
        assert (seg.PatientID, seg.StudyDate, seg.AccessionNumber) == (
            "PHANTOM-1",
            "20260102",
            "A1",
        )

    def test_a_name_in_a_character_set_it_was_not_written_in_keeps_its_bytes(
        self, tmp_path: Path, volume_of: VolumeOf, drawn: Drawn, write: Write
    ) -> None:
        # Arrange: Latin-1 bytes in a data set that claims ASCII
        phantom = phantoms.torso_ct(
            tmp_path / "ct", identity=phantoms.Identity(patient_name="Muller^X")
        )
        for path in phantom.paths:
            path.write_bytes(path.read_bytes().replace(b"Muller^X", b"M\xfcller^X"))

        seg = write(volume_of(phantom), drawn(phantom, "liver"))

        assert b"M\xfcller^X" in Path(str(seg.filename)).read_bytes()

    def test_patient_and_study_values_that_are_illegal_do_not_stop_a_result(
        self, tmp_path: Path, volume_of: VolumeOf, drawn: Drawn, write: Write
    ) -> None:
        # Arrange: same lengths, so the file stays whole
        phantom = phantoms.torso_ct(tmp_path / "ct")
        for path in phantom.paths:
            data = path.read_bytes().replace(b"19500101", b"ca. 1950").replace(b"101112", b"noon! ")
            path.write_bytes(data)

        seg = write(volume_of(phantom), drawn(phantom, "liver"))

        data = Path(str(seg.filename)).read_bytes()
        assert b"ca. 1950" in data
        assert b"noon! " in data

    @pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
    def test_uids_with_leading_zeros_are_referred_to_as_they_are(
        self, tmp_path: Path, volume_of: VolumeOf, drawn: Drawn, write: Write
    ) -> None:
        # Arrange: illegal and all too common
        def zeros(z: int, ds: Dataset) -> None:
            ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.03.4.1", "1.2.03.4.2"
            ds.FrameOfReferenceUID = "1.2.03.4.3"

        phantom = phantoms.torso_ct(tmp_path / "ct", edit=zeros)

        seg = write(volume_of(phantom), drawn(phantom, "liver"))

        assert (seg.StudyInstanceUID, seg.FrameOfReferenceUID) == ("1.2.03.4.1", "1.2.03.4.3")
        assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == "1.2.03.4.2"

    def test_what_the_source_lacks_is_present_and_empty(
        self, tmp_path: Path, volume_of: VolumeOf, drawn: Drawn, write: Write
    ) -> None:
        type_2 = (
            "PatientName",
            "PatientID",
            "PatientBirthDate",
            "PatientSex",
            "StudyID",
            "StudyDate",
        )

        def lacking(z: int, ds: Dataset) -> None:
            for keyword in type_2:
                ds.pop(keyword, None)

        phantom = phantoms.torso_ct(tmp_path / "ct", edit=lacking)

        seg = write(volume_of(phantom), drawn(phantom, "liver"))

        for keyword in type_2:
            assert keyword in seg
            assert not seg[keyword].value


class TestContent:
    def test_structures_are_coded_coloured_and_tracked(
        self, tmp_path: Path, volume_of: VolumeOf, drawn: Drawn, write: Write
    ) -> None:
        phantom = phantoms.torso_ct(tmp_path / "ct", shape=(40, 96, 96))

        seg = write(volume_of(phantom), drawn(phantom, "liver", "left kidney"))

        liver, kidney = seg.SegmentSequence
        assert [liver.SegmentLabel, kidney.SegmentLabel] == ["liver", "left kidney"]
        kind = kidney.SegmentedPropertyTypeCodeSequence[0]
        assert (kind.CodeValue, kind.CodingSchemeDesignator) == ("64033007", "SCT")
        assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeValue == "7771000"
        assert (
            "SegmentedPropertyTypeModifierCodeSequence"
            not in liver.SegmentedPropertyTypeCodeSequence[0]
        )
        # L* 58 of 100, a* 46 and b* 40 of -128..127, each on 0..65535 (PS3.3 C.10.7.1.1)
        assert liver.RecommendedDisplayCIELabValue == pytest.approx([38010, 44718, 43176], abs=1)
        assert liver.SegmentAlgorithmType == "AUTOMATIC"
        algorithm = liver.SegmentationAlgorithmIdentificationSequence[0]
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("litemedsam", "0.1.1")
        assert (liver.TrackingID, kidney.TrackingID) == ("liver", "left_kidney")
        assert liver.TrackingUID != kidney.TrackingUID

    def test_it_says_who_made_it_and_can_be_found(
        self, tmp_path: Path, volume_of: VolumeOf, drawn: Drawn, write: Write
    ) -> None:
        phantom = phantoms.torso_ct(tmp_path / "ct", series_number=4)

        seg = write(volume_of(phantom), drawn(phantom, "liver", "spleen"))

        assert seg.SeriesDescription == "AI SEG liver, spleen - segnode litemedsam - on S4"
        assert (seg.SeriesNumber, seg.Modality, seg.ContentLabel) == (4010, "SEG", "SEGMENTATION")
        assert (seg.Manufacturer, seg.ManufacturerModelName) == ("Segnode", "Segnode")
        assert seg.SoftwareVersions
        assert seg.DeviceSerialNumber
        model = seg.ContributingEquipmentSequence[-1]
        assert model.ManufacturerModelName == "litemedsam"
        assert "ab" * 32 in model.ContributionDescription
        assert seg.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"

    @pytest.mark.parametrize("number", [None, "0", "2147483647", "-7"])
    def test_any_series_number_gives_a_legal_one(
        self,
        number: str | None,
        tmp_path: Path,
        volume_of: VolumeOf,
        drawn: Drawn,
        write: Write,
    ) -> None:
        def numbered(z: int, ds: Dataset) -> None:
            ds.SeriesNumber = number

        phantom = phantoms.torso_ct(tmp_path / "ct", edit=numbered)

        seg = write(volume_of(phantom), drawn(phantom, "liver"))

        assert seg.SeriesNumber == 10

    @pytest.mark.parametrize(
        "text", [b"1e400 ", b"9" * 30, b"NaN ", b"4\\5 ", b"1_0 ", b"\xff\xfe"]
    )
    def test_a_series_number_that_is_none_stops_no_result(self, text: bytes) -> None:
        source = Dataset()
        tag = Tag("SeriesNumber")
        source[tag] = RawDataElement(tag, "IS", len(text), text, 0, False, True)

        with warnings.catch_warnings(action="error"):
            assert series_number_of(source) == 0

    def test_many_structures_give_a_description_that_fits(
        self,
        tmp_path: Path,
        volume_of: VolumeOf,
        segment: Callable[..., ResultSegment],
        write: Write,
    ) -> None:
        phantom = phantoms.torso_ct(tmp_path / "ct")
        long = [
            replace(
                segment("liver", phantom.masks["liver"]),
                label="Große Leber " * 9,
                tracking_id=str(n),
            )
            for n in range(9)
        ]

        seg = write(volume_of(phantom), long)

        assert len(seg.SeriesDescription) <= 64
        assert seg.SeriesDescription.endswith("on S2")
        assert len(seg.SegmentSequence[0].SegmentLabel) <= 64

    def test_drawn_on_lossy_images_it_says_so(
        self, tmp_path: Path, volume_of: VolumeOf, drawn: Drawn, write: Write
    ) -> None:
        def lossy(z: int, ds: Dataset) -> None:
            ds.LossyImageCompression = "01"
            ds.LossyImageCompressionRatio = "10.5"
            ds.LossyImageCompressionMethod = "ISO_15444_1"

        phantom = phantoms.torso_ct(tmp_path / "ct", edit=lossy)

        seg = write(volume_of(phantom), drawn(phantom, "liver"))

        assert (seg.LossyImageCompression, seg.LossyImageCompressionRatio) == ("01", 10.5)
        assert seg.LossyImageCompressionMethod == "ISO_15444_1"

    def test_every_frame_names_its_source_image(
        self, tmp_path: Path, volume_of: VolumeOf, drawn: Drawn, write: Write
    ) -> None:
        phantom = phantoms.torso_ct(tmp_path / "ct")
        instances = {str(pydicom.dcmread(path).SOPInstanceUID) for path in phantom.paths}

        seg = write(volume_of(phantom), drawn(phantom, "liver", "spleen"))

        (series,) = seg.ReferencedSeriesSequence
        assert series.SeriesInstanceUID == phantom.series_instance_uid
        assert {
            str(item.ReferencedSOPInstanceUID) for item in series.ReferencedInstanceSequence
        } == instances
        for group in seg.PerFrameFunctionalGroupsSequence:
            assert (
                group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
                in instances
            )
