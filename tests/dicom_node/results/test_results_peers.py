"""What independent readers make of our results: a validator, and the reader that 3D Slicer uses."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from dicom_node.results.report import ReportWriter
from dicom_node.results.segmentation import SegmentationWriter
from dicom_node.results.writers import write_result
from dicom_node.values import (
    Algorithm,
    Code,
    ResultContent,
    ResultIdentity,
    ResultSegment,
    SourceVolume,
    UndrawnFinding,
)
from tests.support import phantoms

pytestmark = pytest.mark.peer

Peer = Callable[[str], str]
Results = Callable[..., "Made"]

GALLBLADDER = UndrawnFinding(
    "gallbladder", Code("28231008", "SCT", "Gallbladder"), None, "gallbladder", "nowhere seen"
)


class Made:
    """Results and what they were made of."""

    def __init__(self, volume: SourceVolume, segments: list[ResultSegment], folder: Path) -> None:
        self.volume, self.segments, self.folder = volume, segments, folder
        self.seg, self.report = folder / "seg.dcm", folder / "sr.dcm"


@pytest.fixture
def made(
    tmp_path: Path,
    volume_of: Callable[[Any], SourceVolume],
    drawn: Callable[..., list[ResultSegment]],
    algorithm: Algorithm,
    identity: ResultIdentity,
) -> Results:
    """Writes a SEG and an SR of the phantom's liver and right kidney; options are the phantom's."""

    def make(
        volume: SourceVolume | None = None,
        segments: list[ResultSegment] | None = None,
        **options: Any,
    ) -> Made:
        if volume is None or segments is None:
            shape = {"shape": (60, 56, 60), "spacing_mm": (5.0, 5.0, 5.0)}
            phantom = phantoms.torso_ct(tmp_path / "ct", **{**shape, **options})
            volume, segments = volume_of(phantom), drawn(phantom, "liver", "right kidney")
        result = Made(volume, segments, tmp_path)
        seg = write_result(
            SegmentationWriter(),
            ResultContent(volume, segments, (), algorithm, identity),
            result.seg,
        )
        write_result(
            ReportWriter(),
            ResultContent(volume, segments, [GALLBLADDER], algorithm, identity),
            result.report,
            [seg],
        )
        return result

    return make


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a peer; its output as text whatever bytes it prints."""
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
        check=False,
    )


def faults_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What a validator calls an error."""
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]


SOURCES = [
    pytest.param({"orientation": "axial"}, id="axial"),
    pytest.param({"orientation": "sagittal"}, id="sagittal"),
    pytest.param({"orientation": "coronal"}, id="coronal"),
    pytest.param({"orientation": "negated_rows"}, id="negated_rows"),
    pytest.param({"orientation": "negated_columns"}, id="negated_columns"),
    pytest.param({"orientation": "oblique"}, id="oblique"),
    pytest.param(
        {"orientation": "oblique_sagittal", "enhanced": True, "shuffle": 3}, id="enhanced"
    ),
    pytest.param({"shape": (60, 61, 53), "spacing_mm": (5.0, 6.0, 6.0)}, id="odd_matrix"),
]


class TestValidator:
    @pytest.mark.parametrize("options", SOURCES)
    def test_dciodvfy_finds_no_error(
        self, options: dict[str, Any], peer: Peer, made: Results
    ) -> None:
        program, results = peer("dciodvfy"), made(**options)

        for path, kind in ((results.seg, "Segmentation"), (results.report, "EnhancedSR")):
            done = run(program, path)

            assert faults_of(done) == []
            assert done.returncode == 0
            assert kind in done.stdout + done.stderr

    def test_dciodvfy_finds_no_error_in_a_report_of_nothing_found(
        self,
        peer: Peer,
        made: Results,
        algorithm: Algorithm,
        identity: ResultIdentity,
    ) -> None:
        program, results = peer("dciodvfy"), made()

        write_result(
            ReportWriter(),
            ResultContent(results.volume, [], [GALLBLADDER], algorithm, identity),
            results.report,
        )

        done = run(program, results.report)
        assert (done.returncode, faults_of(done)) == (0, [])

    def test_dcentvfy_finds_results_and_source_to_be_of_one_study(
        self, peer: Peer, made: Results
    ) -> None:
        program, results = peer("dcentvfy"), made()

        done = run(
            program, results.seg, results.report, *(frame.path for frame in results.volume.frames)
        )

        assert faults_of(done) == []

    def test_it_finds_an_error_where_there_is_one(self, peer: Peer, made: Results) -> None:
        # Arrange: the test of the tests
        program, results = peer("dciodvfy"), made()
        results.seg.write_bytes(results.seg.read_bytes().replace(b"BINARY", b"BINARX"))

        assert faults_of(run(program, results.seg))

    @pytest.mark.parametrize(
        ("folder", "threshold", "own_faults"),
        [
            ("ct_dicom_totalseg/dicom", 300, ()),
            # an age of "42", which the source has and a result must not correct
            ("mr_dicom_studyforrest_t1", 100, ("Patient's Age", "contains invalid data values")),
        ],
    )
    def test_real_sources_bring_no_faults_but_their_own(
        self,
        folder: str,
        threshold: int,
        own_faults: tuple[str, ...],
        peer: Peer,
        made: Results,
        shared_data: Path,
        volume_of: Callable[[Any], SourceVolume],
        segment: Callable[..., ResultSegment],
    ) -> None:
        program, volume = peer("dciodvfy"), volume_of(shared_data / folder)

        results = made(volume, [segment("spine", volume.intensities > threshold)])

        for path in (results.seg, results.report):
            faults = faults_of(run(program, path))
            assert [line for line in faults if not any(own in line for own in own_faults)] == []


class TestDcmqi:
    @pytest.mark.parametrize("options", SOURCES)
    def test_segimage2itkimage_reads_the_same_voxels_at_the_same_place(
        self, options: dict[str, Any], peer: Peer, made: Results
    ) -> None:
        program, results = peer("segimage2itkimage"), made(**options)

        done = run(
            program,
            "--inputDICOM",
            results.seg,
            "--outputDirectory",
            results.folder,
            "--outputType",
            "nii",
        )

        assert done.returncode == 0, done.stderr
        assert "Failed to get CIELab values" not in done.stdout + done.stderr
        for number, segment in enumerate(results.segments, start=1):
            image: Any = nibabel.load(results.folder / f"{number}.nii.gz")
            theirs = np.argwhere(np.asarray(image.dataobj) > 0)
            assert len(theirs) == segment.voxels.count
            in_lps = (theirs @ image.affine[:3, :3].T + image.affine[:3, 3]) * (
                -1,
                -1,
                1,
            )  # NIfTI is RAS
            assert same_points(in_lps, places(segment, results.volume))

    def test_it_reads_labels_codes_and_colours(self, peer: Peer, made: Results) -> None:
        program, results = peer("segimage2itkimage"), made()

        run(
            program,
            "--inputDICOM",
            results.seg,
            "--outputDirectory",
            results.folder,
            "--outputType",
            "nii",
        )

        meta = json.loads((results.folder / "meta.json").read_text())
        liver, kidney = (attributes[0] for attributes in meta["segmentAttributes"])
        assert (liver["SegmentLabel"], kidney["SegmentLabel"]) == ("liver", "right kidney")
        assert kidney["SegmentedPropertyTypeModifierCodeSequence"]["CodeMeaning"] == "Right"
        assert liver["SegmentAlgorithmName"] == "litemedsam"
        assert liver["SegmentAlgorithmType"] == "AUTOMATIC"
        # L* 58, a* 46, b* 40 as sRGB, which dcmqi rounds
        assert liver["recommendedDisplayRGBValue"] == pytest.approx([234, 103, 73], abs=12)

    def test_tid1500reader_reads_the_report(self, peer: Peer, made: Results) -> None:
        program, results = peer("tid1500reader"), made()

        done = run(
            program, "--inputDICOM", results.report, "--outputMetadata", results.folder / "sr.json"
        )

        assert done.returncode == 0, done.stderr
        read = json.loads((results.folder / "sr.json").read_text())
        liver, kidney, *_ = read["Measurements"]
        assert (liver["TrackingIdentifier"], liver["ReferencedSegment"]) == ("liver", 1)
        assert (kidney["TrackingIdentifier"], kidney["ReferencedSegment"]) == ("right_kidney", 2)
        assert kidney["Laterality"]["CodeValue"] == "24028007"
        assert liver["SourceSeriesForImageSegmentation"] == results.volume.series_instance_uid
        numbers = {item["quantity"]["CodeMeaning"]: item for item in liver["measurementItems"]}
        assert float(numbers["Volume"]["value"]) == pytest.approx(1230.5, rel=0.03)
        assert numbers["Volume"]["units"]["CodeValue"] == "mL"
        assert float(numbers["Long Axis"]["value"]) == pytest.approx(144, abs=8)


def places(segment: ResultSegment, volume: SourceVolume) -> NDArray[np.float64]:
    """Where the voxels of a mask are, (n, 3) LPS mm."""
    index = np.argwhere(segment.voxels.whole())
    return index @ volume.affine_zyx_to_lps[:3, :3].T + volume.affine_zyx_to_lps[:3, 3]


def same_points(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """Whether both are the same set of points, to a tenth of a millimetre, whatever their order."""
    distances, nearest = cKDTree(one).query(other)
    return len(one) == len(other) == len(set(nearest.tolist())) and bool(distances.max() < 0.1)
