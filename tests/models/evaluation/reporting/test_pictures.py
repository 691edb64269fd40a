"""Pictures of cases: cut to the structure, truth and result outlined, as a reader holds them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from PIL import Image

from agent.case import Case
from agent.geometry import Geometry
from agent.values import Target, TargetStatus, Volume
from models.evaluation.methods.answers import MethodAnswer
from models.evaluation.records import TargetRecord
from models.evaluation.reporting.pictures import (
    SIDE_PX,
    choose_telling,
    draw_picture,
    draw_pictures,
)
from models.evaluation.runner import record_of
from tests.models.evaluation.test_summary import record


def line(case: Case, mask: np.ndarray | None = None) -> TargetRecord:
    truth = case.truths[0]
    drawn = truth.voxels if mask is None else mask
    return record_of(case, truth, "x", MethodAnswer(truth.target, TargetStatus.SEGMENTED, drawn))


def pixels(picture: bytes | None) -> np.ndarray:
    assert picture is not None
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)


def greenish(image: np.ndarray) -> np.ndarray:
    return (image[..., 1] - image[..., 0] > 60) & (image[..., 1] - image[..., 2] > 40)


def orange(image: np.ndarray) -> np.ndarray:
    return (image[..., 0] - image[..., 2] > 100) & (image[..., 0] - image[..., 1] > 40)


def test_truth_and_result_are_outlined_where_they_are(whole_case: Case) -> None:
    truth = whole_case.truths[0].voxels
    image = pixels(draw_picture(whole_case, line(whole_case, np.roll(truth, 6, axis=1))))
    assert max(image.shape[:2]) == SIDE_PX
    # the result lies 6 rows lower
    assert np.argwhere(orange(image))[:, 0].min() > np.argwhere(greenish(image))[:, 0].min()
    assert greenish(image).sum() > 100


def test_a_result_that_is_the_truth_covers_it(whole_case: Case) -> None:
    image = pixels(draw_picture(whole_case, line(whole_case)))
    assert orange(image).sum() > 100
    assert greenish(image).sum() < 20


def test_a_missed_structure_shows_its_truth(whole_case: Case) -> None:
    truth = whole_case.truths[0]
    record = record_of(whole_case, truth, "x", MethodAnswer(truth.target, TargetStatus.ABSENT))
    image = pixels(draw_picture(whole_case, record))
    assert greenish(image).sum() > 100
    assert not orange(image).any()


def test_feet_first_and_upside_down_grids_are_turned(whole_case: Case) -> None:
    affine = whole_case.volume.geometry.affine_zyx_to_lps.copy()
    affine[:, 1:3] *= -1  # rows rise to the front, columns to the right
    geometry = Geometry(whole_case.volume.geometry.shape, affine)
    flipped = np.s_[:, ::-1, ::-1]
    turned = replace(
        whole_case,
        volume=Volume(np.ascontiguousarray(whole_case.volume.intensities[flipped]), geometry, "MR"),
        truths=tuple(replace(t, voxels=t.voxels[flipped]) for t in whole_case.truths),
    )
    plain = pixels(draw_picture(whole_case, line(whole_case)))
    as_seen = pixels(draw_picture(turned, line(turned)))
    apart, apart_unturned = np.abs(as_seen - plain).mean(), np.abs(as_seen[::-1] - plain).mean()
    assert apart < 0.3 * apart_unturned  # but for the rounding of the window


def test_pixels_are_as_wide_as_they_are_in_mm(whole_case: Case) -> None:
    affine = whole_case.volume.geometry.affine_zyx_to_lps.copy()
    affine[0, 2] = 2.0
    geometry = Geometry(whole_case.volume.geometry.shape, affine)
    wide = replace(whole_case, volume=replace(whole_case.volume, geometry=geometry))
    height, width = pixels(draw_picture(wide, line(wide))).shape[:2]
    assert width == 2 * height == SIDE_PX


def test_colours_are_shown_as_they_are(whole_case: Case) -> None:
    colour = np.zeros((*whole_case.volume.geometry.shape, 3), np.uint8)
    colour[..., 2] = 200
    case = replace(whole_case, volume=replace(whole_case.volume, colour=colour))
    assert np.median(pixels(draw_picture(case, line(case)))[..., 2]) > 150


def test_ct_that_was_windowed_before_is_shown_as_it_is(whole_case: Case) -> None:
    # Arrange: 8 bits of which air and bone were clipped, and a structure with a window of its own
    truth = replace(whole_case.truths[0], target=Target("left lung", "left_lung"))
    grey = np.where(truth.voxels, 128, 90).astype(np.float32)
    grey[..., :20], grey[..., 20:22] = 0, 255
    volume = replace(whole_case.volume, intensities=grey, modality="CT")
    case = replace(whole_case, volume=volume, truths=(truth,))

    # Act
    image = pixels(draw_picture(case, line(case)))

    # Assert: 90 stays 90; a lung's window on top of it made it lighter
    inner = image[..., 0][(image[..., 0] > 20) & (image[..., 0] < 240)]
    assert np.median(inner) == 90


def test_a_case_that_changed_has_no_picture(whole_case: Case, volume_case: Case) -> None:
    wanted = line(whole_case)
    assert draw_picture(whole_case, replace(wanted, target="gone")) is None
    assert draw_picture(whole_case, replace(wanted, picture=None)) is None
    cut = replace(
        whole_case,
        volume=Volume(np.zeros((1, 9, 9), np.float32), Geometry((1, 9, 9), np.eye(4)), "MR"),
        truths=(replace(whole_case.truths[0], voxels=np.zeros((1, 9, 9), bool)),),
    )
    assert draw_picture(cut, wanted) is None
    assert draw_pictures([volume_case], [replace(wanted, case_id="gone")]) == {}


def test_cases_are_read_until_all_pictures_are_drawn(whole_case: Case) -> None:
    def cases() -> Iterator[Case]:
        yield whole_case
        raise AssertionError("one more than is needed was read")

    wanted = line(whole_case)
    assert list(draw_pictures(cases(), [wanted])) == [wanted.key]


def test_best_median_and_worst_are_chosen_by_structure() -> None:
    lines = [record(str(n), "p", n / 10) for n in range(5)]
    lines += [record("x", "p", 0.3, structure="liver"), record("y", "p", 1.0, present=False)]
    telling = choose_telling(lines)
    assert {rank: r.case_id for rank, r in telling["left kidney"].items()} == {
        "best": "4",
        "median": "2",
        "worst": "0",
    }
    assert list(telling["liver"]) == ["best"]
