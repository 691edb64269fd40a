"""What neighbours say: drift and runaway slices."""

from __future__ import annotations

import numpy as np
import pytest

from agent.fakes import ellipse
from agent.limits import Limits
from agent.volume.neighbours import Neighbourhood, adjacent, radius_px, shared_within

SHAPE = (80, 80)


def disc(radius: float, x: float = 40, y: float = 40) -> np.ndarray:
    return ellipse(SHAPE, (x, y), (radius, radius))


@pytest.fixture
def near() -> Neighbourhood:
    return Neighbourhood.of(Limits(), (1.0, 1.0, 1.0))


def test_the_reach_is_the_slices_distance_in_pixels() -> None:
    assert Neighbourhood.of(Limits(), (5.0, 2.0, 2.0)).reach_px == 2.5
    assert Neighbourhood.of(Limits(), (0.5, 2.0, 2.0)).reach_px == 1.0


def test_what_two_masks_share_is_their_dice_and_more_within_a_distance() -> None:
    mask, other = np.zeros(SHAPE, dtype=bool), np.zeros(SHAPE, dtype=bool)
    mask[10:20, 10:20], other[10:20, 15:25] = True, True

    assert shared_within(mask, other, 0.0) == 0.5
    assert shared_within(mask, other, 2.0) == 0.7  # two columns more on each side
    assert shared_within(mask, other, 5.0) == 1.0


def test_the_equivalent_radius_is_that_of_a_disc_of_the_area() -> None:
    assert radius_px(disc(20)) == pytest.approx(20, abs=0.2)


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        (disc(10), None),  # the same
        (disc(16), None),  # 1.6 times the radius
        (disc(19), "jumped to 3.6 times"),  # more than 1.6 times and one pixel
        (disc(2), None),  # structures may shrink
        (disc(10, x=52), None),  # moved, but on it
        (disc(10, x=62), "left its place"),
        (disc(3, x=54), "left its place"),  # small, and beside it
    ],
)
def test_drift(near: Neighbourhood, mask: np.ndarray, says: str | None) -> None:
    told = near.drift(mask, (disc(10),))

    assert (told is None) == (says is None), told
    assert says is None or (told and says in told)


def test_after_a_dip_the_slice_before_it_counts(near: Neighbourhood) -> None:
    assert near.drift(disc(20), (disc(3), disc(20))) is None
    assert "jumped" in (near.drift(disc(20), (disc(3), disc(4))) or "")


def test_thick_slices_may_differ_more() -> None:
    thick = Neighbourhood.of(Limits(), (5.0, 1.0, 1.0))

    assert thick.drift(disc(19), (disc(10),)) is None
    assert thick.drift(disc(3, x=54), (disc(10),)) is None


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        (disc(10), None),
        (disc(25), "far larger"),
        (disc(3), "far smaller"),
        (disc(10, x=70), "does not lie on"),
        (disc(10, x=53), "centre lies aside"),
    ],
)
def test_a_runaway_between_two(near: Neighbourhood, mask: np.ndarray, says: str | None) -> None:
    told = near.runaway(mask, (disc(10), disc(10, x=41)))

    assert (told is None) == (says is None), told
    assert says is None or (told and says in told)


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        (disc(3), None),  # a structure's end is small
        (disc(4, x=44), None),  # and may lie aside
        (disc(25), "far larger"),
        (disc(10, x=70), "does not lie on"),
    ],
)
def test_a_runaway_at_the_end(near: Neighbourhood, mask: np.ndarray, says: str | None) -> None:
    told = near.runaway(mask, (disc(10),))

    assert (told is None) == (says is None), told
    assert says is None or (told and says in told)


def test_a_step_that_one_neighbour_shares_is_no_runaway(near: Neighbourhood) -> None:
    assert near.runaway(disc(25), (disc(10), disc(24))) is None
    assert near.runaway(disc(10), (disc(10), disc(25))) is None
    assert near.runaway(disc(10), (disc(10), disc(10, x=79))) is None


def test_adjacent_are_those_that_there_are() -> None:
    masks = {3: disc(3), 4: disc(4), 6: disc(6)}

    assert [radius_px(one) for one in adjacent(masks, 5)] == [
        radius_px(disc(4)),
        radius_px(disc(6)),
    ]
    assert len(adjacent(masks, 3)) == 1
    assert adjacent(masks, 9) == ()
