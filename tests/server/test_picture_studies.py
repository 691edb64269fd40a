"""Pictures go the whole way: DICOM in, SEG and SR out, in colour, without a volume that nobody
measured.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.uid import JPEG2000Lossless, UltrasoundMultiFrameImageStorage

from agent.geometry import Geometry
from agent.limits import Limits
from agent.values import Volume
from dicom_node.errors import NotAVolume
from dicom_node.series.header import read_header
from dicom_node.values import Code, ResultSegment
from dicom_node.volume.volume import load_volume
from dicom_node.voxels import Voxels
from models.images.preprocessing import WorkingGrid
from models.loaded_models import open_workbench
from server.local import LocalModels, LocalRun, asked_targets, segment_files
from server.pipeline import sizes_of
from server.rules.catalogue import load_catalogue
from server.study.preview import TILE_PX, Sizes, draw_preview
from server.study.source_files import agent_volume
from server.study.workfolder import WorkFolder
from server.values import TargetSummary
from tests.support import pictures

CODE = Code("T1", "99TEST", "Test")

CATALOGUE = load_catalogue()


@pytest.fixture(scope="module")
def models() -> LocalModels:
    """The fakes that tell structures by their brightness."""
    workbench = open_workbench("threshold", "fake")
    return LocalModels(lambda: workbench, CATALOGUE, Limits())


def run(models: LocalModels, path: Path, out: Path, *targets: str) -> dict[str, TargetSummary]:
    asked = asked_targets(targets, CATALOGUE)
    summaries = segment_files(LocalRun(path, asked, out), models, lambda index, turn: None)
    return {summary.text: summary for summary in summaries}


def drawn_in(seg: Path) -> NDArray[np.bool_]:
    """The one frame of a SEG, by pydicom."""
    return np.squeeze(pydicom.dcmread(seg).pixel_array).astype(bool)


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


class TestWholeWay:
    @pytest.mark.parametrize("kind", ["CR", "DX", "US", "XC", "OP", "ES"])
    def test_every_modality_gives_a_seg_on_its_own_grid(
        self, kind: str, models: LocalModels, tmp_path: Path
    ) -> None:
        made = pictures.picture(tmp_path / "in", kind, shape=(90, 120))

        found = run(models, made.path, tmp_path / "out", "bright")["bright"]

        assert found.status == "segmented"
        assert found.volume_ml is None
        assert dice(drawn_in(tmp_path / "out" / "seg.dcm"), made.mask) > 0.9
        written = {path.name for path in (tmp_path / "out").iterdir()}
        assert written == {
            "seg.dcm",
            "sr.dcm",
            "trace.json",
            "turns.masks",
            "source.json",
            "preview.png",
        }

    def test_pixels_that_are_not_square_come_back_in_their_own_matrix(
        self, models: LocalModels, tmp_path: Path
    ) -> None:
        made = pictures.picture(tmp_path / "in", "ES", shape=(90, 60), PixelAspectRatio=["1", "2"])

        run(models, made.path, tmp_path / "out", "bright")

        assert dice(drawn_in(tmp_path / "out" / "seg.dcm"), made.mask) > 0.9

    def test_inverted_and_compressed(self, models: LocalModels, tmp_path: Path) -> None:
        made = pictures.picture(
            tmp_path / "in",
            "DX",
            shape=(90, 120),
            stored="MONOCHROME1",
            transfer_syntax_uid=JPEG2000Lossless,
            PixelSpacing=["0.2", "0.2"],
        )

        run(models, made.path, tmp_path / "out", "bright")

        assert dice(drawn_in(tmp_path / "out" / "seg.dcm"), made.mask) > 0.9

    def test_what_is_not_there_is_reported_without_a_seg(
        self, models: LocalModels, tmp_path: Path
    ) -> None:
        made = pictures.picture(tmp_path / "in", "CR", shape=(90, 120))

        found = run(models, made.path, tmp_path / "out", "left kidney")["left kidney"]

        assert found.status == "absent"
        assert not (tmp_path / "out" / "seg.dcm").exists()
        assert (tmp_path / "out" / "sr.dcm").exists()

    def test_a_folder_with_two_views_gives_the_frontal_one_and_says_so(
        self,
        models: LocalModels,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        pictures.picture(tmp_path / "in", "DX", name="lateral", ViewPosition="LL")
        frontal = pictures.picture(tmp_path / "in", "DX", name="frontal", ViewPosition="PA")

        run(models, tmp_path / "in", tmp_path / "out", "bright")

        seg = pydicom.dcmread(tmp_path / "out" / "seg.dcm")
        (series,) = seg.ReferencedSeriesSequence
        assert [item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence] == [
            frontal.sop_instance_uid
        ]
        assert "Left out: instance 1 of series 3 (DX, LL)" in caplog.text

    def test_a_loop_is_refused_with_a_sentence(self, models: LocalModels, tmp_path: Path) -> None:
        made = pictures.picture(
            tmp_path / "in", "US", SOPClassUID=UltrasoundMultiFrameImageStorage, NumberOfFrames=9
        )

        with pytest.raises(NotAVolume, match="holds a loop of frames"):
            run(models, made.path, tmp_path / "out", "bright")

    def test_a_png_claims_no_volume_either(self, models: LocalModels, tmp_path: Path) -> None:
        pixels = np.full((90, 120), 60, np.uint8)
        pixels[20:60, 30:70] = 220
        Image.fromarray(pixels).save(tmp_path / "picture.png")

        found = run(models, tmp_path / "picture.png", tmp_path / "out", "bright")["bright"]

        assert (found.status, found.volume_ml) == ("segmented", None)


class TestColour:
    def test_the_agent_sees_it(self, tmp_path: Path) -> None:
        made = pictures.picture(tmp_path, "ES")
        workbench = open_workbench("threshold", "fake")

        volume = agent_volume(load_volume([read_header(made.path)]))
        slices = workbench.prepare(volume, tmp_path).slices_for("polyp")

        np.testing.assert_array_equal(np.rint(slices.picture(0) * 255), made.rgb)

    def test_it_is_carried_to_square_pixels(self) -> None:
        # Arrange: rows half as far apart as columns; red above, blue below
        colour = np.zeros((1, 8, 4, 3), np.uint8)
        colour[0, :4, :, 0], colour[0, 4:, :, 2] = 200, 100
        affine = np.array([[0, 0, 2.0, 0], [0, 1.0, 0, 0], [1.0, 0, 0, 0], [0, 0, 0, 1]])
        source = Geometry((1, 8, 4), affine)
        volume = Volume(np.zeros((1, 8, 4), np.float32), source, "ES", colour)

        working = WorkingGrid.of(source).to_working(volume)

        assert working.colour is not None
        assert working.colour.shape == (1, 8, 8, 3)
        assert (working.colour[0, 0] == (200, 0, 0)).all()
        assert (working.colour[0, -1] == (0, 0, 100)).all()

    def test_it_survives_between_the_stages(self, tmp_path: Path) -> None:
        made = pictures.picture(tmp_path / "in", "XC", PixelSpacing=["0.5", "0.5"])
        volume = load_volume([read_header(made.path)])
        folder = WorkFolder(tmp_path / "request")

        folder.save_volume(volume)
        again = folder.load_volume()

        np.testing.assert_array_equal(again.colour, made.rgb[None])
        assert (again.single_image, again.sized) == (True, True)
        folder.discard_intermediates()
        assert [path.name for path in folder.path.iterdir()] == ["source.json"]

    def test_grey_leaves_no_colour_behind(self, tmp_path: Path) -> None:
        made = pictures.picture(tmp_path / "in", "CR")
        folder = WorkFolder(tmp_path / "request")

        folder.save_volume(load_volume([read_header(made.path)]))
        again = folder.load_volume()

        assert again.colour is None
        assert (again.single_image, again.sized) == (True, False)


class TestPreview:
    def preview(self, path: Path, sizes: Sizes, colour: tuple[int, int, int]) -> NDArray[np.uint8]:
        """A preview of one colour all over, with a structure in its middle."""
        shown = np.broadcast_to(np.array(colour, np.uint8), (1, 50, 50, 3))
        affine = np.array([[0, 0, 0.2, 0], [0, 0.2, 0, 0], [1.0, 0, 0, 0], [0, 0, 0, 1]])
        volume = Volume(
            np.zeros((1, 50, 50), np.float32), Geometry((1, 50, 50), affine), "ES", shown
        )
        voxels = np.zeros((1, 50, 50), bool)
        voxels[0, 15:35, 15:35] = True
        polyp = ResultSegment(
            "Polyp", CODE, CODE, None, (53.24, 80.09, 67.2), "polyp", Voxels.of(voxels)
        )
        draw_preview(path, volume, [polyp], title="ES", sizes=sizes)
        with Image.open(path) as picture:
            return np.array(picture.convert("RGB"))

    def test_the_picture_is_shown_in_its_colours(self, tmp_path: Path) -> None:
        shown = self.preview(tmp_path / "p.png", Sizes.PIXELS, (20, 90, 160))

        assert tuple(shown[TILE_PX // 2, TILE_PX // 2]) == (20, 90, 160)
        assert tuple(shown[10, 10]) == (20, 90, 160)

    def test_no_scale_where_none_is_known(self, tmp_path: Path) -> None:
        def inked(sizes: Sizes) -> int:
            shown = self.preview(tmp_path / f"{sizes}.png", sizes, (20, 90, 160))
            return int((shown[:TILE_PX, :TILE_PX].min(axis=-1) > 200).sum())

        assert inked(Sizes.PIXELS) == 0
        assert inked(Sizes.SQUARE_MM) > 0
        assert inked(Sizes.MILLILITRES) > inked(
            Sizes.SQUARE_MM
        )  # and slice and sides of the patient

    @pytest.mark.parametrize(
        ("elements", "sizes"),
        [({"PixelSpacing": ["0.2", "0.2"]}, Sizes.SQUARE_MM), ({}, Sizes.PIXELS)],
    )
    def test_what_may_be_told_follows_from_the_header(
        self, elements: dict[str, Any], sizes: Sizes, tmp_path: Path
    ) -> None:
        made = pictures.picture(tmp_path, "DX", **elements)

        assert sizes_of(load_volume([read_header(made.path)])) == sizes
