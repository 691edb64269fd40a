"""Long and short axis as lines on the source, which viewers draw."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from highdicom.sr import srread
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node.errors import ResultMismatch
from dicom_node.results.segmentation import SegmentationWriter, tracking_uid
from dicom_node.results.structured_reports.check_diameters import check_diameters
from dicom_node.results.structured_reports.diameter_report import DiameterReportWriter
from dicom_node.results.writers import write_result
from dicom_node.values import (
    Algorithm,
    ResultContent,
    ResultIdentity,
    ResultKind,
    ResultSegment,
    SourceVolume,
)
from tests.support import phantoms

OBLIQUE = {"shape": (40, 80, 96), "spacing_mm": (5.0, 3.0, 3.5), "orientation": "oblique"}


class Case:
    """Liver and left kidney, and the report of their diameters."""

    def __init__(self, content: ResultContent, folder: Path) -> None:
        self.content, self.folder = content, folder
        self.path = folder / "diameters.dcm"
        self.result = write_result(DiameterReportWriter(), content, self.path)

    @property
    def report(self) -> Dataset:
        """As it is on disk."""
        return pydicom.dcmread(self.path)

    def check(self) -> None:
        """As the node checks it."""
        check_diameters(self.path, self.content.volume, self.content.segments)


@pytest.fixture
def case(
    tmp_path: Path,
    volume_of: Callable[[Any], SourceVolume],
    drawn: Callable[..., list[ResultSegment]],
    algorithm: Algorithm,
    identity: ResultIdentity,
) -> Callable[..., Case]:
    """Writes the report of a phantom; options are the phantom's."""

    def make(**options: Any) -> Case:
        phantom = phantoms.torso_ct(tmp_path / "ct", **{**OBLIQUE, **options})
        liver, kidney = drawn(phantom, "liver", "left kidney")
        kidney = replace(kidney, doubts=("two parts",), for_review=True)
        content = ResultContent(volume_of(phantom), [liver, kidney], (), algorithm, identity)
        return Case(content, tmp_path)

    return make


def named(item: Dataset, meaning: str) -> list[Dataset]:
    """The items of that concept directly below one."""
    return [
        child
        for child in item.ContentSequence
        if child.ConceptNameCodeSequence[0].CodeMeaning == meaning
    ]


def groups(report: Dataset) -> list[Dataset]:
    """A measurement group for each structure."""
    return named(named(report, "Imaging Measurements")[0], "Measurement Group")


def line(group: Dataset, axis: str) -> tuple[float, NDArray[np.float64], Dataset]:
    """Length in mm, ends (column, row) (2, 2), and the image that an axis lies on."""
    (measured,) = named(group, axis)
    (coordinates,) = measured.ContentSequence
    assert coordinates.GraphicType == "POLYLINE"
    (image,) = coordinates.ContentSequence
    ends = np.reshape(np.array(coordinates.GraphicData, float), (2, 2))
    length = float(measured.MeasuredValueSequence[0].NumericValue)
    return length, ends, image.ReferencedSOPSequence[0]


def test_both_lines_lie_across_the_structure_on_its_largest_slice(
    case: Callable[..., Case],
) -> None:
    made = case()

    assert made.result.kind is ResultKind.DIAMETERS
    for group, segment in zip(groups(made.report), made.content.segments, strict=True):
        mask = segment.voxels.whole()
        z = int(mask.sum(axis=(1, 2)).argmax())
        for axis in ("Long Axis", "Short Axis"):
            length_mm, ends, image = line(group, axis)
            assert image.ReferencedSOPInstanceUID == made.content.volume.frames[z].sop_instance_uid
            # where it is drawn, by the header of the slice itself (PS3.3 C.7.6.2.1.1)
            source = pydicom.dcmread(made.content.volume.frames[z].path)
            row_mm, column_mm = source.PixelSpacing
            columns, rows = ends[1] - ends[0]
            assert length_mm == pytest.approx(
                np.hypot(rows * row_mm, columns * column_mm), abs=0.01
            )
            # both shapes are convex, so all of a line but its very ends is inside
            inside = ends[0] + np.linspace(0.03, 0.97, 50)[:, None] * (ends[1] - ends[0])
            assert mask[z][inside[:, 1].astype(int), inside[:, 0].astype(int)].mean() > 0.95
            before = ends[0] - 0.05 * (ends[1] - ends[0])
            assert not mask[z][int(before[1]), int(before[0])]


def test_groups_are_tracked_as_the_segments_and_say_what_is_in_doubt(
    case: Callable[..., Case],
) -> None:
    made = case()

    liver, kidney = groups(made.report)

    expected = tracking_uid(made.content.identity, "left_kidney")
    assert expected == named(kidney, "Tracking Unique Identifier")[0].UID
    assert named(kidney, "Comment")[0].TextValue == "two parts"
    assert not named(liver, "Comment")
    assert made.report.SeriesDescription.startswith("AI DIAMETERS for review: liver, left kidney")


@pytest.mark.parametrize("enhanced", [False, True])
def test_a_frame_is_named_where_the_source_has_several(
    case: Callable[..., Case], enhanced: bool
) -> None:
    made = case(enhanced=enhanced)

    _, _, image = line(groups(made.report)[0], "Long Axis")

    z = int(made.content.segments[0].voxels.areas.argmax())
    number = made.content.volume.frames[z].frame_number
    assert (number is not None) is enhanced
    assert image.get("ReferencedFrameNumber") == number


def swap_points(group: Dataset) -> None:
    """The line is drawn with rows for columns."""
    for axis in ("Long Axis", "Short Axis"):
        coordinates = named(group, axis)[0].ContentSequence[0]
        x0, y0, x1, y1 = coordinates.GraphicData
        coordinates.GraphicData = [y0, x0, y1, x1]


def move(group: Dataset) -> None:
    """The line lies beside the structure."""
    coordinates = named(group, "Long Axis")[0].ContentSequence[0]
    coordinates.GraphicData = [value + 3 for value in coordinates.GraphicData]


def lengthen(group: Dataset) -> None:
    """The number is another than the line's length."""
    named(group, "Long Axis")[0].MeasuredValueSequence[0].NumericValue = "999"


def turn(group: Dataset) -> None:
    """The short axis is the long one."""
    long, short = named(group, "Long Axis")[0], named(group, "Short Axis")[0]
    short.MeasuredValueSequence = long.MeasuredValueSequence
    short.ContentSequence = long.ContentSequence


def other_image(group: Dataset) -> None:
    """The line lies on another slice."""
    image = named(group, "Short Axis")[0].ContentSequence[0].ContentSequence[0]
    image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "1.2.3"


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (swap_points, "of another length|leaves liver"),
        (move, "leaves liver"),
        (lengthen, "of another length"),
        (turn, "not at right angles"),
        (other_image, "on another image"),
    ],
)
def test_lines_that_are_not_the_structures_are_not_sent(
    case: Callable[..., Case], fault: Callable[[Dataset], None], sentence: str
) -> None:
    made = case()
    made.check()
    report = made.report
    fault(groups(report)[0])
    report.save_as(made.path)

    with pytest.raises(ResultMismatch, match=sentence):
        made.check()


def test_there_is_no_line_without_a_millimetre_or_a_structure(case: Callable[..., Case]) -> None:
    content, writer = case().content, DiameterReportWriter()
    unsized = replace(content, volume=replace(content.volume, sized=False))
    nothing = replace(content, segments=())

    assert writer.applies(content)
    for useless in (unsized, nothing):
        assert not writer.applies(useless)
        with pytest.raises(ValueError, match="at least one segment"):
            writer.write(useless, ())


def test_highdicom_reads_the_lines(case: Callable[..., Case]) -> None:
    made = case()

    content: Any = srread(made.path).content
    read = content.get_image_measurement_groups()

    assert [group.tracking_identifier for group in read] == ["liver", "left_kidney"]
    assert {str(m.name.meaning) for m in read[0].get_measurements()} == {"Long Axis", "Short Axis"}


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a peer; its output as text."""
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
        check=False,
    )


@pytest.mark.peer
@pytest.mark.parametrize("enhanced", [False, True])
def test_independent_readers_find_no_fault(
    case: Callable[..., Case], peer: Callable[[str], str], enhanced: bool
) -> None:
    made = case(enhanced=enhanced)
    seg = write_result(SegmentationWriter(), made.content, made.folder / "seg.dcm")
    sources = {frame.path for frame in made.content.volume.frames}

    valid = run(peer("dciodvfy"), made.path)
    together = run(peer("dcentvfy"), made.path, seg.path, *sources)
    printed = run(peer("dsrdump"), made.path)
    read = run(
        peer("tid1500reader"),
        "--inputDICOM",
        made.path,
        "--outputMetadata",
        made.folder / "out.json",
    )

    assert (valid.returncode, "EnhancedSR" in valid.stdout + valid.stderr) == (0, True)
    for done in (valid, together):
        output = done.stdout + done.stderr
        assert [text for text in output.splitlines() if text.startswith("Error")] == []
    assert (printed.returncode, "E: " in printed.stderr) == (0, False)
    assert printed.stdout.count("<inferred from SCOORD:") == 4
    assert read.returncode == 0, read.stderr
    measurements = json.loads((made.folder / "out.json").read_text())["Measurements"]
    lengths = [
        [item["quantity"]["CodeMeaning"] for item in group["measurementItems"]]
        for group in measurements
    ]
    assert lengths == [["Long Axis", "Short Axis"]] * 2
