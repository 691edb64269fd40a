"""Contact sheets: which slices, where, with legible numbers and a true scale."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from agent.fakes import ArraySlices, FakeSegmenter
from agent.language.bitmap_font import GLYPHS, HEIGHT, lettered, write
from agent.language.contact_sheet import contact_sheet, ends_and_between, evenly_chosen


def read_number(pixels: NDArray[np.uint8], scale: int = 2) -> str:
    """The number at the top left of a tile, told by the glyphs."""
    read = ""
    for place in range(6):
        left = scale + place * 6 * scale
        cell = pixels[scale : 8 * scale : scale, left : left + 5 * scale : scale, 0] == 255
        found = [c for c in GLYPHS if c != " " and np.array_equal(cell, lettered(c, 1)[:, 1:6])]
        if not found:
            return read
        read += found[0]
    return read


@pytest.mark.parametrize(
    ("span", "count", "chosen"),
    [
        ((0, 0), 20, (0,)),
        ((3, 5), 20, (3, 4, 5)),
        ((0, 9), 5, (1, 3, 5, 7, 9)),
        ((0, 99), 4, (12, 37, 62, 87)),  # the middles of four quarters
        ((0, 9), 1, (5,)),
    ],
)
def test_slices_are_the_middles_of_equal_shares(
    span: tuple[int, int], count: int, chosen: tuple[int, ...]
) -> None:
    assert evenly_chosen(*span, count) == chosen


@given(st.integers(0, 500), st.integers(0, 500), st.integers(1, 40))
def test_no_slice_twice_and_none_outside(lowest: int, more: int, count: int) -> None:
    chosen = evenly_chosen(lowest, lowest + more, count)

    assert len(chosen) == min(more + 1, count)
    assert list(chosen) == sorted(set(chosen))
    assert lowest <= chosen[0] <= chosen[-1] <= lowest + more


@pytest.mark.parametrize(
    ("span", "count", "chosen"),
    [
        ((3, 5), 20, (3, 4, 5)),
        ((10, 29), 20, tuple(range(10, 30))),
        ((0, 40), 8, (0, 1, 6, 15, 25, 34, 39, 40)),
        ((0, 40), 4, (0, 1, 39, 40)),
        ((0, 9), 3, (1, 5, 8)),  # too few to show the ends
    ],
)
def test_both_ends_are_shown(span: tuple[int, int], count: int, chosen: tuple[int, ...]) -> None:
    assert ends_and_between(*span, count) == chosen


class TestSheet:
    def test_each_slice_stands_in_its_place_with_its_number(self, volume: ArraySlices) -> None:
        sheet = contact_sheet(volume, (0, 2, 3, 4), 96).pixels

        tiles = [sheet[top : top + 96, left : left + 96] for top in (0, 98) for left in (0, 98)]
        assert [read_number(tile) for tile in tiles] == ["0", "2", "3", "4"]
        # greys of the slices: 0.25, 0.75, 0.5, 0.25 of 255
        assert [int(tile[60, 60, 0]) for tile in tiles] == [64, 191, 128, 64]
        assert sheet.shape == (2 * 98 + 28, 2 * 98 - 2, 3)

    @pytest.mark.parametrize("number", [7, 48, 360, 1925])
    def test_every_digit_can_be_read(self, number: int) -> None:
        slices = ArraySlices(np.full((number + 1, 4, 4), 0.75, dtype=np.float32), FakeSegmenter())

        assert read_number(contact_sheet(slices, (number,), 128).pixels) == str(number)

    @pytest.mark.parametrize(
        ("spacing_mm", "tile_px", "length_px", "label"),
        [
            # slices of 64 columns; three tiles of 64 and two gaps are 196 px across, a third of it
            # 65 px
            (2.0, 64, 50, "100 mm"),  # 65 px are 130 mm
            (0.1, 64, 50, "5 mm"),  # 65 px are 6.5 mm
            (0.01, 64, 100, "1 mm"),  # the shortest there is
            (2.0, 128, 100, "100 mm"),  # twice enlarged: a pixel is 1 mm, and 129 px are 129 mm
        ],
    )
    def test_the_bar_is_as_long_as_it_says(
        self, spacing_mm: float, tile_px: int, length_px: int, label: str
    ) -> None:
        array = np.zeros((6, 64, 64), dtype=np.float32)
        slices = ArraySlices(array, FakeSegmenter(), (3.0, spacing_mm, spacing_mm))

        sheet = contact_sheet(slices, tuple(range(6)), tile_px).pixels

        foot = sheet[-28:, 4:, 0] == 255
        assert int(np.flatnonzero(~foot[13])[0]) == length_px
        wide = lettered(label, 2)
        np.testing.assert_array_equal(
            foot[8:22, length_px + 4 :][:, : wide.shape[1]],
            wide[:, : foot.shape[1] - length_px - 4],
        )

    def test_what_is_drawn_is_outlined_on_its_own_slice(
        self, volume: ArraySlices, square_at: Callable[[int, int], NDArray[np.bool_]]
    ) -> None:
        drawn = np.zeros((5, 32, 64), dtype=np.bool_)
        drawn[3] = square_at(8, 8)

        sheet = contact_sheet(volume, (2, 3), 64, drawn).pixels

        green = np.all(sheet == (0, 255, 0), axis=2)
        assert not green[:, :66].any()
        ys, xs = np.nonzero(green)
        # one for one, 16 rows of padding above
        assert (ys.min(), ys.max(), xs.min() - 66, xs.max() - 66) == (24, 31, 8, 15)
        assert not green[26:30, 66 + 10 : 66 + 14].any()

    def test_colours_are_kept(self, coloured: ArraySlices) -> None:
        sheet = contact_sheet(coloured, (0, 2), 64).pixels

        assert sheet[32, 60, 0] > 200  # red grows to the right
        assert (sheet[32, 60, 2], sheet[32, 66 + 60, 2]) == (0, 255)


class TestLettering:
    def test_glyphs_are_five_by_seven_and_differ(self) -> None:
        shapes = {lettered(character, 1).shape for character in GLYPHS}
        drawn = {lettered(character, 1).tobytes() for character in GLYPHS}

        assert shapes == {(HEIGHT, 7)}
        assert len(drawn) == len(GLYPHS)
        assert set("0123456789 m") == set(GLYPHS)

    def test_any_two_digits_differ_in_two_places_at_least(self) -> None:
        digits = [lettered(digit, 1) for digit in "0123456789"]

        nearest = min(np.count_nonzero(a != b) for i, a in enumerate(digits) for b in digits[:i])
        assert nearest >= 2

    def test_writing_covers_what_is_below_and_stops_at_the_edge(self) -> None:
        pixels = np.full((20, 20, 3), 128, dtype=np.uint8)

        field = write(pixels, "1", 14, 10, scale=2)

        assert field == (14, 18)
        assert set(np.unique(pixels[10:, 14:])) <= {0, 255}
        assert (pixels[:10] == 128).all()
        assert (pixels[:, :14] == 128).all()

    def test_a_character_without_a_glyph_is_a_fault_of_ours(self) -> None:
        with pytest.raises(KeyError):
            lettered("x", 1)
