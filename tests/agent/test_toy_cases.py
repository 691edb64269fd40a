"""The toy cases that training's tests stand on: what is true can be seen, and always the same."""

from __future__ import annotations

import numpy as np

from agent.fakes import FakeSegmenter
from agent.values import Box, Prompts
from tests.support.toy_cases import BRIGHTNESS, toy_cases


def test_a_case_is_the_same_however_many_are_made() -> None:
    one, *_ = toy_cases(1, seed=3)
    again, *_ = toy_cases(5, seed=3)
    assert np.array_equal(one.volume.intensities, again.volume.intensities)
    other, *_ = toy_cases(1, seed=4)
    assert not np.array_equal(one.volume.intensities, other.volume.intensities)


def test_every_second_case_lacks_one_structure_in_its_turn() -> None:
    lacking = [
        [truth.target.text for truth in case.truths if truth.absent] for case in toy_cases(6)
    ]
    assert lacking == [[], ["bright ellipse"], [], ["grey ellipse"], [], ["dim ellipse"]]


def test_structures_are_as_bright_as_they_say_and_lie_apart() -> None:
    for case in toy_cases(6, depth=5):
        assert np.sum([truth.voxels for truth in case.truths], axis=0).max() == 1
        for truth in case.truths:
            if not truth.absent:
                brightness = case.volume.intensities[truth.voxels].mean()
                assert abs(brightness - BRIGHTNESS[truth.target.text]) < 0.01


def test_a_box_round_the_truth_gives_it_to_the_fake_segmenter() -> None:
    segmenter = FakeSegmenter()
    for case in toy_cases(4):
        encoding = segmenter.encode(case.volume.intensities[0])
        for truth in case.truths:
            mask = truth.voxels[0]
            if mask.any():
                drawn = segmenter.segment(
                    encoding, Prompts(box=Box.around(mask).grown(2, (64, 64)))
                )
                both = np.count_nonzero(drawn.mask & mask)
                assert both / np.count_nonzero(drawn.mask | mask) > 0.9


def test_two_cases_are_of_one_patient() -> None:
    assert [case.patient for case in toy_cases(4)] == [
        "patient-0-0",
        "patient-0-0",
        "patient-0-1",
        "patient-0-1",
    ]
