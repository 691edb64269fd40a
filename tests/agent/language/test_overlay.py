"""Pictures: the papers' tints to the number, on the pixels where the slice's own pixels lie."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.language.overlay import TINTS, Tint, eight_bit, overlaid, resampled_in, rim
from agent.protocol.dialects import Dialect
from agent.protocol.view import Crop, View

GREY = np.full((4, 4, 3), 100 / 255, dtype=np.float32)


@pytest.mark.parametrize(
    ("dialect", "expected"),
    [
        (Dialect.TOOL_CALL, (50, 178, 50)),  # half of (100, 100, 100), half of (0, 255, 0)
        (
            Dialect.THINK_ACTION,
            (74, 116, 74),
        ),  # 0.6 * 100 + 0.4 * (34, 139, 34) = 73.6, 115.6, 73.6
    ],
)
def test_the_papers_tints(dialect: Dialect, expected: tuple[int, int, int]) -> None:
    mask = np.zeros((4, 4), dtype=np.bool_)
    mask[1, 2] = True
    view = View.identity((4, 4))

    picture = overlaid(resampled_in(view, GREY), view, TINTS[dialect], mask=mask)

    assert tuple(picture.pixels[1, 2]) == expected
    assert (picture.pixels[~mask] == 100).all()


def test_nothing_is_written_into_what_is_painted_on() -> None:
    view = View.identity((4, 4))
    seen = resampled_in(view, GREY)

    overlaid(seen, view, Tint((0, 255, 0), 1.0), mask=np.ones((4, 4), dtype=np.bool_))

    assert (seen == 100).all()


def test_a_neighbours_outline_is_drawn_over_the_mask_and_not_filled() -> None:
    mask = np.zeros((16, 16), dtype=np.bool_)
    mask[2:14, 2:14] = True
    view = View.identity((16, 16))
    seen = np.zeros((16, 16, 3), dtype=np.uint8)

    picture = overlaid(seen, view, Tint((0, 200, 0), 1.0), mask=mask, neighbour=mask)

    yellow = np.all(picture.pixels == (255, 255, 0), axis=2)
    assert yellow[2:4, 2:14].all()  # two pixels wide
    assert not yellow[4:12, 4:12].any()
    assert (picture.pixels[8, 8] == (0, 200, 0)).all()


def test_the_edge_of_the_picture_is_no_outline() -> None:
    mask = np.zeros((6, 6), dtype=np.bool_)
    mask[:, :4] = True

    np.testing.assert_array_equal(np.flatnonzero(rim(mask, 1)[3]), [3])
    thin = np.zeros((6, 6), dtype=np.bool_)
    thin[3, 3] = True
    np.testing.assert_array_equal(rim(thin, 2), thin)


def test_intensities_beyond_the_window_are_clipped() -> None:
    np.testing.assert_array_equal(
        eight_bit(np.array([-1, 0, 0.5, 1, 2], dtype=np.float32)), [0, 0, 128, 255, 255]
    )


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(2, 60), st.integers(2, 60)),
    st.tuples(st.integers(8, 90), st.integers(8, 90)),
    st.sampled_from([View.letterbox, View.squash]),
    st.data(),
)
def test_a_pixel_is_painted_where_the_view_says_it_lies(
    shape: tuple[int, int], size: tuple[int, int], make: Callable[..., View], data: st.DataObject
) -> None:
    # non-square slices, smaller and larger than the view, in colours
    rows, columns = shape
    left, top = data.draw(st.integers(0, columns - 2)), data.draw(st.integers(0, rows - 2))
    view = make(shape, size, Crop(left, top, columns - left, rows - top))
    x, y = data.draw(st.integers(left, columns - 1)), data.draw(st.integers(top, rows - 1))
    picture = np.zeros((rows, columns, 3), dtype=np.float32)
    picture[..., 0] = np.linspace(0, 1, columns)
    mask = np.zeros(shape, dtype=np.bool_)
    mask[y, x] = True

    seen = resampled_in(view, picture)
    green = overlaid(seen, view, Tint((0, 255, 0), 1.0), mask=mask).pixels[..., 1] == 255

    u, v = view.to_view(x, y)
    shown = np.argwhere(green & (seen[..., 1] == 0))  # white padding is no mask
    if shown.size:  # a pixel may fall between those of a smaller view
        reach = np.maximum(np.array(view.scale[::-1]) / 2, 0.5) + 0.5
        assert (np.abs(shown - (v, u)) <= reach).all()
    elif min(view.scale) >= 1:
        pytest.fail("a pixel of the mask is not shown in a view that enlarges")


def test_colours_are_seen_as_they_are() -> None:
    picture = np.zeros((30, 50, 3), dtype=np.float32)
    picture[:, :25, 0] = picture[:, 25:, 2] = 1.0  # red on the left, blue on the right
    view = View.letterbox((30, 50), (100, 100))

    seen = resampled_in(view, picture)

    assert seen.shape == (100, 100, 3)
    assert tuple(seen[50, 10]) == (255, 0, 0)
    assert tuple(seen[50, 90]) == (0, 0, 255)
    assert tuple(seen[5, 50]) == (255, 255, 255)  # white padding, as in MedSAM-Agent
