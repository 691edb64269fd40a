"""The outline of a mask fills to the mask again, whatever its shape."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dicom_node.datasets.polygon_fill import inside_polygons
from dicom_node.results.structure_sets.contours import outlines

PLANES = npst.arrays(bool, npst.array_shapes(min_dims=2, max_dims=2, max_side=12))


def plane(*rows: str) -> NDArray[np.bool_]:
    return np.array([[letter == "#" for letter in row] for row in rows])


@given(PLANES)
@example(plane("#.###", "#.#.#", "#.###"))  # a hole whose row another part is on, too
def test_the_outlines_enclose_the_pixels_and_no_others(mask: NDArray[np.bool_]) -> None:
    polygons = outlines(mask)

    assert np.array_equal(inside_polygons(polygons, mask.shape), mask)
    # each by itself: no polygon lies within another, for readers that fill one after the other
    alone = [inside_polygons([polygon], mask.shape) for polygon in polygons]
    assert np.array_equal(np.sum(alone, axis=0, dtype=int) if alone else mask * 0, mask)


@given(PLANES)
def test_another_way_of_filling_gives_the_same(mask: NDArray[np.bool_]) -> None:
    # Pillow, on a grid 16 times as fine, looked at in the middle of each pixel
    scale = 16
    rows, columns = mask.shape
    picture = Image.new("1", (columns * scale, rows * scale))
    for polygon in outlines(mask):
        points = [((x + 0.5) * scale, (y + 0.5) * scale) for y, x in polygon]
        ImageDraw.Draw(picture).polygon(points, fill=1)

    assert np.array_equal(np.asarray(picture)[scale // 2 :: scale, scale // 2 :: scale], mask)


@pytest.mark.parametrize(
    ("mask", "polygons"),
    [
        (plane("...", "..."), 0),
        (plane("##", "##"), 1),
        (plane("#.", ".#"), 2),  # they touch at a corner alone
        (plane("###", "#.#", "###"), 1),  # a hole is joined
        (plane("#####", "#.#.#", "#####"), 1),
        (plane("#####", "#...#", "#.#.#", "#...#", "#####"), 2),  # an island in the hole
    ],
)
def test_there_is_a_polygon_for_each_part(mask: NDArray[np.bool_], polygons: int) -> None:
    assert len(outlines(mask)) == polygons


def test_corners_are_cut_half_way_and_straight_lines_have_two_points() -> None:
    (polygon,) = outlines(np.ones((5, 7), bool))

    assert sorted(map(tuple, polygon.tolist())) == sorted(
        [(-0.5, 0), (-0.5, 6), (0, 6.5), (4, 6.5), (4.5, 6), (4.5, 0), (4, -0.5), (0, -0.5)]
    )


@given(st.integers(2, 40))
def test_a_hole_costs_three_points_and_its_own(size: int) -> None:
    ring = np.ones((size + 2, size + 2), bool)
    ring[1:-1, 1:-1] = False

    (polygon,) = outlines(ring)

    assert len(polygon) == 8 + 8 + 3
