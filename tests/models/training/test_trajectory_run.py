"""A run prepares cases as serving does, encodes each once, and goes on past what fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.case import Case, Truth
from agent.errors import SegmenterFailed
from agent.fakes import FakeEncoding
from agent.geometry import Geometry
from agent.ports import Encoding
from agent.values import Box, Prompts, Segmentation, Target, Volume
from models.images.preprocessing import WorkingGrid
from models.training.exports.trajectory_folder import end_folder, records
from models.training.trajectory_run import on_working_grid
from tests.support.toy_cases import toy_cases
from tests.support.training.toy_trajectories import BoxesOnly, toy_run, write_toy_folder


class Counting(BoxesOnly):
    """Counts what is encoded, and fails on images of the size `fails_on`."""

    def __init__(self, fails_on: int = 0) -> None:
        self.encoded, self.fails_on = 0, fails_on

    def encode(self, image: NDArray[np.float32]) -> FakeEncoding:
        self.encoded += 1
        return super().encode(image)

    def segment(self, encoding: Encoding, prompts: Prompts) -> Segmentation:
        if encoding.source_shape[0] == self.fails_on:
            raise SegmenterFailed("the decoder\nis out of memory")
        return super().segment(encoding, prompts)


def test_each_image_is_encoded_once_for_all_its_trajectories(tmp_path: Path) -> None:
    segmenter = Counting()

    write_toy_folder(tmp_path, toy_run(segmenter=segmenter, per_case=4), toy_cases(3))

    assert segmenter.encoded == 3
    assert len(list(records(tmp_path))) > 20


def test_a_case_on_which_the_segmenter_fails_is_named_and_the_run_goes_on(tmp_path: Path) -> None:
    cases = [toy_cases(1)[0], toy_cases(1, seed=1, side=48)[0], toy_cases(1, seed=2)[0]]

    done = write_toy_folder(tmp_path, toy_run(segmenter=Counting(fails_on=48)), cases)

    assert [row.failed for row in done] == ["", "the decoder is out of memory", ""]
    figures = end_folder(tmp_path)
    assert figures.failed == {"toy:toy-1-0": "the decoder is out of memory"}
    assert {record["case_id"] for record in records(tmp_path)} == {"toy-0-0", "toy-2-0"}


def test_empty_and_full_truths_are_counted(tmp_path: Path) -> None:
    case = toy_cases(1)[0]
    everything = np.ones((1, 64, 64), dtype=np.bool_)
    truths = (
        Truth(Target("nothing"), ~everything),
        Truth(Target("everything"), everything),
        *case.truths,
    )

    write_toy_folder(tmp_path, cases=[replace(case, truths=truths)])

    figures = end_folder(tmp_path)
    assert figures.dropped.get("the truth fills the whole image") == 1
    assert "everything" not in figures.structures


def test_pictures_are_those_of_the_working_grid(tmp_path: Path) -> None:
    """A volume stored upside down and from the left is shown as serving shows it."""
    case = toy_cases(1, depth=5)[0]
    turned = _turned(case)

    write_toy_folder(tmp_path / "straight", cases=[case])
    write_toy_folder(tmp_path / "turned", cases=[turned])

    straight, other = (list(records(tmp_path / name)) for name in ("straight", "turned"))
    assert straight == other


@pytest.mark.parametrize("spacing_mm", [(3.0, 1.0, 1.0), (3.0, 1.0, 0.5)])
def test_a_truth_goes_to_the_working_grid_with_its_image(
    spacing_mm: tuple[float, float, float],
) -> None:
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = *spacing_mm, 1.0
    geometry = Geometry((2, 20, 20), affine)
    voxels = np.zeros((2, 20, 20), dtype=np.bool_)
    voxels[1, 5:12, 6:14] = True
    volume = Volume(voxels.astype(np.float32), geometry, "MR")
    case = Case(
        "one",
        "p",
        "toy",
        "training",
        volume,
        (Truth(Target("box"), voxels, corrected_from=voxels),),
    )
    grid = WorkingGrid.of(geometry)

    truth = on_working_grid(case.truths[0], case, grid)

    assert truth.voxels.dtype == np.bool_
    assert np.array_equal(truth.voxels, grid.to_working(volume).intensities > 0.5)
    assert truth.corrected_from is not None
    assert np.array_equal(truth.corrected_from, truth.voxels)
    tight = Box.around(truth.voxels[1])
    height_mm = (tight.y1 - tight.y0 + 1) * grid.working.spacing_mm[1]
    assert height_mm == pytest.approx(7 * spacing_mm[1], abs=0.6)


def _turned(case: Case) -> Case:
    """The same patient, stored with z and x reversed."""
    volume, shape = case.volume, case.volume.geometry.shape
    affine = volume.geometry.affine_zyx_to_lps.copy()
    affine[:3, 3] += affine[:3, 0] * (shape[0] - 1) + affine[:3, 2] * (shape[2] - 1)
    affine[:3, [0, 2]] *= -1
    flipped = np.ascontiguousarray(volume.intensities[::-1, :, ::-1])
    truths = tuple(
        Truth(truth.target, np.ascontiguousarray(truth.voxels[::-1, :, ::-1]))
        for truth in case.truths
    )
    turned = Volume(flipped, Geometry(shape, affine), volume.modality)
    return replace(case, volume=turned, truths=truths)
