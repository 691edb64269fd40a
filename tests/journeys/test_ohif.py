"""A radiologist opens the result in OHIF: it is in the list, it loads, and it lies where the organ
lies.

Where the organ should be on the screen is worked out from the phantom's own grid, and that the grid
is where the viewer draws the CT is held against the grey values of the screenshot: nothing of the
viewer's geometry is asked.
"""

from __future__ import annotations

import colorsys
import re
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_dilation, binary_erosion

from dicom_node.results.segmentation import SegmentationWriter
from dicom_node.results.writers import write_result
from dicom_node.series.header import read_header
from dicom_node.values import Algorithm, Code, ResultContent, ResultIdentity, ResultSegment
from dicom_node.volume.volume import load_volume
from dicom_node.voxels import Voxels
from tests.support import archives, phantoms

pytestmark = [pytest.mark.peer, pytest.mark.slow]

LIMIT_MS = 240_000  # a loaded machine without a graphics card
GREEN_CIELAB, GREEN_RGB = (87.73, -86.18, 83.18), (0, 255, 0)  # IEC 61966-2-1
SHAPE, SPACING_MM = (
    (24, 128, 128),
    (5.0, 3.0, 3.0),
)  # Orthanc 1.10's DICOMweb wants rows * columns in eights

Mask = NDArray[np.bool_]
Picture = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Case:
    """The study in the archive: the phantom, which slice has which instance number, and the SEG's
    header.
    """

    phantom: Any
    z_of_number: Mapping[int, int]
    seg: pydicom.Dataset

    @property
    def spleen(self) -> Mask:
        """(z, y, x), to the left and to the back of the middle, and above it."""
        mask: Mask = self.phantom.masks["spleen"]
        return mask


def fitted(plane: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """A slice (rows, columns) as it fills a viewport: as large as fits, in the middle, zero around
    it.
    """
    scale = min(height / plane.shape[0], width / plane.shape[1])
    rows, columns = (
        np.floor((np.arange(pixels) + 0.5 - pixels / 2) / scale + voxels / 2).clip(-1, voxels)
        for pixels, voxels in zip((height, width), plane.shape, strict=True)
    )
    return np.pad(plane, 1)[np.ix_(rows.astype(int) + 1, columns.astype(int) + 1)]


def faults(picture: Picture, hu: NDArray[np.int16], organ: Mask) -> list[str]:
    """What is wrong with a picture (height, width, rgb) of a slice that should show `organ` (rows,
    columns) in green.

    The outline may lie a voxel beside the organ's edge. Only the body is looked at: texts lie
    outside of it.
    """
    height, width = picture.shape[:2]
    body = fitted(hu > -500, height, width)
    core = fitted(binary_erosion(organ), height, width)
    near = fitted(binary_dilation(organ), height, width)
    coloured = body & (np.ptp(picture.astype(int), axis=-1) > 40)
    plain = body & ~coloured
    found = []
    likeness = np.corrcoef(picture.mean(axis=-1)[plain], fitted(hu, height, width)[plain])[0, 1]
    if not likeness > 0.9:
        found.append(f"the CT is not drawn there: its grey values correlate by {likeness:.2f}")
    if core.any() and (share := coloured[core].mean()) < 0.98:
        found.append(f"{share:.0%} of the organ is coloured")
    if stray := int((coloured & ~near).sum()):
        found.append(f"{stray} pixels outside the organ are coloured")
    if core.any() and (turn := hue_error(picture[core])) > 0.05:
        found.append(f"the hue is {turn:.2f} of a circle off")
    return found


def hue_error(pixels: NDArray[np.uint8]) -> float:
    """How far the median colour of pixels (n, rgb) is from the SEG's recommended hue, 0..0.5 of a
    circle.
    """
    seen = colorsys.rgb_to_hsv(*np.median(pixels, axis=0) / 255)[0]
    meant = colorsys.rgb_to_hsv(*GREEN_RGB)[0]
    return abs((seen - meant + 0.5) % 1.0 - 0.5)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """A CT in shuffled files and the SEG that Segnode writes for its spleen."""
    phantom = phantoms.torso_ct(
        tmp_path / "ct", shape=SHAPE, spacing_mm=SPACING_MM, shuffle=3, edit=set_window
    )
    volume = load_volume([read_header(path) for path in phantom.paths])
    spleen = ResultSegment(
        label="Spleen",
        category=Code("91723000", "SCT", "Anatomical Structure"),
        type=Code("78961009", "SCT", "Spleen"),
        laterality=None,
        cielab=GREEN_CIELAB,
        tracking_id="Spleen",
        voxels=Voxels.of(phantom.masks["spleen"]),
    )
    identity = ResultIdentity("request-1", 1, datetime(2026, 1, 3, 12, 30, tzinfo=UTC))
    path = tmp_path / "seg.dcm"
    write_result(
        SegmentationWriter(),
        ResultContent(volume, [spleen], (), Algorithm("segnode", "1"), identity),
        path,
    )
    numbers = {pydicom.dcmread(path).InstanceNumber: z for path, z in phantom.z_of_path.items()}
    return Case(phantom, numbers, pydicom.dcmread(path))


def set_window(z: int, dataset: pydicom.Dataset) -> None:
    """Fat to bone in shades of grey, so that a picture can be told from another."""
    dataset.WindowCenter, dataset.WindowWidth = 50, 600


@pytest.fixture
def archive(peer: Callable[[str], str], case: Case, tmp_path: Path) -> Iterator[int]:
    """The HTTP port of an Orthanc that holds the study."""
    running = archives.Orthanc(peer("Orthanc"), tmp_path / "orthanc")
    for path in [*case.phantom.paths, tmp_path / "seg.dcm"]:
        url = f"http://127.0.0.1:{running.http_port}/instances"
        with urllib.request.urlopen(url, path.read_bytes(), timeout=60) as answer:
            assert answer.status == 200
    yield running.http_port
    running.stop()


class Viewer:
    """OHIF with a study open, as a person in front of the screen sees it."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.console: list[str] = []
        self.errors: list[str] = []
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _hear(self, message: Any) -> None:
        (self.errors if message.type == "error" else self.console).append(message.text)

    def open_study(self, address: str, study_instance_uid: str) -> None:
        """Open a study in the mode for segmentations and wait until its first slice is shown."""
        self.page.goto(f"{address}/segmentation?StudyInstanceUIDs={study_instance_uid}")
        self.page.get_by_title("Instance Number").wait_for()

    def load(self, series_description: str, series_number: int) -> None:
        """Double-click a SEG's row and wait for the viewer to say that it was read."""
        row = self.page.get_by_text(series_description, exact=True).first
        row.wait_for()
        self.page.get_by_text(f"S:{series_number}", exact=True).wait_for()
        parsed = re.compile(r"\[SEG load\].*SEG parse complete")
        with self.page.expect_console_message(lambda message: parsed.search(message.text)):
            row.dblclick()

    def segment(self) -> tuple[str, list[int]]:
        """Label and rgb of the segmentation's only segment, as the panel lists it."""
        label = self.page.locator('[data-cy="data-row-title"]').inner_text()
        dot = self.page.locator('[data-cy="data-row-colorhex"]')
        colour = dot.evaluate("element => element.style.backgroundColor")
        return label, [int(part) for part in re.findall(r"\d+", colour)]

    def slices(self) -> Iterator[int]:
        """Turn the wheel through the stack from its first to its last slice; gives each instance
        number.
        """
        box = self._canvas.bounding_box()
        self.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        number, index, count = self._place()
        while index > 1:
            number, index, count = self._turn(index - 1, back=True)
        yield number
        while index < count:
            number, index, count = self._turn(index + 1)
            yield number

    def _turn(self, index: int, *, back: bool = False) -> tuple[int, int, int]:
        self.page.mouse.wheel(0, -100 if back else 100)
        self._where.filter(has_text=f"({index}/").wait_for()
        return self._place()

    def _place(self) -> tuple[int, int, int]:
        text = self._where.inner_text()
        place = re.search(r"(\d+)\s*\((\d+)/(\d+)\)", text)
        assert place is not None, text
        return int(place[1]), int(place[2]), int(place[3])

    def picture(self) -> Picture:
        """What the viewport shows, (height, width, rgb)."""
        png = self._canvas.screenshot(timeout=LIMIT_MS)
        return np.asarray(Image.open(BytesIO(png)).convert("RGB"))

    def faults(self, hu: NDArray[np.int16], organ: Mask) -> list[str]:
        """The faults that remain of the slice shown: it is drawn some time after its number is
        told.
        """
        deadline = time.monotonic() + 60
        while (found := faults(self.picture(), hu, organ)) and time.monotonic() < deadline:
            self.page.wait_for_timeout(250)
        return found

    @property
    def _canvas(self) -> Any:
        return self.page.locator("canvas.cornerstone-canvas").first

    @property
    def _where(self) -> Any:
        return self.page.get_by_title("Instance Number")


@pytest.fixture
def viewer(browser_page: Any) -> Viewer:
    """OHIF in a browser with no page open yet."""
    browser_page.set_default_timeout(LIMIT_MS)
    return Viewer(browser_page)


def test_the_result_lies_on_the_organ_in_every_slice(
    viewer: Viewer, viewer_of: Callable[[int], str], archive: int, case: Case, tmp_path: Path
) -> None:
    # Arrange: the CT alone, on the slice that the viewer opens first
    viewer.open_study(viewer_of(archive), case.seg.StudyInstanceUID)
    nowhere = np.zeros(SHAPE[1:], bool)
    z = case.z_of_number[next(viewer.slices())]
    assert viewer.faults(case.phantom.hu[z], nowhere) == []

    # Act
    viewer.load(case.seg.SeriesDescription, case.seg.SeriesNumber)

    # Assert: it is listed with its label and colour, and lies on the organ, slice for slice
    label, colour = viewer.segment()
    assert label == "Spleen"
    assert colour == pytest.approx(GREEN_RGB, abs=2)
    shown = []
    for number in viewer.slices():
        z = case.z_of_number[number]
        assert viewer.faults(case.phantom.hu[z], case.spleen[z]) == [], f"slice {z}"
        shown.append(z)
        if z == 15:
            viewer.page.screenshot(path=tmp_path / "ohif.png")
            picture = viewer.picture()
    assert sorted(shown) == list(range(SHAPE[0]))
    assert viewer.errors == []

    # Assert: had it been mirrored, or on another slice, this would have been seen
    hu, organ = case.phantom.hu[15], case.spleen[15]
    for wrong in (organ[:, ::-1], organ[::-1], case.spleen[::-1][15]):
        assert "pixels outside the organ are coloured" in " ".join(faults(picture, hu, wrong))
