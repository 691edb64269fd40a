"""Which trajectories a case gives: on its slices, about the whole, and where a structure is not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.actions import Absent, NameSlices
from agent.case import Case, Truth
from agent.fakes import ArraySlices, FakeSegmenter
from agent.language.settings import LanguageSettings
from agent.limits import Limits
from agent.training.case_trajectories import FULL, trajectories_of
from agent.training.reader_settings import ReaderSettings, TrajectoryKind
from agent.training.trajectory import Dropped, Trajectory, TrajectoryMaker
from agent.turns import WHOLE_VOLUME
from agent.values import Role, Target
from tests.support.toy_cases import toy_cases

ALWAYS = ReaderSettings(absent_chance=1.0)


def made_of(
    case: Case, per_case: int = 1, reader: ReaderSettings = ALWAYS
) -> list[Trajectory | Dropped]:
    segmenter = FakeSegmenter()
    maker = TrajectoryMaker(segmenter, LanguageSettings(), reader, Limits())
    slices = ArraySlices(case.volume.intensities, segmenter)
    made = list(trajectories_of(case, case.truths, lambda _: slices, maker, per_case))
    assert slices.encoder_passes <= slices.shape[0]  # however many trajectories
    return made


class TestImages:
    def test_each_structure_has_its_number_and_an_absent_one_has_one(self) -> None:
        case = toy_cases(2)[1]  # lacks the bright ellipse

        counts = Counter(one.name.split(":")[2] for one in made_of(case, 3))

        assert counts == {"bright ellipse": 1, "grey ellipse": 3, "dim ellipse": 3}

    def test_names_are_unique(self) -> None:
        names = [one.name for case in toy_cases(4) for one in made_of(case, 3)]

        assert len(set(names)) == len(names)

    def test_absent_ones_are_as_many_as_the_settings_say(self) -> None:
        never = ReaderSettings(absent_chance=0.0)

        kinds = {one.kind for case in toy_cases(6) for one in made_of(case, reader=never)}

        assert TrajectoryKind.ABSENT not in kinds

    def test_one_encoding_serves_all(self) -> None:
        case = toy_cases(1)[0]
        segmenter = FakeSegmenter()
        maker = TrajectoryMaker(segmenter, LanguageSettings(), ALWAYS, Limits())
        slices = ArraySlices(case.volume.intensities, segmenter)

        list(trajectories_of(case, case.truths, lambda _: slices, maker, 4))

        assert slices.encoder_passes == 1


class TestVolumes:
    def test_slices_are_drawn_from_those_that_show_the_structure(self) -> None:
        case = toy_cases(1, depth=9)[0]

        slices_worked_on = {
            one.slice_index
            for one in made_of(case, 6)
            if isinstance(one, Trajectory) and one.kind is not TrajectoryKind.ABSENT
        }

        assert len(slices_worked_on - {WHOLE_VOLUME}) >= 4

    def test_a_slice_near_the_structure_is_taken_where_it_is_absent(self) -> None:
        places = set()
        for seed in range(6):
            case = toy_cases(1, seed=seed, depth=25)[0]
            voxels = np.zeros_like(case.truths[0].voxels)
            voxels[12] = case.truths[0].voxels[12]
            short = replace(case, truths=(Truth(Target("short"), voxels),))
            places |= {
                one.slice_index
                for one in made_of(short)
                if one.kind is TrajectoryKind.ABSENT
                if isinstance(one, Trajectory)
            }

        assert places
        assert all(1 <= abs(z - 12) <= 3 for z in places)

    def test_as_many_slices_are_reached_from_a_neighbour(self) -> None:
        case = toy_cases(1, depth=9)[0]

        made = [one for one in made_of(case, 3) if ":carry-" in one.name]

        assert Counter(one.name.split(":")[2] for one in made) == {
            truth.target.text: 3 + (not truth.voxels.any(axis=(1, 2)).all())
            for truth in case.truths
        }
        ends = [one for one in made if isinstance(one, Trajectory)]
        beyond = {
            isinstance(one.turns[0].action, Absent)
            for one in ends
            if not next(t for t in case.truths if t.target == one.target)
            .voxels[one.slice_index]
            .any()
        }
        assert beyond == {True}
        assert len({one.slice_index for one in ends}) > 3

    def test_an_image_of_one_slice_has_no_neighbour(self) -> None:
        assert not [one for one in made_of(toy_cases(1)[0], 3) if ":carry-" in one.name]

    def test_the_worst_of_the_slices_that_are_named_wrong_is_drawn_anew(self) -> None:
        named, redrawn = {}, {}
        for case in toy_cases(4, depth=9):
            for one in made_of(case):
                if isinstance(one, Dropped):
                    continue
                place = (one.case.case_id, one.target)
                action = one.turns[0].action
                if one.turns[0].role is Role.INSPECT and isinstance(action, NameSlices):
                    named[place] = action.slices
                elif one.kind is TrajectoryKind.REVIEW:
                    redrawn[place] = one.slice_index

        assert len(redrawn) >= 4
        assert all(named[place][0] == z for place, z in redrawn.items())
        assert any(not slices for slices in named.values())  # some objects are right


class TestBadTruths:
    def test_a_truth_that_fills_the_image_is_dropped_by_name(self) -> None:
        case = toy_cases(1)[0]
        full = Truth(Target("everything"), np.ones((1, 64, 64), dtype=np.bool_))

        made = made_of(replace(case, truths=(full,)))

        assert [one.reason for one in made if isinstance(one, Dropped)] == [FULL]

    def test_a_truth_of_another_size_is_refused_with_both(self) -> None:
        case = toy_cases(1)[0]
        maker = TrajectoryMaker(FakeSegmenter(), LanguageSettings(), ALWAYS, Limits())
        slices = ArraySlices(np.zeros((1, 32, 32), np.float32), maker.segmenter)

        with pytest.raises(ValueError, match=r"\(1, 64, 64\), the image \(1, 32, 32\)"):
            list(trajectories_of(case, case.truths, lambda _: slices, maker))


def corrected(case: Case, drawn: Callable[[NDArray[np.bool_]], NDArray[np.bool_]]) -> Case:
    """`case` with its first truth alone, as what a reader made of the mask that `drawn` gives."""
    truth = case.truths[0]
    return replace(case, truths=(replace(truth, corrected_from=drawn(truth.voxels)),))


def without_upper_half(voxels: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Cut at half of its height, on each slice."""
    rows = np.flatnonzero(voxels.any(axis=(0, 2)))
    cut = voxels.copy()
    cut[:, : (rows[0] + rows[-1]) // 2] = False
    return cut


class TestCorrections:
    def test_an_image_is_reviewed_from_the_mask_that_was_corrected(self) -> None:
        case = corrected(toy_cases(1)[0], without_upper_half)

        (review,) = made_of(case)

        assert isinstance(review, Trajectory)
        assert review.kind is TrajectoryKind.REVIEW
        assert review.final_iou is not None
        assert review.final_iou > 0.9
        assert all(turn.role is Role.REVIEW for turn in review.turns)

    def test_a_mask_that_was_right_gives_no_trajectory_of_a_slice(self) -> None:
        assert not made_of(corrected(toy_cases(1)[0], lambda voxels: voxels))

    def test_in_a_volume_the_wrong_slices_are_named_and_each_is_drawn_anew(self) -> None:
        def two_wrong(voxels: NDArray[np.bool_]) -> NDArray[np.bool_]:
            middle = int(np.flatnonzero(voxels.any(axis=(1, 2))).mean())
            drawn = voxels.copy()
            drawn[middle : middle + 2] = without_upper_half(voxels)[middle : middle + 2]
            return drawn

        case = corrected(toy_cases(1, depth=8)[0], two_wrong)
        made = [one for one in made_of(case) if isinstance(one, Trajectory)]

        assessment, *reviews = made
        named = assessment.turns[0].action
        assert isinstance(named, NameSlices)
        assert sorted(named.slices) == sorted(one.slice_index for one in reviews)
        assert len(reviews) == 2

    def test_a_slice_that_nobody_had_drawn_is_asked_for_as_serving_asks_for_a_gap(self) -> None:
        def one_missing(voxels: NDArray[np.bool_]) -> NDArray[np.bool_]:
            drawn = voxels.copy()
            drawn[int(np.flatnonzero(voxels.any(axis=(1, 2))).mean())] = False
            return drawn

        case = corrected(toy_cases(1, depth=8)[0], one_missing)

        (review,) = [one for one in made_of(case) if ":slice-" in one.name]

        assert isinstance(review, Trajectory)
        assert review.turns[0].role is Role.REVIEW
        opening = review.conversation.messages[1].text
        assert "There is no mask yet" in opening
        assert "yellow outline" in opening

    def test_what_a_reader_took_out_is_learnt_as_absent(self) -> None:
        case = toy_cases(1)[0]
        truth = case.truths[0]
        empty = np.zeros_like(truth.voxels)
        taken_out = replace(truth, voxels=empty, corrected_from=truth.voxels)

        (review,) = made_of(replace(case, truths=(taken_out,)))

        assert isinstance(review, Trajectory)
        assert isinstance(review.turns[-1].action, Absent)

    def test_each_correction_is_made_as_often_as_is_asked_for(self) -> None:
        case = corrected(toy_cases(1)[0], without_upper_half)

        assert len({one.name for one in made_of(case, 3)}) == 3
