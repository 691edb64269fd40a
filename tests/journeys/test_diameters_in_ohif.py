"""A radiologist opens the report of diameters in OHIF: the lines lie across the organ, with mm.

Where they must be on the screen comes from the phantom's own mask; that OHIF draws the CT there is
held by test_ohif.
"""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from dicom_node.results.structured_reports.diameter_report import DiameterReportWriter
from dicom_node.results.writers import write_result
from dicom_node.series.header import read_header
from dicom_node.values import Algorithm, Code, ResultContent, ResultIdentity, ResultSegment
from dicom_node.volume.volume import load_volume
from dicom_node.voxels import Voxels
from tests.support import archives, phantoms

pytestmark = [pytest.mark.peer, pytest.mark.slow]

LIMIT_MS = 240_000  # a loaded machine without a graphics card
SHAPE, SPACING_MM = (24, 128, 128), (5.0, 3.0, 3.0)


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """A CT whose spleen is measured, and the report beside it."""
    phantom = phantoms.torso_ct(tmp_path / "ct", shape=SHAPE, spacing_mm=SPACING_MM)
    volume = load_volume([read_header(path) for path in phantom.paths])
    spleen = ResultSegment(
        label="Spleen",
        category=Code("91723000", "SCT", "Anatomical Structure"),
        type=Code("78961009", "SCT", "Spleen"),
        laterality=None,
        cielab=(87.73, -86.18, 83.18),
        tracking_id="Spleen",
        voxels=Voxels.of(phantom.masks["spleen"]),
    )
    content = ResultContent(
        volume, [spleen], (), Algorithm("segnode", "1"), ResultIdentity("request-1", 1)
    )
    np.save(tmp_path / "mask.npy", phantom.masks["spleen"])
    return write_result(DiameterReportWriter(), content, tmp_path / "diameters.dcm").path


@pytest.fixture
def archive(peer: Callable[[str], str], report: Path, tmp_path: Path) -> Iterator[int]:
    """The HTTP port of an Orthanc that holds the study."""
    running = archives.Orthanc(peer("Orthanc"), tmp_path / "orthanc")
    for path in [*(tmp_path / "ct").iterdir(), report]:
        url = f"http://127.0.0.1:{running.http_port}/instances"
        with urllib.request.urlopen(url, path.read_bytes(), timeout=60) as answer:
            assert answer.status == 200
    yield running.http_port
    running.stop()


def ends_px(report: Path) -> Any:
    """Both lines of the report, (line, end, (column, row))."""
    lines = []

    def walk(item: Any) -> None:
        for child in item.get("ContentSequence", ()):
            if child.ValueType == "SCOORD":
                lines.append(np.reshape(np.array(child.GraphicData, float), (2, 2)))
            walk(child)

    walk(pydicom.dcmread(report))
    return np.array(lines)


def test_the_lines_are_drawn_on_their_slice_with_their_millimetres(
    browser_page: Any, viewer_of: Callable[[int], str], archive: int, report: Path, tmp_path: Path
) -> None:
    # Arrange: the viewer with the CT open, without its tour for newcomers
    dataset, page = pydicom.dcmread(report), browser_page
    page.set_default_timeout(LIMIT_MS)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.add_init_script("localStorage.setItem('shownTours', '[\"basicViewerTour\"]')")
    page.goto(f"{viewer_of(archive)}/viewer?StudyInstanceUIDs={dataset.StudyInstanceUID}")
    page.get_by_title("Instance Number").wait_for()

    # Act
    page.get_by_text(dataset.SeriesDescription, exact=True).first.dblclick()
    page.locator("svg.svg-layer text").wait_for(state="attached")

    # Assert: on the slice where the spleen is largest, across it, each with its length
    mask = np.load(tmp_path / "mask.npy")
    number = int(mask.sum(axis=(1, 2)).argmax()) + 1
    assert re.search(rf"\b{number}\s*\(", page.get_by_title("Instance Number").inner_text())
    texts = page.locator("svg.svg-layer tspan").all_text_contents()
    assert [text.split(":")[-1].strip() for text in texts] == ["81.50 mm", "57.35 mm"]
    box = page.locator("canvas.cornerstone-canvas").first.bounding_box()
    scale = min(box["height"] / SHAPE[1], box["width"] / SHAPE[2])
    middle = np.array([box["width"], box["height"]]) / 2
    drawn = [
        [[float(line.get_attribute(f"{axis}{end}")) for axis in "xy"] for end in (1, 2)]
        for line in page.locator("svg.svg-layer line").all()[:2]
    ]
    drawn_px = (np.array(drawn) - middle) / scale + np.array([SHAPE[2], SHAPE[1]]) / 2
    assert np.abs(drawn_px - ends_px(report)).max() < 0.6  # of a pixel
    assert errors == []
