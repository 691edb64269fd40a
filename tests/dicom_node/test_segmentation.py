"""The SEG lies where its source lies, says whose it is, and is the same every time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node.errors import ResultMismatch
from dicom_node.segmentation import write_segmentation
from dicom_node.values import Algorithm, ResultIdentity, ResultSegment, SourceVolume

Drawn = Callable[..., list[ResultSegment]]
VolumeOf = Callable[[Any], SourceVolume]
Write = Callable[..., Dataset]

#: Centres of the phantom's organs, LPS mm, written down from the anatomy and not read from the builder
LIVER, SPLEEN, RIGHT_KIDNEY = (-62.0, -8.0, 5.0), (98.0, 34.0, 18.0), (-66.0, 58.0, -50.0)

ORIENTATIONS = [
    "axial",
    "sagittal",
    "coronal",
    "prone",
    "negated_rows",
    "negated_columns",
    "oblique",
    "oblique_sagittal",
]


@pytest.fixture
def write(tmp_path: Path, algorithm: Algorithm, identity: ResultIdentity) -> Write:
    """Writes a SEG and reads the file back."""

    def run(volume: SourceVolume, segments: list[ResultSegment], **changes: Any) -> Dataset:
        path = tmp_path / "out" / "seg.dcm"
        arguments = {"algorithm": algorithm, "identity": identity, "path": path, **changes}
        written = write_segmentation(volume, segments, **arguments)
        return pydicom.dcmread(written.path)

    return run


def centres(seg: Dataset) -> list[NDArray[np.float64]]:
    """Centroid of every segment in LPS mm: pydicom's pixels, and the frames' own positions."""
    shared = seg.SharedFunctionalGroupsSequence[0]
    cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, dtype=float)
    row_mm, column_mm = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    points: list[list[NDArray[np.float64]]] = [[] for _ in seg.SegmentSequence]
    pixels = seg.pixel_array.reshape(seg.NumberOfFrames, seg.Rows, seg.Columns)
    for frame, group in zip(pixels, seg.PerFrameFunctionalGroupsSequence, strict=True):
        place = group if "SegmentIdentificationSequence" in group else shared
        number = place.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        rows, columns = np.nonzero(frame)
        origin = np.array(group.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        points[number - 1].append(
            origin
            + columns[:, None] * column_mm * cosines[:3]
            + rows[:, None] * row_mm * cosines[3:]
        )
    return [np.concatenate(each).mean(axis=0) for each in points]


class TestPlace:
    @pytest.mark.parametrize("orientation", ORIENTATIONS)
    def test_the_organs_are_where_the_patient_has_them(
        self,
        orientation: str,
        tmp_path: Path,
        phantoms: ModuleType,
        volume_of: VolumeOf,
        drawn: Drawn,
        write: Write,
    ) -> None:
        # Arrange: wide enough for every organ in every orientation
        phantom = phantoms.torso_ct(
            tmp_path / "ct",
            orientation=orientation,
            shape=(60, 60, 60),
            spacing_mm=(5.0, 5.0, 5.0),
            shuffle=3,
        )

        # Act
        seg = write(volume_of(phantom), drawn(phantom, "liver", "spleen", "right kidney"))

        # Assert: half a voxel, and no flip can be that small
        for centre, expected in zip(centres(seg), (LIVER, SPLEEN, RIGHT_KIDNEY), strict=True):
            assert centre == pytest.approx(expected, abs=2.5)

    def test_enhanced_multi_frame_sources_are_referred_to_by_frame(
        self, tmp_path: Path, phantoms: ModuleType, volume_of: VolumeOf, drawn: Drawn, write: Write
    ) -> None:
        phantom = phantoms.torso_ct(
            tmp_path / "ct", enhanced=True, shuffle=5, orientation="oblique"
        )
        source = pydicom.dcmread(phantom.paths[0])

        seg = write(volume_of(phantom), drawn(phantom, "liver", "spleen"))

        assert centres(seg)[0] == pytest.approx(LIVER, abs=3.0)
        assert [len(item.ReferencedInstanceSequence) for item in seg.ReferencedSeriesSequence] == [
            1
        ]
        for group in seg.PerFrameFunctionalGroupsSequence:
            item = group.DerivationImageSequence[0].SourceImageSequence[0]
            assert item.ReferencedSOPInstanceUID == source.SOPInstanceUID
            assert item.ReferencedSOPClassUID == source.SOPClassUID
            frame = source.PerFrameFunctionalGroupsSequence[item.ReferencedFrameNumber - 1]
            assert (
                frame.PlanePositionSequence[0].ImagePositionPatient
                == group.PlanePositionSequence[0].ImagePositionPatient
            )

    def test_geometry_is_the_sources_own_digits(
        self, tmp_path: Path, phantoms: ModuleType, volume_of: VolumeOf, drawn: Drawn, write: Write
    ) -> None:
        # Arrange: digits that no float would print
        def odd(z: int, ds: Dataset) -> None:
            ds.ImageOrientationPatient = ["1.000000", "-0.0", "0", "0e0", "+1", "0.00"]
            ds.PixelSpacing = ["4.0000", "4.000"]
            x, y, z_mm = ds.ImagePositionPatient
            ds.ImagePositionPatient = [f"{x:.2f}", f"{y:.5f}", f"{z_mm:.3f}"]

        phantom = phantoms.torso_ct(tmp_path / "ct", edit=odd)
        sources = {ds.SOPInstanceUID: ds for ds in map(pydicom.dcmread, phantom.paths)}

        seg = write(volume_of(phantom), drawn(phantom, "liver"))

        shared = seg.SharedFunctionalGroupsSequence[0]
        orientation = shared.PlaneOrientationSequence[0].ImageOrientationPatient
        assert [str(part) for part in orientation] == ["1.000000", "-0.0", "0", "0e0", "+1", "0.00"]
        assert [str(part) for part in shared.PixelMeasuresSequence[0].PixelSpacing] == [
            "4.0000",
            "4.000",
        ]
        for group in seg.PerFrameFunctionalGroupsSequence:
            source = sources[
                group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
            ]
            position = group.PlanePositionSequence[0].ImagePositionPatient
            assert [str(part) for part in position] == [
                str(part) for part in source.ImagePositionPatient
            ]

    def test_a_matrix_that_does_not_fill_bytes(
        self, tmp_path: Path, phantoms: ModuleType, volume_of: VolumeOf, drawn: Drawn, write: Write
    ) -> None:
        phantom = phantoms.torso_ct(tmp_path / "ct", shape=(24, 61, 53), spacing_mm=(5.0, 6.0, 6.0))

        seg = write(volume_of(phantom), drawn(phantom, "liver", "spleen"))

        assert (seg.Rows, seg.Columns) == (61, 53)
        assert centres(seg)[1] == pytest.approx(SPLEEN, abs=3.0)
        # pydicom and we agree, frame by frame
        liver = seg.pixel_array[: phantom.masks["liver"].any(axis=(1, 2)).sum()]
        assert np.array_equal(
            np.sort(liver.sum(axis=(1, 2))),
            np.sort([m.sum() for m in phantom.masks["liver"] if m.any()]),
        )

    def test_overlapping_structures_keep_all_their_voxels(
        self,
        tmp_path: Path,
        phantoms: ModuleType,
        volume_of: VolumeOf,
        segment: Callable[..., ResultSegment],
        write: Write,
    ) -> None:
        phantom = phantoms.torso_ct(tmp_path / "ct")
        liver = phantom.masks["liver"]
        both = liver | phantom.masks["spleen"]

        seg = write(volume_of(phantom), [segment("liver", liver), segment("spleen", both)])

        assert seg.SegmentsOverlap == "YES"
        assert int(seg.pixel_array.sum()) == int(liver.sum() + both.sum())

    def test_a_structure_on_one_slice_only(
        self,
        tmp_path: Path,
        phantoms: ModuleType,
        volume_of: VolumeOf,
        segment: Callable[..., ResultSegment],
        write: Write,
    ) -> None:
        phantom = phantoms.torso_ct(tmp_path / "ct")
        voxels = np.zeros_like(phantom.masks["liver"])
        voxels[12] = phantom.masks["liver"][12]

        seg = write(volume_of(phantom), [segment("liver", voxels)])

        assert seg.NumberOfFrames == 1
        assert len(seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 24

    def test_a_source_of_a_single_slice(
        self,
        tmp_path: Path,
        phantoms: ModuleType,
        volume_of: VolumeOf,
        segment: Callable[..., ResultSegment],
        write: Write,
    ) -> None:
        phantom = phantoms.torso_ct(tmp_path / "ct")
        volume = volume_of(phantom)
        one = replace(
            volume,
            intensities=volume.intensities[12:13],
            frames=volume.frames[12:13],
            affine_zyx_to_lps=volume.affine_zyx_to_lps @ shift(12),
        )

        seg = write(one, [segment("liver", phantom.masks["liver"][12:13])])

        assert seg.NumberOfFrames == 1
        assert centres(seg)[0][:2] == pytest.approx(LIVER[:2], abs=3.0)

    def test_a_source_that_lies_elsewhere_than_its_volume_is_refused(
        self, tmp_path: Path, phantoms: ModuleType, volume_of: VolumeOf, drawn: Drawn, write: Write
    ) -> None:
        phantom = phantoms.torso_ct(tmp_path / "ct")
        volume = volume_of(phantom)
        shuffled = replace(volume, frames=tuple(reversed(volume.frames)))

        with pytest.raises(ResultMismatch, match="from where its source states it"):
            write(shuffled, drawn(phantom, "liver"))

        assert not list((tmp_path / "out").iterdir())


def shift(z: int) -> NDArray[np.float64]:
    """(4, 4) that makes slice z the first."""
    matrix = np.eye(4)
    matrix[0, 3] = z
    return matrix


class TestIdentity:
    def test_the_same_request_gives_the_same_bytes(
        self, tmp_path: Path, phantoms: ModuleType, volume_of: VolumeOf, drawn: Drawn, write: Write
    ) -> None:
        phantom = phantoms.torso_ct(tmp_path / "ct")
        volume, segments = volume_of(phantom), drawn(phantom, "liver", "spleen")

        write(volume, segments, path=tmp_path / "one.dcm")
        write(volume, segments, path=tmp_path / "two.dcm")

        assert (tmp_path / "one.dcm").read_bytes() == (tmp_path / "two.dcm").read_bytes()

    def test_another_version_of_the_study_gives_other_uids(
        self,
        tmp_path: Path,
        phantoms: ModuleType,
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
        phantoms: ModuleType,
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
        phantoms: ModuleType,
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
        self, tmp_path: Path, phantoms: ModuleType, volume_of: VolumeOf, drawn: Drawn, write: Write
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
        self, tmp_path: Path, phantoms: ModuleType, volume_of: VolumeOf, drawn: Drawn, write: Write
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

    def test_what_the_source_lacks_is_present_and_empty(
        self, tmp_path: Path, phantoms: ModuleType, volume_of: VolumeOf, drawn: Drawn, write: Write
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
        self, tmp_path: Path, phantoms: ModuleType, volume_of: VolumeOf, drawn: Drawn, write: Write
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
        self, tmp_path: Path, phantoms: ModuleType, volume_of: VolumeOf, drawn: Drawn, write: Write
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
        phantoms: ModuleType,
        volume_of: VolumeOf,
        drawn: Drawn,
        write: Write,
    ) -> None:
        def numbered(z: int, ds: Dataset) -> None:
            ds.SeriesNumber = number

        phantom = phantoms.torso_ct(tmp_path / "ct", edit=numbered)

        seg = write(volume_of(phantom), drawn(phantom, "liver"))

        assert seg.SeriesNumber == 10

    def test_many_structures_give_a_description_that_fits(
        self,
        tmp_path: Path,
        phantoms: ModuleType,
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
        self, tmp_path: Path, phantoms: ModuleType, volume_of: VolumeOf, drawn: Drawn, write: Write
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
        self, tmp_path: Path, phantoms: ModuleType, volume_of: VolumeOf, drawn: Drawn, write: Write
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


class TestRefusals:
    def test_no_segments(
        self, tmp_path: Path, phantoms: ModuleType, volume_of: VolumeOf, write: Write
    ) -> None:
        phantom = phantoms.torso_ct(tmp_path / "ct")

        with pytest.raises(ValueError, match="at least one segment"):
            write(volume_of(phantom), [])

    def test_an_empty_mask(
        self,
        tmp_path: Path,
        phantoms: ModuleType,
        volume_of: VolumeOf,
        segment: Callable[..., ResultSegment],
        write: Write,
    ) -> None:
        phantom = phantoms.torso_ct(tmp_path / "ct")

        with pytest.raises(ValueError, match="'spleen' is empty"):
            write(volume_of(phantom), [segment("spleen", np.zeros((24, 96, 96), bool))])

    def test_a_mask_on_another_grid(
        self,
        tmp_path: Path,
        phantoms: ModuleType,
        volume_of: VolumeOf,
        segment: Callable[..., ResultSegment],
        write: Write,
    ) -> None:
        phantom = phantoms.torso_ct(tmp_path / "ct")

        with pytest.raises(ValueError, match="the mask of 'liver' is"):
            write(volume_of(phantom), [segment("liver", np.ones((24, 96, 95), bool))])

    def test_a_failed_write_leaves_what_was_there(
        self, tmp_path: Path, phantoms: ModuleType, volume_of: VolumeOf, drawn: Drawn, write: Write
    ) -> None:
        phantom = phantoms.torso_ct(tmp_path / "ct")
        volume, segments = volume_of(phantom), drawn(phantom, "liver")
        path = tmp_path / "out" / "seg.dcm"
        write(volume, segments)
        before = path.read_bytes()

        with pytest.raises(ResultMismatch):
            write(replace(volume, frames=tuple(reversed(volume.frames))), segments)

        assert path.read_bytes() == before
        assert [each.name for each in path.parent.iterdir()] == ["seg.dcm"]


class TestRealSeries:
    def test_the_sample_ct(
        self,
        shared_data: Path,
        volume_of: VolumeOf,
        segment: Callable[..., ResultSegment],
        write: Write,
    ) -> None:
        volume = volume_of(shared_data / "ct_dicom_totalseg" / "dicom")
        bone = volume.intensities > 300

        seg = write(volume, [segment("spine", bone)])

        assert int(seg.pixel_array.sum()) == int(bone.sum())
        assert (seg.PatientID, seg.Rows) == ("TS-EXAMPLE-1", 512)

    def test_decimal_strings_longer_than_the_standard_allows(
        self,
        shared_data: Path,
        volume_of: VolumeOf,
        segment: Callable[..., ResultSegment],
        write: Write,
    ) -> None:
        volume = volume_of(shared_data / "mr_dicom_studyforrest_t1")
        bright = volume.intensities > 100

        seg = write(volume, [segment("spine", bright)])

        for group in seg.PerFrameFunctionalGroupsSequence:
            position = group.PlanePositionSequence[0].ImagePositionPatient
            assert all(len(str(part)) <= 16 for part in position)
        assert int(seg.pixel_array.sum()) == int(bright.sum())

    def test_real_enhanced_mr(
        self,
        shared_data: Path,
        volume_of: VolumeOf,
        segment: Callable[..., ResultSegment],
        write: Write,
    ) -> None:
        files = sorted((shared_data / "odd_dicom" / "nv").glob("*"))
        volume = volume_of(_Files(files))

        seg = write(volume, [segment("spine", volume.intensities > np.median(volume.intensities))])

        numbers = {
            group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber
            for group in seg.PerFrameFunctionalGroupsSequence
        }
        assert numbers == set(range(1, 7))


class _Files:
    """A few files that stand for a phantom."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
