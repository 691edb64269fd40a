"""MONAI's figures against an independent count: every pair of edge elements measured, no library of
metrics.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from models.evaluation.metrics import SpacingMm, quality

SPACINGS = [(1.0, 1.0, 1.0), (5.0, 0.7, 0.7), (2.5, 1.0, 0.4)]
Mask = NDArray[np.bool_]


def edge_points(mask: Mask, spacing: tuple[float, ...]) -> NDArray[np.float64]:
    """Positions in mm of voxels with a face towards the outside; beyond the image is outside."""
    padded = np.pad(mask, 1)
    points = []
    for index in np.argwhere(mask):
        for axis, step in itertools.product(range(mask.ndim), (-1, 1)):
            neighbour = index + 1
            neighbour[axis] += step
            if not padded[tuple(neighbour)]:
                points.append(index * np.array(spacing))
                break
    return np.array(points)


def nearest(points: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.linalg.norm(points[:, None] - others[None], axis=-1).min(axis=1)


def plain_hd95(mask: Mask, truth: Mask, spacing: tuple[float, ...]) -> float:
    ours, theirs = edge_points(mask, spacing), edge_points(truth, spacing)
    both_ways = nearest(ours, theirs), nearest(theirs, ours)
    return float(max(np.percentile(distances, 95) for distances in both_ways))


def outline_elements(mask: Mask, spacing: tuple[float, float]) -> list[tuple[float, float, float]]:
    """(y, x, length) in mm of the outline's pieces between the centres of four pixels: the corner
    cut off where one pixel differs, a straight line where two neighbours do, two corners where the
    two of a diagonal do.
    """
    padded, (dy, dx) = np.pad(mask, 1).astype(int), spacing
    diagonal = float(np.hypot(dy, dx)) / 2
    pieces = []
    for y, x in itertools.product(range(padded.shape[0] - 1), range(padded.shape[1] - 1)):
        four = padded[y : y + 2, x : x + 2]
        count = int(four.sum())
        if count in (1, 3):
            length = diagonal
        elif count == 2 and four[0, 0] == four[1, 1]:
            length = 2 * diagonal
        elif count == 2:
            length = dx if four[0, 0] == four[0, 1] else dy
        else:
            continue
        pieces.append((y * dy, x * dx, length))
    return pieces


def plain_nsd(mask: Mask, truth: Mask, spacing: tuple[float, float], tolerance: float) -> float:
    ours = np.array(outline_elements(mask, spacing))
    theirs = np.array(outline_elements(truth, spacing))
    right = sum(
        float(pieces[nearest(pieces[:, :2], others[:, :2]) <= tolerance, 2].sum())
        for pieces, others in ((ours, theirs), (theirs, ours))
    )
    return right / float(ours[:, 2].sum() + theirs[:, 2].sum())


def blob(shape: tuple[int, ...], seed: int, share: float = 0.5) -> Mask:
    """A ragged mask that touches the border."""
    return np.random.default_rng(seed).random(shape) < share


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("seed", range(3))
def test_a_volume_is_judged_as_a_plain_count_judges_it(spacing: SpacingMm, seed: int) -> None:
    mask, truth = blob((4, 6, 5), seed), blob((4, 6, 5), seed + 10, 0.3)
    result = quality(mask, truth, spacing, 1.0)

    shared, both = (mask & truth).sum(), mask.sum() + truth.sum()
    assert result.dice == pytest.approx(2 * shared / both, abs=1e-6)
    assert result.iou == pytest.approx(shared / (mask | truth).sum(), abs=1e-6)
    assert result.hd95_mm == pytest.approx(plain_hd95(mask, truth, spacing), abs=1e-4)
    difference = abs(int(mask.sum()) - int(truth.sum()))
    assert result.volume_error_ml == pytest.approx(difference * np.prod(spacing) / 1000)
    assert result.volume_error_share == pytest.approx(difference / truth.sum())


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("tolerance", [0.0, 0.5, 1.1])
def test_the_outlines_of_a_slice_are_measured_in_its_plane(
    spacing: SpacingMm, tolerance: float
) -> None:
    mask, truth = blob((1, 9, 8), 3, 0.4), blob((1, 9, 8), 4, 0.2)
    result = quality(mask, truth, spacing, tolerance)

    in_plane = spacing[1:]
    assert result.hd95_mm == pytest.approx(plain_hd95(mask[0], truth[0], in_plane), abs=1e-4)
    expected = plain_nsd(mask[0], truth[0], in_plane, tolerance)
    assert result.nsd == pytest.approx(expected, abs=1e-4)
    assert result.volume_error_ml is None  # a slice has no volume


def box(shape: tuple[int, int, int], *spans: tuple[int, int]) -> Mask:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*span) for span in spans)] = True
    return mask


@pytest.mark.parametrize(
    ("shift_voxels", "tolerance", "least", "most"),
    [
        (0, 0.0, 1.0, 1.0),
        (1, 3.0, 1.0, 1.0),  # 3 mm apart, all within
        (1, 2.9, 0.3, 0.9),  # the two faces across the shift are wrong, the four along it right
        (4, 2.0, 0.0, 0.5),
    ],
)
def test_surfaces_of_a_volume_count_in_mm(
    shift_voxels: int, tolerance: float, least: float, most: float
) -> None:
    truth = box((12, 12, 12), (1, 6), (2, 8), (2, 8))
    mask = np.roll(truth, shift_voxels, axis=0)
    nsd = quality(mask, truth, (3.0, 1.0, 1.0), tolerance).nsd
    assert nsd is not None
    assert least <= round(nsd, 6) <= most


def test_the_faces_of_a_box_weigh_by_their_area() -> None:
    # a box of 10 x 10 x 40 mm against the same 4 mm higher, tolerance 1 mm. Of each surface are out
    # of reach: the outer end face, 3 mm of the sides there, and the inner end face but for its rim
    truth = box((60, 20, 20), (10, 50), (5, 15), (5, 15))
    mask = np.roll(truth, 4, axis=0)
    nsd = quality(mask, truth, (1.0, 1.0, 1.0), 1.0).nsd
    surface_mm2 = 4 * 40 * 10 + 2 * 100
    assert nsd == pytest.approx(1 - (100 + 3 * 4 * 10 + 8 * 8) / surface_mm2, abs=0.03)


def test_two_empty_masks_agree() -> None:
    nothing = np.zeros((3, 4, 5), bool)
    result = quality(nothing, nothing, (1.0, 1.0, 1.0), 2.0)
    assert (result.dice, result.iou, result.nsd, result.hd95_mm) == (1.0, 1.0, 1.0, 0.0)
    assert result.volume_error_ml == 0.0
    assert result.volume_error_share is None


@pytest.mark.parametrize("empty_is_truth", [False, True])
@pytest.mark.parametrize(("shape", "diagonal"), [((3, 4, 5), 15.0), ((1, 6, 8), 10.0)])
def test_an_empty_mask_against_voxels_is_wrong_in_all(
    shape: tuple[int, int, int], diagonal: float, *, empty_is_truth: bool
) -> None:
    nothing, something = np.zeros(shape, bool), np.ones(shape, bool)
    spacing = (4.0, 9 / 4, 0.0) if shape[0] > 1 else (7.0, 1.0, 1.0)
    first, second = (something, nothing) if empty_is_truth else (nothing, something)
    result = quality(first, second, spacing, 2.0)
    assert (result.dice, result.iou, result.nsd) == (0.0, 0.0, 0.0)
    assert result.hd95_mm == pytest.approx(diagonal)
    assert result.volume_error_share == (None if empty_is_truth else 1.0)


@pytest.mark.parametrize("place", [(0, 0, 0), (2, 3, 4), (1, 2, 2)])
def test_one_voxel_is_judged_at_the_border_too(place: tuple[int, int, int]) -> None:
    truth = np.zeros((3, 4, 5), bool)
    truth[place] = True
    same = quality(truth, truth, (5.0, 0.7, 0.7), 1.0)
    assert (same.dice, same.nsd, same.hd95_mm) == (1.0, 1.0, 0.0)

    beside = np.roll(truth, 1, axis=0)
    result = quality(beside, truth, (5.0, 0.7, 0.7), 1.0)
    apart = 5.0 if place[0] < 2 else 10.0
    assert (result.dice, result.hd95_mm) == (0.0, pytest.approx(apart))
    assert result.nsd is not None
    assert result.nsd < 1.0


def test_a_volume_with_one_slice_of_mask_is_still_a_volume() -> None:
    truth = box((5, 6, 6), (2, 3), (1, 5), (1, 5))
    mask = np.roll(truth, 1, axis=0)
    result = quality(mask, truth, (4.0, 1.0, 1.0), 2.0)
    assert result.hd95_mm == pytest.approx(4.0)
    assert result.volume_error_ml == 0.0


def test_without_a_known_spacing_there_are_no_millimetres() -> None:
    truth = box((2, 4, 4), (0, 2), (1, 3), (1, 3))
    result = quality(truth, truth, None, 2.0)
    assert (result.nsd, result.hd95_mm, result.volume_error_ml) == (None, None, None)
    assert (result.dice, result.volume_error_share) == (1.0, 0.0)


def test_another_shape_is_refused_with_both() -> None:
    with pytest.raises(ValueError, match=r"\(1, 2, 2\).*\(1, 2, 3\)"):
        quality(np.zeros((1, 2, 2), bool), np.zeros((1, 2, 3), bool), None, 2.0)
