"""A policy as a method goes the agent's own way; what it raises ends one target alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from agent.actions import Action, AddBox, Stop
from agent.case import Case
from agent.fakes import (
    FakeSegmenter,
    FakeVolumeSegmenter,
    ScriptedPolicy,
    ScriptedSegmenter,
    ThresholdPolicy,
    segmentation,
)
from agent.knowledge import Knowledge
from agent.limits import Limits
from agent.ports import ContinueIf, Localisation, Observation, PropagatedSlice, Reply, Seed, Slices
from agent.values import Box, PromptKind, Role, Target, TargetStatus
from agent.volume.order import segment_target
from models.evaluation.methods.answers import MethodAnswer, PreparedCase
from models.evaluation.methods.policy_method import LAST_MASK, PolicyMethod, single_turn
from models.loaded_models import LoadedModels
from tests.models.evaluation.conftest import BANDS


def answers(method: PolicyMethod, case: Case) -> dict[str, MethodAnswer]:
    prepared = PreparedCase.of(case, method.models)
    return {a.target.text: a for a in method.answers(prepared, method.targets(case))}


@pytest.mark.parametrize("segmenter", [FakeSegmenter(), FakeVolumeSegmenter()])
def test_the_answer_is_what_serving_gives(segmenter: FakeSegmenter, volume_case: Case) -> None:
    models = LoadedModels(ThresholdPolicy(BANDS), segmenter)
    method = PolicyMethod("threshold", models, Limits())
    ours = answers(method, volume_case)

    prepared = models.prepare(volume_case.volume, None)
    for truth in volume_case.truths:
        slices = prepared.slices_for(truth.target.structure or "")
        steps = segment_target(truth.target, slices, models.policy, segmenter)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                theirs = end.value
                break
        answer = ours[truth.target.text]
        assert answer.mask is not None
        assert np.array_equal(answer.mask, prepared.to_source(theirs.voxels).voxels)
        assert (answer.status, answer.confidence) == (theirs.status, theirs.confidence)
        assert [t.outcome for t in answer.turns] == [t.outcome for t in theirs.turns]


def test_each_slice_is_encoded_once_for_all_targets(
    toy_models: LoadedModels, volume_case: Case
) -> None:
    method = PolicyMethod("threshold", toy_models, Limits())
    prepared = PreparedCase.of(volume_case, toy_models)
    first = list(method.answers(prepared, method.targets(volume_case)))
    second = list(method.answers(prepared, method.targets(volume_case)))
    assert 0 < sum(a.encoder_passes for a in first) <= volume_case.volume.geometry.shape[0]
    assert sum(a.encoder_passes for a in second) == 0


class FailsOn(ThresholdPolicy):
    """Raises when it is asked to act on one target."""

    def act(self, observation: Observation) -> Reply:
        if observation.target.text == "grey ellipse":
            raise RuntimeError("a bug of the policy")
        return super().act(observation)


def test_a_policy_that_raises_fails_that_target_alone(whole_case: Case) -> None:
    method = PolicyMethod("x", LoadedModels(FailsOn(BANDS), FakeSegmenter()), Limits())
    ours = answers(replace(method, with_last_mask=True), whole_case)
    failed = ours.pop("grey ellipse")
    assert (failed.status, failed.mask) == (TargetStatus.FAILED, None)
    assert failed.reason == "RuntimeError: a bug of the policy"
    assert failed.also[LAST_MASK].status is TargetStatus.FAILED
    assert {a.status for a in ours.values()} == {TargetStatus.SEGMENTED}


class FailsToFollow(FakeVolumeSegmenter):
    def propagate(
        self, slices: Slices, seeds: Sequence[Seed], continue_if: ContinueIf
    ) -> Iterator[PropagatedSlice]:
        raise RuntimeError("out of luck")


def test_what_fails_for_all_fails_all(volume_case: Case) -> None:
    method = PolicyMethod("x", LoadedModels(ThresholdPolicy(BANDS), FailsToFollow()), Limits())
    ours = answers(method, volume_case)
    assert {a.reason for a in ours.values()} == {"RuntimeError: out of luck"}


def test_an_unknown_target_fails_or_is_left_out(whole_case: Case) -> None:
    few = {"bright_ellipse": BANDS["bright_ellipse"]}
    method = PolicyMethod("x", LoadedModels(ThresholdPolicy(few), FakeSegmenter()), Limits())
    ours = answers(method, whole_case)
    assert ours["dim ellipse"].status is TargetStatus.FAILED
    assert "does not know 'dim ellipse'" in ours["dim ellipse"].reason
    assert list(answers(replace(method, only_known=True), whole_case)) == ["bright ellipse"]


class CtOnlyPolicy(ThresholdPolicy):
    """Brightness, on CT alone."""

    @property
    def knowledge(self) -> Knowledge:
        return replace(super().knowledge, modalities=("CT",))


@pytest.mark.parametrize(("modality", "asked"), [("CT", 3), ("OT", 3), ("MR", 0)])
def test_a_baseline_of_ct_is_not_asked_about_other_modalities(
    whole_case: Case, modality: str, asked: int
) -> None:
    case = replace(whole_case, volume=replace(whole_case.volume, modality=modality))
    method = PolicyMethod("x", LoadedModels(CtOnlyPolicy(BANDS), FakeSegmenter()), Limits())

    assert len(replace(method, only_known=True).targets(case)) == asked
    assert len(method.targets(case)) == 3


def test_only_those_that_are_there(toy_models: LoadedModels, without_grey: Case) -> None:
    method = PolicyMethod("x", toy_models, Limits(), only_present=True)
    assert [t.text for t in method.targets(without_grey)] == ["bright ellipse", "dim ellipse"]


def _scripted(case: Case) -> LoadedModels:
    """The first mask is the truth, the second one the truth moved, and thought worse of."""
    truth = case.truths[0].voxels[0]
    moves: list[Action] = [AddBox(Box(1, 1, 9, 9)), AddBox(Box(2, 2, 20, 20)), Stop()]
    policy = ScriptedPolicy(Localisation((1.0,), (0,)), {Role.KEY: moves})
    moved = np.roll(truth, 5, axis=0)
    masks = [segmentation(truth, 0.9), segmentation(moved, 0.5)]
    return LoadedModels(policy, ScriptedSegmenter(masks, frozenset({PromptKind.BOX})))


def test_the_last_mask_is_an_answer_of_the_same_turns(whole_case: Case) -> None:
    case = replace(whole_case, truths=whole_case.truths[:1])
    method = PolicyMethod("x", _scripted(case), Limits(), with_last_mask=True)
    assert method.names == ("x", "last-mask")
    (answer,) = answers(method, case).values()
    last = answer.also[LAST_MASK]
    truth = case.truths[0].voxels
    assert answer.mask is not None
    assert last.mask is not None
    assert answer.masks_by_turn is not None
    assert np.array_equal(answer.mask, truth)
    assert np.array_equal(last.mask, np.roll(truth, 5, axis=1))
    assert last.turns == answer.turns
    masks = answer.masks_by_turn()
    assert len(masks) == 5
    assert np.array_equal(masks[0], answer.mask)  # the best came first, and stayed


def test_one_turn_is_one_turn(whole_case: Case) -> None:
    case = replace(whole_case, truths=whole_case.truths[:1])
    method = PolicyMethod("single-turn", _scripted(case), single_turn(Limits()))
    (answer,) = answers(method, case).values()
    assert len(answer.turns) == 1


class Nowhere(ThresholdPolicy):
    def localise(self, target: Target, slices: Slices) -> Localisation:
        return Localisation((float("nan"),), (), "not there")


def test_a_confidence_that_is_no_number_is_handed_on(whole_case: Case) -> None:
    method = PolicyMethod("x", LoadedModels(Nowhere(BANDS), FakeSegmenter()), Limits())
    answer = answers(method, whole_case)["bright ellipse"]
    assert answer.status is TargetStatus.ABSENT
    assert answer.confidence is not None
    assert np.isnan(answer.confidence)
