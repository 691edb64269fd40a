"""What a contact sheet leaves out: what lies round the body, and what is far from the object."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.conditions import PictureSettings
from agent.fakes import ArraySlices, FakeSegmenter
from agent.language.contact_sheet import grown
from agent.language.prompt_builder import PromptBuilder
from agent.language.settings import LanguageSettings
from agent.language.views import around_body, around_object, view_of
from agent.ports import Observation
from agent.protocol.view import Crop
from agent.values import Role, Target

SIDE = 256
LIVER = Target("liver")


def scan(*, arm: bool = False, board: bool = False, noise: float = 0.0) -> NDArray[np.float32]:
    """A slice with a body in rows 60 to 139 and columns 80 to 179."""
    image = np.abs(np.random.default_rng(0).normal(0, noise, (SIDE, SIDE))).astype(np.float32)
    image[60:140, 80:180] = 0.6
    if arm:
        image[80:110, 200:230] = 0.5
    if board:
        image[200:202, 20:240] = 1.0
    return np.clip(image, 0, 1)


def covers(crop: Crop | None, rows: tuple[int, int], columns: tuple[int, int]) -> None:
    """`crop` shows these rows and columns, and hardly more."""
    assert crop is not None
    for (first, last), start, length in (
        (rows, crop.top, crop.height),
        (columns, crop.left, crop.width),
    ):
        assert first - 8 <= start <= first
        assert last + 1 <= start + length <= last + 9


class TestBody:
    def test_it_is_what_is_shown(self) -> None:
        covers(around_body([scan()]), (60, 139), (80, 179))

    def test_a_thin_board_and_noise_are_no_part_of_it(self) -> None:
        covers(around_body([scan(board=True, noise=0.03)]), (60, 139), (80, 179))

    def test_an_arm_is_though_it_is_on_one_slice_alone(self) -> None:
        covers(around_body([scan(), scan(arm=True)]), (60, 139), (80, 229))

    def test_colour_is_looked_at_in_each_channel(self) -> None:
        blue = np.zeros((SIDE, SIDE, 3), np.float32)
        blue[..., 2] = scan()

        covers(around_body([blue]), (60, 139), (80, 179))

    @pytest.mark.parametrize("level", [0.0, 0.7], ids=["nothing is lit", "everything is"])
    def test_a_slice_without_surroundings_is_shown_whole(self, level: float) -> None:
        assert around_body([np.full((SIDE, SIDE), level, np.float32)]) is None

    def test_slices_of_a_few_pixels_are_shown_whole(self) -> None:
        assert around_body([np.ones((3, 2), np.float32)]) is None


def test_an_object_is_shown_with_its_surroundings() -> None:
    outline = np.zeros((SIDE, SIDE), np.bool_)
    outline[100:140, 30:70] = True

    # 40 px and three quarters of that on each side
    assert around_object(outline) == Crop(0, 70, 100, 100)


def test_a_mask_in_doubt_alone_does_not_tell_where_to_look() -> None:
    # Arrange: a reader's structure may lie far from what was drawn
    outline = np.zeros((SIDE, SIDE), np.bool_)
    outline[100:140, 30:70] = True
    slices = ArraySlices(scan()[None], FakeSegmenter())
    in_doubt = Observation(LIVER, slices, 0, Role.REVIEW, opening=outline, doubt="in doubt")

    # Act
    alone = view_of(in_doubt, LanguageSettings())
    beside_another = view_of(replace(in_doubt, carried=outline), LanguageSettings())

    # Assert
    assert alone.crop == Crop(0, 0, SIDE, SIDE)
    assert beside_another.crop == around_object(outline)


def test_a_slice_that_was_named_is_shown_as_far_as_the_sheet_that_it_was_named_on() -> None:
    # Arrange: what its neighbours show is small, and what was missed lies beside it
    neighbours, whole = np.zeros((2, SIDE, SIDE), np.bool_)
    neighbours[100:120, 100:120] = True
    whole[80:160, 60:140] = True
    slices = ArraySlices(scan()[None], FakeSegmenter())
    named = Observation(
        LIVER, slices, 0, Role.REVIEW, carried=neighbours, doubt="named", object_outline=whole
    )

    # Act, Assert
    assert view_of(named, LanguageSettings()).crop == around_object(whole)
    assert view_of(replace(named, carried=None), LanguageSettings()).crop == around_object(whole)
    unnamed = replace(named, object_outline=None)
    assert view_of(unnamed, LanguageSettings()).crop == around_object(neighbours)


@pytest.mark.parametrize(
    ("count", "width_px"), [(1, 500), (4, 250), (9, 166), (20, 100), (60, 100)]
)
def test_few_tiles_fill_the_sheet_that_many_would(count: int, width_px: int) -> None:
    assert grown(100, count, 20) == width_px


class TestSheets:
    SLICES = ArraySlices(np.stack([scan(board=True)] * 6), FakeSegmenter(), (3.0, 2.0, 2.0))

    def lit(self, settings: LanguageSettings, voxels: NDArray[np.bool_] | None = None) -> float:
        """The share of a sheet on which the body is."""
        builder = PromptBuilder.of(settings)
        talk = (
            builder.about_volume(LIVER, self.SLICES)
            if voxels is None
            else builder.about_object(LIVER, self.SLICES, voxels)
        )
        return float((talk.pictures[0].pixels[..., 0] > 100).mean())

    def test_the_body_fills_them(self) -> None:
        assert self.lit(LanguageSettings()) > 3 * self.lit(LanguageSettings(crop_sheets=False))

    def test_the_object_does_in_the_inspection(self) -> None:
        voxels = np.zeros((6, SIDE, SIDE), np.bool_)
        voxels[2:4, 90:100, 120:130] = True

        assert self.lit(LanguageSettings(), voxels) > 0.6

    def test_those_of_before_are_drawn_again_as_they_were(self) -> None:
        assert not PictureSettings().crop_sheets
        assert LanguageSettings().pictures.crop_sheets
