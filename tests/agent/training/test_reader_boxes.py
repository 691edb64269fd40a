"""A reader's boxes: inexact as the paper says, cut to the image, better with each correction."""

from __future__ import annotations

import numpy as np
import pytest

from agent.training.boxes import corrected_box, jittered_box
from agent.training.clicks import larger_error
from agent.training.reader_settings import ReaderSettings
from agent.values import Box

SETTINGS = ReaderSettings()


def truth_at(x0: int, y0: int, x1: int, y1: int, side: int = 512) -> np.ndarray:
    mask = np.zeros((side, side), dtype=np.bool_)
    mask[y0 : y1 + 1, x0 : x1 + 1] = True
    return mask


def moves(box: Box, tight: Box) -> np.ndarray:
    """How far each side was moved outwards, in pixels."""
    return np.array([tight.x0 - box.x0, tight.y0 - box.y0, box.x1 - tight.x1, box.y1 - tight.y1])


class TestJitter:
    def test_sides_move_by_5_to_20_px_in_an_image_of_512(self) -> None:
        truth, rng = truth_at(150, 150, 349, 349), np.random.default_rng(0)

        moved = np.array(
            [moves(jittered_box(truth, SETTINGS, rng), Box(150, 150, 349, 349)) for _ in range(200)]
        )

        assert np.abs(moved).min() >= 5
        assert np.abs(moved).max() <= 20
        assert 0.65 < (moved > 0).mean() < 0.85  # most are outwards

    def test_a_smaller_image_has_less(self) -> None:
        truth, rng = truth_at(20, 20, 43, 43, side=64), np.random.default_rng(0)

        moved = moves(jittered_box(truth, SETTINGS, rng), Box(20, 20, 43, 43))

        assert np.abs(moved).max() <= 20 * 64 / 512

    def test_a_small_structure_keeps_most_of_its_box(self) -> None:
        truth, rng = truth_at(200, 200, 214, 214), np.random.default_rng(0)

        for _ in range(50):
            moved = moves(jittered_box(truth, SETTINGS, rng), Box(200, 200, 214, 214))
            assert np.abs(moved).max() <= 0.2 * 15

    def test_a_box_at_the_frame_is_cut(self) -> None:
        truth, rng = truth_at(0, 0, 511, 30), np.random.default_rng(0)

        for _ in range(30):
            box = jittered_box(truth, SETTINGS, rng)
            assert box.x0 >= 0
            assert box.y0 >= 0
            assert box.x1 <= 511

    def test_a_loose_box_is_wide_on_all_sides(self) -> None:
        truth, rng = truth_at(150, 150, 349, 349), np.random.default_rng(0)

        moved = moves(jittered_box(truth, SETTINGS, rng, 2.0), Box(150, 150, 349, 349))

        assert moved.min() >= 10

    @pytest.mark.parametrize("pixels", [(7, 7, 7, 7), (0, 0, 0, 0), (511, 511, 511, 511)])
    def test_one_pixel_has_a_box(self, pixels: tuple[int, int, int, int]) -> None:
        box = jittered_box(truth_at(*pixels), SETTINGS, np.random.default_rng(0))

        assert box.x1 > box.x0 or box.y1 > box.y0

    def test_an_empty_truth_has_none(self) -> None:
        with pytest.raises(ValueError, match="empty"):
            jittered_box(np.zeros((9, 9), dtype=np.bool_), SETTINGS, np.random.default_rng(0))


class TestCorrection:
    def corrected(self, box: Box, mask: np.ndarray, truth: np.ndarray, attempt: int = 0) -> Box:
        error = larger_error(mask, truth)
        assert error is not None
        return corrected_box(box, truth, error, np.random.default_rng(0), attempt)

    def test_a_side_that_falls_short_reaches_further(self) -> None:
        truth, mask = truth_at(100, 100, 199, 199), truth_at(100, 100, 149, 199)

        box = self.corrected(Box(98, 98, 150, 202), mask, truth)

        assert (box.x0, box.y0, box.y1) == (98, 98, 202)  # the other sides stay
        assert 199 <= box.x1 <= 203

    def test_a_side_that_is_too_far_comes_in(self) -> None:
        truth, mask = truth_at(100, 100, 199, 199), truth_at(100, 100, 199, 260)

        box = self.corrected(Box(98, 98, 202, 262), mask, truth)

        assert (box.x0, box.y0, box.x1) == (98, 98, 202)
        assert 199 <= box.y1 <= 203

    def test_where_no_side_is_off_all_are_drawn_anew(self) -> None:
        truth = truth_at(100, 100, 199, 199)
        mask = truth & ~truth_at(140, 140, 160, 160)  # a hole

        box = self.corrected(Box(95, 95, 204, 204), mask, truth)

        assert moves(box, Box(100, 100, 199, 199)).max() <= 2

    def test_each_attempt_is_another_box(self) -> None:
        truth, mask = truth_at(100, 100, 199, 199), truth_at(100, 100, 149, 199)

        boxes = [self.corrected(Box(98, 98, 150, 202), mask, truth, n) for n in range(4)]

        assert len(set(boxes)) == 4
