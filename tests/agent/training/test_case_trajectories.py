"""Which trajectories a case gives: on its slices, about the whole, and where a structure is not."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from agent.actions import NameSlices
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

    def test_a_slice_beside_the_structure_is_absent(self) -> None:
        case = toy_cases(1, depth=15)[0]
        made = made_of(case)
        truths = {truth.target: truth.voxels for truth in case.truths}

        absent = [
            one for one in made if isinstance(one, Trajectory) and one.kind is TrajectoryKind.ABSENT
        ]

        assert absent
        for one in absent:
            present = np.flatnonzero(truths[one.target].any(axis=(1, 2)))
            assert 1 <= np.abs(present - one.slice_index).min() <= 3

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
