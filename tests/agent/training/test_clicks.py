"""The oracle's click: in the middle of the larger error, never where it clicked before."""

from __future__ import annotations

import numpy as np
import pytest

from agent.training.clicks import LargerError, iou, larger_error
from agent.values import Point


def block(rows: slice, columns: slice, shape: tuple[int, int] = (20, 30)) -> np.ndarray:
    mask = np.zeros(shape, dtype=np.bool_)
    mask[rows, columns] = True
    return mask


def error_of(*arguments: object) -> LargerError:
    error = larger_error(*arguments)  # type: ignore[arg-type] # each test gives what it is about
    assert error is not None
    return error


class TestClick:
    def test_lies_in_the_middle_of_what_is_missing_and_is_positive(self) -> None:
        truth = block(slice(4, 13), slice(10, 19))

        assert error_of(None, truth).click == Point(14.0, 8.0, positive=True)

    def test_lies_in_the_middle_of_what_is_too_much_and_is_negative(self) -> None:
        truth, mask = block(slice(2, 7), slice(2, 7)), block(slice(2, 7), slice(2, 18))

        # 5 rows by 11 columns are too much: the deepest row is 4, its first deepest column 9
        assert error_of(mask, truth).click == Point(9.0, 4.0, positive=False)

    def test_the_larger_of_both_errors_is_chosen(self) -> None:
        truth = block(slice(0, 9), slice(0, 9)) | block(slice(12, 15), slice(20, 23))
        mask = block(slice(12, 15), slice(20, 23)) | block(slice(12, 17), slice(0, 5))

        assert error_of(mask, truth).click == Point(4.0, 4.0, positive=True)

    def test_a_tie_is_negative(self) -> None:
        truth, mask = block(slice(2, 7), slice(2, 7)), block(slice(2, 7), slice(20, 25))

        assert error_of(mask, truth).click == Point(22.0, 4.0, positive=False)

    def test_the_images_frame_is_an_edge(self) -> None:
        # without padding the distance would grow towards the frame, and the click lie at its corner
        truth = np.ones((9, 9), dtype=np.bool_)

        assert error_of(None, truth).click == Point(4.0, 4.0, positive=True)

    def test_a_pixel_that_was_clicked_is_not_clicked_again(self) -> None:
        truth = block(slice(4, 13), slice(10, 19))
        first = error_of(None, truth).click

        second = error_of(None, truth, [first]).click

        assert second != first
        assert truth[round(second.y), round(second.x)]

    def test_nothing_to_correct_gives_none(self) -> None:
        truth = block(slice(4, 5), slice(10, 11))

        assert larger_error(truth, truth) is None
        assert larger_error(None, np.zeros((4, 4), dtype=np.bool_)) is None
        assert larger_error(None, truth, [Point(10.0, 4.0)]) is None  # its only pixel was clicked

    def test_masks_of_two_sizes_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"\(20, 30\), the truth \(9, 9\)"):
            larger_error(block(slice(0, 1), slice(0, 1)), np.ones((9, 9), dtype=np.bool_))


class TestResampling:
    def test_another_click_is_deep_in_the_same_error(self) -> None:
        truth = block(slice(2, 13), slice(5, 16))
        error = error_of(None, truth)
        rng = np.random.default_rng(0)

        clicks = {error.click_near(0.5, rng) for _ in range(50)}

        assert len(clicks) > 5
        assert all(error.depth_px[round(click.y), round(click.x)] >= 3.0 for click in clicks)

    def test_the_region_is_the_part_that_the_click_lies_in(self) -> None:
        large, small = block(slice(0, 9), slice(0, 9)), block(slice(12, 15), slice(20, 23))

        assert np.array_equal(error_of(None, large | small).region, large)


@pytest.mark.parametrize(
    ("mask", "truth", "expected"),
    [
        (block(slice(0, 2), slice(0, 2)), block(slice(0, 2), slice(1, 3)), 2 / 6),
        (np.zeros((3, 3), dtype=np.bool_), np.zeros((3, 3), dtype=np.bool_), 1.0),  # both empty
        (None, np.zeros((3, 3), dtype=np.bool_), 1.0),
        (None, np.ones((3, 3), dtype=np.bool_), 0.0),
    ],
)
def test_iou_by_hand(mask: np.ndarray | None, truth: np.ndarray, expected: float) -> None:
    assert iou(mask, truth) == pytest.approx(expected)
