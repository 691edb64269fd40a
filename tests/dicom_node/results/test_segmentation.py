"""The SEG lies where its source lies, says whose it is, and is the same every time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from scipy.spatial.transform import Rotation

from dicom_node.errors import ResultMismatch
from dicom_node.results.segmentation import SegmentationWriter
from dicom_node.results.writers import write_result
from dicom_node.values import Algorithm, ResultContent, ResultIdentity, ResultSegment, SourceVolume
from tests.support import phantoms

Drawn = Callable[..., list[ResultSegment]]
VolumeOf = Callable[[Any], SourceVolume]
Write = Callable[..., Dataset]

#: Centres of the phantom's organs, LPS mm, written down from the anatomy and not read from the
#: builder
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

    @given(
        turn_deg=st.tuples(*[st.floats(-180, 180)] * 3),
        flip=st.sampled_from([(1, 1), (1, -1), (-1, 1), (-1, -1)]),
        spacing_mm=st.tuples(st.floats(0.5, 9), st.floats(0.3, 4), st.floats(0.3, 4)),
        shape=st.tuples(st.integers(2, 5), st.integers(3, 17), st.integers(3, 17)),
        seed=st.integers(0, 2**32 - 1),
    )
    @settings(max_examples=12, deadline=None)
    def test_any_turn_any_spacing_any_matrix(
        self,
        turn_deg: tuple[float, float, float],
        flip: tuple[int, int],
        spacing_mm: tuple[float, float, float],
        shape: tuple[int, int, int],
        seed: int,
        tmp_path_factory: pytest.TempPathFactory,
        volume_of: VolumeOf,
        segment: Callable[..., ResultSegment],
        algorithm: Algorithm,
        identity: ResultIdentity,
    ) -> None:
        # Arrange: a rotation, then either axis against its direction; random voxels
        folder = tmp_path_factory.mktemp("turned")
        turn = Rotation.from_euler("xyz", turn_deg, degrees=True).as_matrix()
        cosines = (*(turn[:, 0] * flip[0]), *(turn[:, 1] * flip[1]))
        phantom = phantoms.torso_ct(
            folder / "ct",
            orientation=cosines,
            shape=shape,
            spacing_mm=spacing_mm,
            shuffle=seed % 1000,
        )
        volume = volume_of(phantom)
        voxels = np.random.default_rng(seed).random(shape) < 0.3
        voxels[0, 0, 0] = True

        # Act
        written = write_result(
            SegmentationWriter(),
            ResultContent(volume, [segment("liver", voxels)], (), algorithm, identity),
            folder / "seg.dcm",
        )

        # Assert: by pydicom and the frames' positions, where the builder's affine has them
        mean = np.append(np.argwhere(voxels).mean(axis=0), 1.0)
        expected = (phantom.affine_zyx_to_lps @ mean)[:3]
        assert centres(pydicom.dcmread(written.path))[0] == pytest.approx(expected, abs=0.01)

    def test_enhanced_multi_frame_sources_are_referred_to_by_frame(
        self, tmp_path: Path, volume_of: VolumeOf, drawn: Drawn, write: Write
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
        self, tmp_path: Path, volume_of: VolumeOf, drawn: Drawn, write: Write
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

    def test_cosines_of_three_digits_are_kept_although_they_are_no_unit_vectors(
        self, tmp_path: Path, volume_of: VolumeOf, drawn: Drawn, write: Write
    ) -> None:
        # Arrange: 45 degrees about x as some scanners print it
        rounded = ["1", "0", "0", "0", "0.707", "0.707"]

        def three_digits(z: int, ds: Dataset) -> None:
            ds.ImageOrientationPatient = rounded

        half = 2**-0.5
        phantom = phantoms.torso_ct(
            tmp_path / "ct",
            orientation=(1, 0, 0, 0, half, half),
            shape=(40, 400, 100),
            spacing_mm=(5.0, 1.0, 4.0),
            edit=three_digits,
        )

        seg = write(volume_of(phantom), drawn(phantom, "liver"))

        shared = seg.SharedFunctionalGroupsSequence[0]
        assert [
            str(part) for part in shared.PlaneOrientationSequence[0].ImageOrientationPatient
        ] == rounded

    def test_thin_slices_of_a_table_that_drifts_sideways(
        self, tmp_path: Path, volume_of: VolumeOf, drawn: Drawn, write: Write
    ) -> None:
        # Arrange: to and fro by a third of a millimetre, more than half a slice
        def drifting(z: int, ds: Dataset) -> None:
            x, y, z_mm = ds.ImagePositionPatient
            ds.ImagePositionPatient = [f"{x + 0.35 * (z % 2):.3f}", str(y), str(z_mm)]

        phantom = phantoms.torso_ct(
            tmp_path / "ct", shape=(40, 96, 96), spacing_mm=(0.6, 4.0, 4.0), edit=drifting
        )

        seg = write(volume_of(phantom), drawn(phantom, "liver"))

        assert (
            len(
                {
                    str(g.PlanePositionSequence[0].ImagePositionPatient[0])
                    for g in seg.PerFrameFunctionalGroupsSequence
                }
            )
            == 2
        )

    def test_a_matrix_that_does_not_fill_bytes(
        self, tmp_path: Path, volume_of: VolumeOf, drawn: Drawn, write: Write
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

    def test_structures_that_share_a_slice_and_no_voxel_do_not_overlap(
        self, tmp_path: Path, volume_of: VolumeOf, drawn: Drawn, write: Write
    ) -> None:
        phantom = phantoms.torso_ct(tmp_path / "ct")

        seg = write(volume_of(phantom), drawn(phantom, "liver", "spleen"))

        assert seg.SegmentsOverlap == "NO"

    @pytest.mark.parametrize("shape", [(24, 33, 35), (3, 31, 31), (2, 33, 33)])
    def test_frames_that_end_within_a_byte_follow_one_another_without_a_gap(
        self,
        shape: tuple[int, int, int],
        tmp_path: Path,
        volume_of: VolumeOf,
        segment: Callable[..., ResultSegment],
        write: Write,
    ) -> None:
        # Arrange
        phantom = phantoms.torso_ct(tmp_path / "ct", shape=shape)
        liver, spleen = np.random.default_rng(3).random((2, *shape)) < 0.4

        # Act
        seg = write(volume_of(phantom), [segment("liver", liver), segment("spleen", spleen)])

        # Assert: pydicom unpacks what was meant, each structure from the head down
        np.testing.assert_array_equal(
            seg.pixel_array.reshape(-1, *shape[1:]), np.concatenate([liver[::-1], spleen[::-1]])
        )
        assert len(seg.PixelData) % 2 == 0

    def test_a_structure_on_one_slice_only(
        self,
        tmp_path: Path,
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
        self, tmp_path: Path, volume_of: VolumeOf, drawn: Drawn, write: Write
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


class TestRefusals:
    def test_no_segments(self, tmp_path: Path, volume_of: VolumeOf, write: Write) -> None:
        phantom = phantoms.torso_ct(tmp_path / "ct")

        with pytest.raises(ValueError, match="at least one segment"):
            write(volume_of(phantom), [])

    def test_an_empty_mask(
        self,
        tmp_path: Path,
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
        volume_of: VolumeOf,
        segment: Callable[..., ResultSegment],
        write: Write,
    ) -> None:
        phantom = phantoms.torso_ct(tmp_path / "ct")

        with pytest.raises(ValueError, match="the mask of 'liver' is"):
            write(volume_of(phantom), [segment("liver", np.ones((24, 96, 95), bool))])

    def test_a_failed_write_leaves_what_was_there(
        self, tmp_path: Path, volume_of: VolumeOf, drawn: Drawn, write: Write
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
