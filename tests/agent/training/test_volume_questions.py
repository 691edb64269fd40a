"""Questions about a volume are answered from the truth, in words that serving reads."""

from __future__ import annotations

import numpy as np
import pytest

from agent.actions import Absent, NameSlices
from agent.fakes import ArraySlices, FakeSegmenter
from agent.language.settings import LanguageSettings
from agent.limits import Limits
from agent.protocol.dialects import Dialect
from agent.protocol.slice_replies import parse_assessment, parse_localisation
from agent.training.reader_settings import ReaderSettings
from agent.training.trajectory import TrajectoryMaker
from agent.training.volume_questions import (
    assessment_trajectory,
    localisation_trajectory,
    named_slices,
)
from agent.turns import WHOLE_VOLUME
from agent.values import Role
from tests.support.toy_cases import toy_cases


def stacked(areas: list[int]) -> np.ndarray:
    """A structure whose slices have these areas, each beginning at one corner."""
    voxels = np.zeros((len(areas), 12, 12), dtype=np.bool_)
    for z, area in enumerate(areas):
        voxels[z].flat[:area] = True
    return voxels


class TestNamedSlices:
    @pytest.mark.parametrize(
        ("areas", "expected"),
        [
            ([0, 1, 4, 9, 4, 1, 0], (3,)),  # short: its largest section
            ([0, 0, 0], ()),
            ([0, 5, 5, 5, 5, 9, 8, 7, 6, 5, 5, 5, 5, 0], (5, 8)),  # long: above, it shows enough
            ([60, 61, 62, 63, 64, 65, 64, 63, 62, 61, 60], (5, 2)),  # midway both, first apart
            ([9, 1, 1, 1, 1, 1, 1, 1, 1], (0,)),  # midway shows too little
        ],
    )
    def test_of_one_part(self, areas: list[int], expected: tuple[int, ...]) -> None:
        named = named_slices(stacked(areas))

        assert named[:1] == expected[:1]
        assert set(expected) <= set(named)
        assert all(abs(a - b) >= 3 for a in named for b in named if a != b)

    def test_each_large_part_has_one_and_a_speck_none(self) -> None:
        voxels = stacked([0, 30, 40, 30, 0, 0, 0, 20, 25, 20, 0, 0, 0, 1])

        assert named_slices(voxels) == (2, 8)

    def test_at_most_three(self) -> None:
        voxels = stacked([9, 0, 0, 9, 0, 0, 9, 0, 0, 9, 0, 0, 9])

        assert len(named_slices(voxels)) == 3


@pytest.mark.parametrize("dialect", list(Dialect))
class TestQuestions:
    def maker(self, dialect: Dialect) -> TrajectoryMaker:
        language = LanguageSettings(dialect=dialect)
        return TrajectoryMaker(FakeSegmenter(), language, ReaderSettings(), Limits())

    def test_where_it_is(self, dialect: Dialect) -> None:
        maker, case = self.maker(dialect), toy_cases(2, depth=9)[1]
        slices = ArraySlices(case.volume.intensities, maker.segmenter)
        answers = {}
        for truth in case.truths:
            one = localisation_trajectory(maker, case, truth.target, slices, truth.voxels)
            reply = one.conversation.messages[-1].text
            assert one.turns[0].action == parse_localisation(reply, 9, dialect)
            expected = maker.prompt_builder.about_volume(truth.target, slices)
            assert one.conversation.messages[:-1] == expected.messages
            assert (one.turns[0].role, one.slice_index) == (Role.SURVEY, WHOLE_VOLUME)
            answers[truth.absent] = one.turns[0].action

        assert isinstance(answers[True], Absent)
        named = answers[False]
        assert isinstance(named, NameSlices)
        assert all(case.truths[-1].voxels[z].any() for z in named.slices)

    def test_where_it_is_wrong(self, dialect: Dialect) -> None:
        maker, case = self.maker(dialect), toy_cases(1, depth=9)[0]
        slices = ArraySlices(case.volume.intensities, maker.segmenter)
        truth = case.truths[0]
        for wrong in ((4, 3), ()):
            one = assessment_trajectory(maker, case, truth.target, slices, truth.voxels, wrong)

            reply = one.conversation.messages[-1].text
            assert parse_assessment(reply, 9, dialect) == NameSlices(wrong)
            assert one.turns[0].role is Role.INSPECT
            assert (one.ious, one.final_iou, one.learnt) == ((None,), None, (True,))
