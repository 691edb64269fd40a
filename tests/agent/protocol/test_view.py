"""The view is its own inverse's inverse, on any shape, without half-pixel drift."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.protocol.coordinates import box_at, box_steps, point_at, point_steps
from agent.protocol.view import Crop, View
from agent.values import Box, Point

sides = st.integers(1, 700)


@st.composite
def views(draw: st.DrawFn) -> View:
    rows, columns = draw(sides), draw(sides)
    left, top = draw(st.integers(0, columns - 1)), draw(st.integers(0, rows - 1))
    crop = Crop(left, top, draw(st.integers(1, columns - left)), draw(st.integers(1, rows - top)))
    make = draw(st.sampled_from([View.letterbox, View.squash]))
    return make((rows, columns), (draw(sides), draw(sides)), draw(st.sampled_from([None, crop])))


@given(views(), st.floats(-50, 800), st.floats(-50, 800))
def test_there_and_back_is_the_same_place(view: View, x: float, y: float) -> None:
    assert view.to_slice(*view.to_view(x, y)) == pytest.approx((x, y), abs=1e-6)


@given(views(), st.floats(0, 1), st.floats(0, 1))
def test_fractions_come_back(view: View, u: float, v: float) -> None:
    width, height = view.size

    back = view.to_fraction(*view.from_fraction(u, v))

    # an image one pixel wide has one place only
    assert back == pytest.approx((u if width > 1 else 0.0, v if height > 1 else 0.0), abs=1e-6)


@given(views())
def test_edges_of_the_crop_lie_on_edges_of_the_content(view: View) -> None:
    crop, (ox, oy), (width, height) = view.crop, view.offset, view.content

    first = view.to_view(crop.left - 0.5, crop.top - 0.5)
    last = view.to_view(crop.left + crop.width - 0.5, crop.top + crop.height - 0.5)

    assert first == pytest.approx((ox - 0.5, oy - 0.5), abs=1e-6)
    assert last == pytest.approx((ox + width - 0.5, oy + height - 0.5), abs=1e-6)


@given(views(), st.floats(0, 1), st.floats(0, 1))
def test_a_point_is_on_the_crop_or_refused(view: View, u: float, v: float) -> None:
    try:
        point = point_at(view, u, v, positive=True)
    except ValueError:
        return
    assert view.crop.left <= point.x <= view.crop.left + view.crop.width - 1
    assert view.crop.top <= point.y <= view.crop.top + view.crop.height - 1


def test_640_by_480_in_512_as_worked_out_by_hand() -> None:
    # the originals' letterbox was never undone: y was off by up to 60 pixels here
    view = View.letterbox((480, 640), (512, 512))

    assert view.content == (512, 384)
    assert view.offset == (0, 64)
    # scale 0.8: the first pixel's centre is 0.5 * 0.8 - 0.5 = -0.1, and 64 lower
    assert view.to_view(0, 0) == pytest.approx((-0.1, 63.9))
    assert view.to_view(639, 479) == pytest.approx((511.1, 447.1))


def test_an_image_smaller_than_the_view_is_enlarged() -> None:
    view = View.letterbox((50, 100), (400, 400))

    assert view.scale == (4.0, 4.0)
    assert view.to_view(0, 0) == pytest.approx((1.5, 101.5))  # centre of a 4 x 4 block


def test_identity_leaves_everything_where_it_is() -> None:
    view = View.identity((30, 40))
    pixels = np.random.default_rng(0).random((30, 40), dtype=np.float32)

    assert view.to_view(3.25, 7.5) == (3.25, 7.5)
    np.testing.assert_array_equal(view.image(pixels), pixels)


def test_fractions_span_the_centres_of_the_outermost_pixels() -> None:
    view = View.identity((101, 201))

    assert view.from_fraction(0, 0) == (0, 0)
    assert view.from_fraction(1, 1) == (200, 100)
    assert point_at(view, 0.5, 0.25, positive=False) == Point(100, 25, positive=False)
    box = box_at(view, 0.1, 0.2, 0.3, 0.4)
    assert (box.x0, box.y0, box.x1, box.y1) == pytest.approx((20, 20, 60, 40))


def test_a_box_that_reaches_into_the_padding_is_cut_to_the_picture() -> None:
    view = View.letterbox((50, 100), (100, 100))  # padding above and below, 25 rows each

    box = box_at(view, 0.0, 0.0, 1.0, 1.0)

    assert (box.x0, box.y0, box.x1, box.y1) == (0, 0, 99, 49)


@pytest.mark.parametrize("v", [0.0, 0.2, 0.8, 1.0])
def test_a_point_on_the_padding_is_refused(v: float) -> None:
    view = View.letterbox((50, 100), (100, 100))

    with pytest.raises(ValueError, match="padding"):
        point_at(view, 0.5, v, positive=True)


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        ((50, 100), (0.1, 0.0, 0.9, 0.2)),  # above
        ((50, 100), (0.1, 0.8, 0.9, 1.0)),  # below
        ((100, 50), (0.0, 0.1, 0.2, 0.9)),  # left
        ((100, 50), (0.8, 0.1, 1.0, 0.9)),  # right
    ],
)
def test_a_box_on_the_padding_alone_is_refused(
    shape: tuple[int, int], box: tuple[float, float, float, float]
) -> None:
    view = View.letterbox(shape, (100, 100))

    with pytest.raises(ValueError, match="padding"):
        box_at(view, *box)


def test_a_pixel_in_the_last_corner_is_a_box_that_ends_there() -> None:
    view = View.identity((100, 100))

    assert box_steps(view, Box(99, 99, 99, 99), 999) == (998, 998, 999, 999)


def test_a_sliver_between_two_steps_is_named_by_the_one_before_it() -> None:
    view = View.letterbox((700, 1), (700, 700))  # column 349 of 700, step 499.3 of 999

    assert point_steps(view, Point(0, 0), 999) == (498, 0)


def test_a_box_one_pixel_wide_may_lie_at_the_edge_of_the_picture() -> None:
    view = View.letterbox((50, 100), (100, 100))  # rows 25 to 74 of the image

    box = box_at(view, 0.5, 73.9 / 99, 0.6, 80 / 99)

    assert box.y0 == pytest.approx(48.9)
    assert box.y1 == 49


@given(views(), st.floats(0, 1), st.floats(0, 1), st.sampled_from([999, 10_000]))
def test_steps_lie_on_the_picture(view: View, u: float, v: float, steps: int) -> None:
    # Arrange
    crop = view.crop
    point = Point(crop.left + u * (crop.width - 1), crop.top + v * (crop.height - 1))

    # Act
    across, down = point_steps(view, point, steps)
    x, y = view.from_fraction(across / steps, down / steps)

    # Assert: within a step, which at the picture's edge may be needed to stay on it, and half a
    # pixel of the image, beyond whose outermost centres nothing can be named
    one_step = (max(view.size) / steps + 0.5) / min(view.scale)
    assert abs(x - point.x) <= one_step + 1e-6
    assert abs(y - point.y) <= one_step + 1e-6
    if min(crop.width, crop.height) > 2 * one_step + 1:
        assert view.shows(x, y)


@given(views(), st.floats(0, 1), st.floats(0, 1), st.sampled_from([999, 10_000]))
def test_a_box_has_a_width_in_steps(view: View, u: float, v: float, steps: int) -> None:
    x, y = view.crop.left + u * (view.crop.width - 1), view.crop.top + v * (view.crop.height - 1)

    x0, y0, x1, y1 = box_steps(view, Box(x, y, x, y), steps)

    assert 0 <= x0 < x1 <= steps
    assert 0 <= y0 < y1 <= steps


@pytest.mark.parametrize(
    ("shape", "size", "crop"),
    [
        ((60, 90), (270, 180), None),  # enlarged, aspect kept
        ((240, 160), (60, 90), None),  # reduced and padded
        ((100, 100), (64, 64), Crop(20, 30, 60, 40)),  # a part of it
    ],
)
def test_a_blob_appears_where_to_view_says(
    shape: tuple[int, int], size: tuple[int, int], crop: Crop | None
) -> None:
    view = View.letterbox(shape, size, crop)
    y, x = np.mgrid[: shape[0], : shape[1]]
    pixels = np.exp(-((x - 45.0) ** 2 + (y - 45.0) ** 2) / 20).astype(np.float32)

    shown = view.image(pixels, padding=0.0)

    assert shown.shape == (size[1], size[0])
    v, u = np.mgrid[: size[1], : size[0]]
    centre = (float((u * shown).sum() / shown.sum()), float((v * shown).sum() / shown.sum()))
    assert centre == pytest.approx(view.to_view(45, 45), abs=0.1)


def test_a_mask_lies_on_its_image() -> None:
    view = View.letterbox((60, 90), (180, 180))
    mask = np.zeros((60, 90), dtype=np.bool_)
    mask[10:20, 30:50] = True

    shown = view.mask(mask)

    # scale 2, 30 rows of padding above
    assert shown[50:70, 60:100].all()
    assert np.count_nonzero(shown) == 20 * 40


def test_the_padding_has_its_own_brightness() -> None:
    view = View.letterbox((10, 40), (40, 40))

    shown = view.image(np.zeros((10, 40), dtype=np.float32), padding=1.0)

    assert shown[:15].min() == 1.0
    assert shown[15:25].max() == 0.0


def test_reducing_does_not_alias() -> None:
    stripes = np.zeros((200, 200), dtype=np.float32)
    stripes[:, ::2] = 1.0

    shown = View.squash((200, 200), (50, 50)).image(stripes)

    assert shown[:, 5:-5].std() < 0.05


@pytest.mark.parametrize(
    ("crop", "offset", "content"),
    [
        (Crop(0, 0, 0, 5), (0, 0), (5, 5)),  # nothing to show
        (Crop(-1, 0, 5, 5), (0, 0), (5, 5)),  # begins outside the slice
        (Crop(0, 0, 5, 5), (6, 0), (5, 5)),  # ends outside the image
    ],
)
def test_an_impossible_view_is_refused(
    crop: Crop, offset: tuple[int, int], content: tuple[int, int]
) -> None:
    with pytest.raises(ValueError):
        View(crop, (10, 10), offset, content)


def test_a_view_of_another_slice_is_refused() -> None:
    view = View.identity((30, 40))

    with pytest.raises(ValueError, match="does not have"):
        view.image(np.zeros((20, 40), dtype=np.float32))


@settings(max_examples=25, deadline=None)
@given(views(), st.sampled_from([0.0, 0.5, 1.0]))
def test_colours_are_seen_channel_by_channel(view: View, padding: float) -> None:
    shape = (view.crop.top + view.crop.height, view.crop.left + view.crop.width)
    rng = np.random.default_rng(0)
    picture = rng.random((*shape, 3), dtype=np.float32)

    shown = view.image(picture, padding)

    assert shown.shape == (view.size[1], view.size[0], 3)
    for channel in range(3):
        np.testing.assert_array_equal(
            shown[..., channel], view.image(picture[..., channel], padding)
        )
