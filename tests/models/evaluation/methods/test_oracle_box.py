"""The ideal box: round the truth on each slice, on the largest one first."""

from __future__ import annotations

import numpy as np

from agent.actions import Absent, AddBox, Stop
from agent.case import Case
from agent.fakes import ArraySlices, FakeSegmenter, FakeVolumeSegmenter
from agent.limits import Limits
from agent.ports import Observation
from agent.turns import Outcome, Turn
from agent.values import Box, Role, Target
from models.evaluation.methods.answers import PreparedCase
from models.evaluation.methods.oracle_box import OracleBox
from models.evaluation.methods.policy_method import PolicyMethod, single_turn
from models.loaded_models import LoadedModels

TARGET = Target("thing")


def truth() -> np.ndarray:
    """Two parts apart along z: slices 1 to 2, the second larger, and slice 5."""
    voxels = np.zeros((7, 20, 20), bool)
    voxels[1, 5:8, 5:8] = voxels[2, 5:10, 5:9] = voxels[5, 2:4, 2:4] = True
    return voxels


def slices() -> ArraySlices:
    return ArraySlices(np.zeros((7, 20, 20), np.float32), FakeSegmenter())


def test_the_largest_slice_of_each_part_is_a_key_slice() -> None:
    localisation = OracleBox({"thing": truth()}).localise(TARGET, slices())
    assert localisation.key_slices == (2, 5)
    assert localisation.presence == (0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0)


def test_the_box_is_the_truths_widened_and_cut_to_the_image() -> None:
    policy = OracleBox({"thing": truth()})
    assert policy.act(Observation(TARGET, slices(), 2, Role.KEY)).action == AddBox(
        Box(2, 2, 11, 12)
    )
    assert policy.act(Observation(TARGET, slices(), 5, Role.KEY)).action == AddBox(Box(0, 0, 6, 6))


def test_one_box_is_all() -> None:
    policy = OracleBox({"thing": truth()})
    turn = Turn(2, 0, Role.KEY, AddBox(Box(0, 0, 1, 1)), Outcome.KEPT)
    assert policy.act(Observation(TARGET, slices(), 2, Role.KEY, (turn,))).action == Stop()


def test_it_is_absent_where_the_truth_is() -> None:
    policy = OracleBox({"thing": truth()})
    assert isinstance(policy.act(Observation(TARGET, slices(), 0, Role.CARRY)).action, Absent)
    nothing = OracleBox({"thing": np.zeros((7, 20, 20), bool)})
    assert nothing.localise(TARGET, slices()).absent


def test_a_volume_is_drawn_from_its_boxes(volume_case: Case) -> None:
    for segmenter in (FakeSegmenter(), FakeVolumeSegmenter()):
        method = PolicyMethod(
            "oracle-box",
            LoadedModels(OracleBox({}), segmenter),
            single_turn(Limits()),
            policy_for=lambda case: OracleBox(case.working_truths),
        )
        prepared = PreparedCase.of(volume_case, method.models)
        for answer in method.answers(prepared, method.targets(volume_case)):
            expected = next(t for t in volume_case.truths if t.target == answer.target).voxels
            assert answer.mask is not None
            assert (answer.mask & expected).sum() > 0.9 * expected.sum()
