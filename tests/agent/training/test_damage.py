"""A damaged mask is wrong, and still of its structure."""

from __future__ import annotations

import numpy as np

from agent.fakes import ellipse
from agent.training.clicks import iou
from agent.training.damage import as_drawn, damaged


def test_damage_is_visible_and_leaves_a_part() -> None:
    truth = ellipse((64, 64), (30, 30), (14, 9))
    masks = [damaged(truth, np.random.default_rng(seed)) for seed in range(60)]

    ious = [iou(mask, truth) for mask in masks if mask is not None]

    assert len(ious) == 60
    assert 0.2 <= min(ious) <= max(ious) <= 0.75
    # some are cut off, some run over, some lie beside
    larger = [np.count_nonzero(mask & ~truth) for mask in masks if mask is not None]
    assert 0 in larger
    assert max(larger) > 100


def test_a_mask_at_the_frame_does_not_come_in_on_the_other_side() -> None:
    truth = np.zeros((40, 40), dtype=np.bool_)
    truth[:12, :12] = True

    for seed in range(40):
        mask = damaged(truth, np.random.default_rng(seed))
        assert mask is not None
        assert not mask[30:].any()
        assert not mask[:, 30:].any()


def test_what_is_too_small_is_left_alone() -> None:
    truth = np.zeros((9, 9), dtype=np.bool_)
    truth[4, 4] = True

    masks = [damaged(truth, np.random.default_rng(seed)) for seed in range(20)]

    assert all(mask is None or 0.2 <= iou(mask, truth) <= 0.75 for mask in masks)


def test_a_drawn_mask_is_nearly_right_and_now_and_then_wrong() -> None:
    truth = ellipse((64, 64), (30, 30), (14, 9))

    ious = [iou(as_drawn(truth, np.random.default_rng(seed)), truth) for seed in range(200)]

    wrong = [value for value in ious if value < 0.75]
    assert 20 < len(wrong) < 60
    assert all(value < 1 for value in ious)
    assert np.median(ious) > 0.8


def test_a_pixel_is_drawn_as_it_is() -> None:
    truth = np.zeros((9, 9), dtype=np.bool_)
    truth[4, 4] = True

    masks = [as_drawn(truth, np.random.default_rng(seed)) for seed in range(20)]

    assert all(mask.any() for mask in masks)
