"""An RTSTRUCT holds what was drawn, where it was drawn, and reads back as the same masks."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian

from dicom_node.annotations.structure_set import read_structure_set_header, read_structures
from dicom_node.errors import ResultMismatch
from dicom_node.results.segmentation import SegmentationWriter
from dicom_node.results.structure_sets.check_structure_set import check_structure_set
from dicom_node.results.structure_sets.structure_set_writer import StructureSetWriter
from dicom_node.results.writers import DEFAULT_WRITERS, write_result
from dicom_node.values import (
    Algorithm,
    ResultContent,
    ResultIdentity,
    ResultKind,
    ResultSegment,
    SourceVolume,
)
from dicom_node.voxels import Voxels
from tests.support import archives, phantoms

SMALL = {"shape": (20, 60, 72), "spacing_mm": (8.0, 4.0, 4.5)}
ORIENTATIONS = ["axial", "sagittal", "coronal", "negated_rows", "negated_columns", "oblique"]


class Case:
    """Liver with a hole and left kidney, and the structure set of them."""

    def __init__(self, content: ResultContent, folder: Path) -> None:
        self.content, self.folder = content, folder
        self.path = folder / "rtstruct.dcm"
        self.result = write_result(StructureSetWriter(), content, self.path)

    @property
    def structure_set(self) -> Dataset:
        """As it is on disk."""
        return pydicom.dcmread(self.path)

    def check(self) -> None:
        """As the node checks it."""
        check_structure_set(self.path, self.content.volume, self.content.segments)


@pytest.fixture
def case(
    tmp_path: Path,
    volume_of: Callable[[Any], SourceVolume],
    drawn: Callable[..., list[ResultSegment]],
    algorithm: Algorithm,
    identity: ResultIdentity,
) -> Callable[..., Case]:
    """Writes the structure set of a phantom; options are the phantom's."""

    def make(**options: Any) -> Case:
        phantom = phantoms.torso_ct(tmp_path / "ct", **{**SMALL, **options})
        liver, kidney = drawn(phantom, "liver", "left kidney")
        mask = liver.voxels.whole()
        y, x = (int(place.mean()) for place in np.nonzero(mask)[1:])
        mask[:, y : y + 2, x : x + 3] = False  # a vessel that was left out
        liver = replace(liver, voxels=Voxels.of(mask))
        kidney = replace(kidney, doubts=("two parts",), for_review=True)
        content = ResultContent(volume_of(phantom), [liver, kidney], (), algorithm, identity)
        return Case(content, tmp_path)

    return make


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_masks_come_back_as_they_were(case: Callable[..., Case], orientation: str) -> None:
    made = case(orientation=orientation)

    read = read_structures(made.path, made.content.volume)

    assert [structure.fault for structure in read] == ["", ""]
    assert all(structure.automatic for structure in read)
    for structure, segment in zip(read, made.content.segments, strict=True):
        assert structure.label == segment.label
        assert np.array_equal(structure.voxels, segment.voxels.whole())


def test_frames_of_an_enhanced_image_are_named(case: Callable[..., Case]) -> None:
    made = case(enhanced=True)

    read = read_structures(made.path, made.content.volume)

    liver = made.content.segments[0].voxels
    assert np.array_equal(read[0].voxels, liver.whole())
    contours = made.structure_set.ROIContourSequence[0].ContourSequence
    numbers = {int(c.ContourImageSequence[0].ReferencedFrameNumber) for c in contours}
    assert numbers == {made.content.volume.frames[z].frame_number for z in liver.slices}


def test_it_says_what_was_drawn_by_whom_on_what(case: Callable[..., Case]) -> None:
    made = case()
    structure_set, volume = made.structure_set, made.content.volume

    header = read_structure_set_header(made.path)
    assert made.result.kind is ResultKind.RTSTRUCT
    assert header.series_instance_uid == volume.series_instance_uid
    assert header.frame_of_reference_uid == volume.frame_of_reference_uid
    assert structure_set.PatientID == pydicom.dcmread(volume.frames[0].path).PatientID
    assert structure_set.SeriesDescription.startswith("AI RTSTRUCT for review: liver, left kidney")
    assert structure_set.ApprovalStatus == "UNAPPROVED"
    kidney = structure_set.StructureSetROISequence[1]
    assert (kidney.ROIName, kidney.ROIGenerationAlgorithm) == ("left kidney", "AUTOMATIC")
    assert kidney.ROIDescription == "two parts"
    algorithm = kidney.ROIDerivationAlgorithmIdentificationSequence[0]
    assert algorithm.AlgorithmName == made.content.algorithm.name
    code = structure_set.RTROIObservationsSequence[1].RTROIIdentificationCodeSequence[0]
    assert code.CodeValue == made.content.segments[1].type.value
    side = code.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning
    assert side == "Left"
    # a DS of more than 64 kB exists in implicit VR alone
    assert structure_set.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian


def test_the_same_content_gives_the_same_bytes(case: Callable[..., Case]) -> None:
    made = case()
    before = made.path.read_bytes()

    write_result(StructureSetWriter(), made.content, made.path)

    assert made.path.read_bytes() == before


def contours_of(structure_set: Dataset) -> Any:
    return structure_set.ROIContourSequence[0].ContourSequence


def shift(structure_set: Dataset, offset_mm: tuple[float, float, float]) -> None:
    contour = contours_of(structure_set)[0]
    points = np.reshape(np.array(contour.ContourData, float), (-1, 3)) + offset_mm
    contour.ContourData = [f"{value:.4f}" for value in points.ravel()]


def drop(structure_set: Dataset) -> None:
    del contours_of(structure_set)[-1]


def other_image(structure_set: Dataset) -> None:
    contours_of(structure_set)[0].ContourImageSequence[0].ReferencedSOPInstanceUID = "1.2.3"


def other_code(structure_set: Dataset) -> None:
    code = structure_set.RTROIObservationsSequence[0].RTROIIdentificationCodeSequence[0]
    code.CodeValue = "78961009"


def other_frame(structure_set: Dataset) -> None:
    structure_set.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID = "1.2.3"


def swapped(structure_set: Dataset) -> None:
    first, second = structure_set.ROIContourSequence
    first.ContourSequence, second.ContourSequence = second.ContourSequence, first.ContourSequence


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (lambda each: shift(each, (4.5, 0, 0)), "enclose other pixels than liver"),
        (lambda each: shift(each, (0, 0, 1)), "off its slice"),
        (drop, "enclose other pixels than liver"),
        (other_image, "on an image that is not its own"),
        (other_code, "another code for liver"),
        (other_frame, "another frame of reference"),
        (swapped, "enclose other pixels than liver"),
    ],
)
def test_contours_that_are_not_the_masks_are_not_sent(
    case: Callable[..., Case], fault: Callable[[Dataset], None], sentence: str
) -> None:
    made = case()
    made.check()
    structure_set = made.structure_set
    fault(structure_set)
    structure_set.save_as(made.path)

    with pytest.raises(ResultMismatch, match=sentence):
        made.check()


def test_there_is_none_without_a_place_in_the_patient(case: Callable[..., Case]) -> None:
    content, writer = case().content, StructureSetWriter()
    picture = replace(content, volume=replace(content.volume, single_image=True))
    nowhere = replace(content, volume=replace(content.volume, frame_of_reference_uid=""))

    assert writer.applies(content)
    for useless in (picture, nowhere, replace(content, segments=())):
        assert not writer.applies(useless)
        with pytest.raises(ValueError, match="frame of reference"):
            writer.write(useless, ())


def test_nobody_gets_one_who_did_not_ask() -> None:
    assert ResultKind.RTSTRUCT not in {writer.kind for writer in DEFAULT_WRITERS}


@pytest.mark.peer
@pytest.mark.parametrize("enhanced", [False, True])
def test_independent_readers_find_no_fault(
    case: Callable[..., Case], peer: Callable[[str], str], enhanced: bool
) -> None:
    made = case(enhanced=enhanced)
    seg = write_result(SegmentationWriter(), made.content, made.folder / "seg.dcm")
    sources = {str(frame.path) for frame in made.content.volume.frames}

    for command in (
        [peer("dciodvfy"), str(made.path)],
        [peer("dcentvfy"), str(made.path), str(seg.path), *sources],
    ):
        done = subprocess.run(command, capture_output=True, timeout=120, check=False)
        output = (done.stdout + done.stderr).decode(errors="replace")
        assert [text for text in output.splitlines() if text.startswith("Error")] == []


@pytest.mark.peer
def test_an_archive_takes_it_and_gives_the_masks_back(
    case: Callable[..., Case], peer: Callable[[str], str], tmp_path: Path
) -> None:
    made = case(orientation="oblique")
    pacs = archives.Orthanc(peer("Orthanc"), tmp_path / "pacs")
    try:
        pacs.destination().send([made.result])
        (stored,) = pacs.stored().values()
    finally:
        pacs.stop()
    stored.save_as(tmp_path / "back.dcm")

    read = read_structures(tmp_path / "back.dcm", made.content.volume)

    for structure, segment in zip(read, made.content.segments, strict=True):
        assert np.array_equal(structure.voxels, segment.voxels.whole())
