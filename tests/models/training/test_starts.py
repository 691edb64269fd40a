"""Where episodes begin: which slices, on which grid, and that they are those of serving."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agent.case import Case, Truth
from agent.fakes import FakeSegmenter, ScriptedPolicy
from agent.geometry import Geometry
from agent.ports import Localisation
from agent.values import Role, Target, Volume
from models.errors import TrainingRefused
from models.images.windows import window_for
from models.loaded_models import LoadedModels
from models.training.starts import EpisodeStarts
from tests.support.toy_cases import toy_cases


def models(encoder: str = "") -> LoadedModels:
    return LoadedModels(
        ScriptedPolicy(Localisation((), (0,)), {}), FakeSegmenter(), encoder=encoder
    )


def test_every_truth_of_every_case_is_begun_on_in_order() -> None:
    starts = EpisodeStarts(toy_cases(2), models())
    names = [starts[number].name for number in range(len(starts))]
    assert names == [starts.name(number) for number in range(len(starts))]
    assert len(names) == 6
    assert names[0] == "toy-0-0, bright ellipse, slice 0"


def test_a_start_is_a_key_slice_before_its_first_turn() -> None:
    (case,) = toy_cases(1)
    start = EpisodeStarts([case], models())[1]
    assert start.observation.target == case.truths[1].target
    assert (start.observation.role, start.observation.turns) == (Role.KEY, ())
    assert np.array_equal(start.truth, case.truths[1].voxels[0])


def test_the_slices_that_show_most_come_first() -> None:
    case = _volume(areas=[0, 4, 9, 1, 0])
    starts = EpisodeStarts([case], models(), slices_per_truth=2)
    assert [starts[n].observation.slice_index for n in range(len(starts))] == [2, 1]
    assert [int(starts[n].truth.sum()) for n in range(2)] == [9, 4]


def test_no_more_slices_than_show_the_structure() -> None:
    assert len(EpisodeStarts([_volume(areas=[0, 4, 0])], models(), slices_per_truth=5)) == 1


def test_an_absent_structure_is_looked_for_on_the_middle_slice() -> None:
    start = EpisodeStarts([_volume(areas=[0, 0, 0, 0, 0])], models(), slices_per_truth=2)[0]
    assert start.observation.slice_index == 2
    assert not start.truth.any()


def test_a_correction_is_begun_on_what_had_been_drawn_the_worst_slice_first() -> None:
    case = _volume(areas=[0, 9, 9, 9, 0])
    drawn = case.truths[0].voxels.copy()
    drawn[1, 4:] = False  # two thirds are left
    drawn[3, 3:] = False  # one third is left
    corrected = replace(case.truths[0], corrected_from=drawn)
    starts = EpisodeStarts([replace(case, truths=(corrected,))], models(), slices_per_truth=5)

    worst, second = starts
    assert [one.observation.slice_index for one in (worst, second)] == [3, 1]
    assert worst.observation.role is Role.REVIEW
    assert worst.observation.latest is not None
    assert np.array_equal(worst.observation.latest.mask, drawn[3])
    assert np.array_equal(worst.truth, case.truths[0].voxels[3])
    assert worst.name == "volume, square, slice 3, review"
    other = replace(corrected, corrected_from=drawn & False)
    assert EpisodeStarts([replace(case, truths=(other,))], models()).digest != starts.digest


def test_nothing_to_begin_on_is_refused() -> None:
    with pytest.raises(TrainingRefused, match="no case with a truth"):
        EpisodeStarts([], models())


def test_truth_and_image_come_to_one_grid() -> None:
    """Feet last and rows from the back: both are turned alike."""
    case = _volume(areas=[16, 4, 0], flipped=True)
    start = EpisodeStarts([case], models())[0]
    assert start.observation.slice_index == 2
    assert int(start.truth.sum()) == 16
    bright = start.observation.slices.intensities(2) > 0.5
    assert np.array_equal(bright, start.truth)


def test_the_digest_tells_other_data_from_the_same() -> None:
    digest = EpisodeStarts(toy_cases(2), models()).digest
    assert EpisodeStarts(toy_cases(2), models()).digest == digest
    assert EpisodeStarts(toy_cases(3), models()).digest != digest
    case, other = toy_cases(2)
    truths = (Truth(case.truths[0].target, ~case.truths[0].voxels), *case.truths[1:])
    redrawn = replace(case, truths=truths)  # the same names, another truth
    assert EpisodeStarts([redrawn, other], models()).digest != digest


def test_a_case_is_prepared_once_for_its_truths() -> None:
    (case,) = toy_cases(1)
    starts = EpisodeStarts([case], models())
    assert starts[0].observation.slices is starts[1].observation.slices


def test_a_structure_is_shown_in_its_own_window_whatever_it_is_called() -> None:
    case = _volume(areas=[0, 9, 0])
    ct = replace(case, volume=replace(case.volume, modality="CT"))
    called = replace(ct.truths[0], target=Target("what is beside the heart", structure="lung"))
    start = EpisodeStarts([replace(ct, truths=(called,))], models())[0]
    assert start.observation.slices.window.startswith(str(window_for("lung")))


def test_volumes_are_let_go_and_come_back_the_same() -> None:
    starts = EpisodeStarts(toy_cases(12), models())
    first = starts[0].observation.slices.image(0)
    for number in range(len(starts)):
        starts[number]
    assert starts[0].observation.slices.image(0) is not first
    assert np.array_equal(starts[0].observation.slices.image(0), first)


def test_encodings_are_kept_where_they_can_be(tmp_path: Path) -> None:
    kept = EpisodeStarts(toy_cases(1), models("fake+1"), folder=tmp_path)
    kept[0].observation.slices.encoding(0)
    assert len(list(tmp_path.glob("slice-*.npz"))) == 1


def _volume(areas: list[int], *, flipped: bool = False) -> Case:
    """A volume of 12 x 12 slices; slice z shows a bright square of `areas[z]` pixels."""
    shape = (len(areas), 12, 12)
    voxels = np.zeros(shape, dtype=np.bool_)
    for z, area in enumerate(areas):
        side = round(area**0.5)
        voxels[z, 2 : 2 + side, 3 : 3 + side] = True
    affine = np.zeros((4, 4))
    sign = -1.0 if flipped else 1.0
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = 3.0 * sign, sign, 1.0, 1.0
    volume = Volume(voxels.astype(np.float32), Geometry(shape, affine), "MR")
    return Case("volume", "patient", "toy", "train", volume, (Truth(Target("square"), voxels),))
