"""A hundred structures on 300 slices of 512x512, written, checked and ready to send.

    python tests/benchmarks/bench_results.py

As BINARY SEG and, from that, as label map; beside plain highdicom, which checks nothing of what it
wrote, and dcmqi where it is installed (`make peers`), which starts from a label map in a file.
Least of the runs, for a machine that does other work, too. Writes bench-out/results.json.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import SimpleITK
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.sr.codedict import codes

from dicom_node.result_kinds import SegmentationEncoding
from dicom_node.results.labelmap import as_labelmap
from dicom_node.results.segmentation import SegmentationWriter
from dicom_node.results.writers import write_result
from dicom_node.series.header import read_header
from dicom_node.values import Algorithm, Code, ResultContent, ResultIdentity, ResultSegment
from dicom_node.volume.volume import load_volume
from dicom_node.voxels import Voxels
from server.demo.phantom import write_torso

SLICES, STRUCTURES, REPEATS = 300, 100, 3
GOAL_BINARY_S, GOAL_LABELMAP_S = 8.0, 3.0
CATEGORY = Code("91723000", "SCT", "Anatomical Structure")
ORGAN = Code("113343008", "SCT", "Organ")


@dataclass(frozen=True)
class Case:
    """A study's files with its structures: `labels` (z, y, x) uint8, and what the writers take."""

    files: list[Path]
    labels: NDArray[np.uint8]
    content: ResultContent


def main() -> None:
    """Measure, print the table, write the JSON."""
    with tempfile.TemporaryDirectory(prefix="segnode-bench-") as name:
        folder = Path(name)
        write_torso(folder / "study", SLICES)
        case = made(sorted((folder / "study").iterdir()))
        works: dict[str, Callable[[], Path]] = {
            "Segnode, BINARY": lambda: binary(case, folder),
            "Segnode, label map from it": lambda: labelmap(case, folder),
            "highdicom, BINARY, unchecked": lambda: plain_highdicom(case, folder),
        }
        program = shutil.which("itkimage2segimage", path=str(Path(sys.executable).parent))
        if program is not None:
            label_file, metadata = for_dcmqi(case, folder)
            works["dcmqi, unchecked"] = lambda: dcmqi(program, case, label_file, metadata, folder)
        seconds: dict[str, list[float]] = {work: [] for work in works}
        sizes_mb: dict[str, float] = {}
        for _ in range(REPEATS):
            for work, run in works.items():
                started = time.perf_counter()
                path = run()
                seconds[work].append(time.perf_counter() - started)
                sizes_mb[work] = path.stat().st_size / 1e6
        report({work: min(times) for work, times in seconds.items()}, sizes_mb)


def made(files: list[Path]) -> Case:
    """Ellipsoids in ten rows and columns, each on a third of the slices."""
    volume = load_volume([read_header(path) for path in files])
    labels = np.zeros(volume.intensities.shape, dtype=np.uint8)
    rng = np.random.default_rng(0)
    z, y, x = (np.arange(size) for size in (SLICES, 512, 512))
    for number in range(1, STRUCTURES + 1):
        row, column = divmod(number - 1, 10)
        centre = (rng.uniform(50, SLICES - 50), 51 * row + 26, 51 * column + 26)
        inside = (
            ((z[:, None, None] - centre[0]) / 50) ** 2
            + ((y[None, :, None] - centre[1]) / 24) ** 2
            + ((x[None, None, :] - centre[2]) / 24) ** 2
        ) <= 1
        labels[inside] = number
    segments = [
        ResultSegment(
            f"structure {number}",
            CATEGORY,
            ORGAN,
            None,
            (50.0, float(number % 100) - 50, 0.0),
            f"structure-{number}",
            Voxels.of(labels == number),
        )
        for number in range(1, STRUCTURES + 1)
    ]
    algorithm = Algorithm("bench", "1", ("ab" * 32,))
    identity = ResultIdentity("bench", 1, datetime(2026, 1, 3, tzinfo=UTC))
    return Case(files, labels, ResultContent(volume, segments, (), algorithm, identity))


def binary(case: Case, folder: Path) -> Path:
    """Written, read back and compared, as a node does it."""
    path = folder / "seg.dcm"
    write_result(SegmentationWriter(), case.content, path)
    return path


def labelmap(case: Case, folder: Path) -> Path:
    """The label map for an archive that takes it, made of the file that `binary` left, checked."""
    result = write_result(SegmentationWriter(), case.content, folder / "of.dcm")
    out = folder / "labelmap"
    out.mkdir(exist_ok=True)
    (written,) = as_labelmap([result], SegmentationEncoding.LABELMAP, out)
    return written.path


def plain_highdicom(case: Case, folder: Path) -> Path:
    """The same by the library alone; nothing is read back."""
    sources = [dcmread(path) for path in case.files]
    sources.sort(key=lambda source: float(source.ImagePositionPatient[2]))
    algorithm = highdicom.AlgorithmIdentificationSequence(
        "bench", codes.DCM.ArtificialIntelligence, "1"
    )
    descriptions = [
        highdicom.seg.SegmentDescription(
            number,
            f"structure {number}",
            codes.SCT.Organ,
            codes.SCT.Organ,
            highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm,
        )
        for number in range(1, STRUCTURES + 1)
    ]
    seg = highdicom.seg.Segmentation(
        sources,
        case.labels,
        highdicom.seg.SegmentationTypeValues.BINARY,
        descriptions,
        highdicom.UID(),
        1,
        highdicom.UID(),
        1,
        "bench",
        "bench",
        "1",
        "1",
    )
    path = folder / "highdicom.dcm"
    seg.save_as(path)
    return path


def for_dcmqi(case: Case, folder: Path) -> tuple[Path, Path]:
    """What its converter reads: the labels as NRRD on the study's grid, and their descriptions."""
    image = SimpleITK.GetImageFromArray(case.labels)
    affine = case.content.volume.affine_zyx_to_lps
    spacing = np.linalg.norm(affine[:3, 2::-1], axis=0)
    image.SetSpacing([float(step) for step in spacing])
    image.SetOrigin([float(place) for place in affine[:3, 3]])
    image.SetDirection((affine[:3, 2::-1] / spacing).ravel().tolist())
    label_file, metadata = folder / "labels.nrrd", folder / "metadata.json"
    SimpleITK.WriteImage(image, str(label_file))
    organ = {"CodeValue": "113343008", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Organ"}
    attributes = [
        {
            "labelID": number,
            "SegmentDescription": f"structure {number}",
            "SegmentAlgorithmType": "AUTOMATIC",
            "SegmentAlgorithmName": "bench",
            "SegmentedPropertyCategoryCodeSequence": organ,
            "SegmentedPropertyTypeCodeSequence": organ,
        }
        for number in range(1, STRUCTURES + 1)
    ]
    content = {
        "ContentCreatorName": "bench",
        "SeriesDescription": "bench",
        "SeriesNumber": "1",
        "InstanceNumber": "1",
        "segmentAttributes": [attributes],
    }
    metadata.write_text(json.dumps(content), encoding="utf-8")
    return label_file, metadata


def dcmqi(program: str, case: Case, label_file: Path, metadata: Path, folder: Path) -> Path:
    """The converter that 3D Slicer's users know, as a process of its own."""
    path = folder / "dcmqi.dcm"
    subprocess.run(
        [
            program,
            *("--inputImageList", str(label_file), "--inputDICOMDirectory", case.files[0].parent),
            *("--inputMetadata", str(metadata), "--outputDICOM", str(path), "--skip", "1"),
        ],
        check=True,
        capture_output=True,
    )
    return path


def report(least_s: dict[str, float], sizes_mb: dict[str, float]) -> None:
    """The table, and the JSON."""
    ours = least_s["Segnode, BINARY"]
    lines = [
        f"{STRUCTURES} structures on {SLICES} slices of 512x512, least of {REPEATS} runs",
        f"{'':32}{'s':>8}{'of ours':>9}{'MB':>8}",
        *(
            f"{work:32}{time_s:8.2f}{time_s / ours:9.2f}{sizes_mb[work]:8.1f}"
            for work, time_s in least_s.items()
        ),
        f"goals: BINARY {GOAL_BINARY_S:g} s, label map {GOAL_LABELMAP_S:g} s",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    out: dict[str, Any] = {"least_s": least_s, "MB": sizes_mb}
    target = Path(__file__).resolve().parents[2] / "bench-out"
    target.mkdir(exist_ok=True)
    (target / "results.json").write_text(json.dumps(out, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
