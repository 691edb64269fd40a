"""Readers with a segmenter that takes clicks and goes on from its earlier mask: SAM 2 in all its
parts, narrow, with seeded weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from agent.actions import AddBox, AddPoint
from agent.fakes import ArraySlices
from agent.language.settings import LanguageSettings
from agent.limits import Limits
from agent.ports import Encoding
from agent.training.reader_settings import ReaderSettings, TrajectoryKind
from agent.training.slice_tasks import SliceTask
from agent.training.trajectory import Exercise, Trajectory, TrajectoryMaker
from agent.values import Prompts, Segmentation
from models.runtime.resources import Resources
from models.segmenters.sam2.segmenter import Sam2Segmenter
from models.training.exports.records import trajectory_record
from tests.support import seeded_networks
from tests.support.toy_cases import toy_cases


class Recording(Sam2Segmenter):
    """Keeps the prompts that it was asked with."""

    asked: list[Prompts]

    def segment(self, encoding: Encoding, prompts: Prompts) -> Segmentation:
        self.asked.append(prompts)
        return super().segment(encoding, prompts)


@pytest.fixture(scope="module")
def sam2(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    folder: Path = tmp_path_factory.mktemp("sam2")
    resources = Resources(cache_dir=folder, threads=1, device="cpu")
    checkpoint = seeded_networks.sam2_checkpoint(folder)
    segmenter = Recording("sam2", checkpoint, seeded_networks.NARROW, resources=resources)
    segmenter.asked = []
    return segmenter


def made(
    sam2: Recording, kind: TrajectoryKind
) -> tuple[Sequence[Trajectory], TrajectoryMaker, Sequence[Prompts]]:
    sam2.asked.clear()
    # random weights draw nothing well: every gain, and every end, is good enough
    reader = ReaderSettings(0.0, satisfied_iou=1.0, least_final_iou=0.0, mix={kind: 1.0})
    maker = TrajectoryMaker(sam2, LanguageSettings(image_px=64), reader, Limits())
    outcomes = []
    for case in toy_cases(4):
        slices = ArraySlices(case.volume.intensities, sam2)
        for truth in case.truths:
            task = SliceTask(0, truth.voxels[0])
            outcomes.append(maker.make(Exercise(case, truth.target, slices, task)))
    drawn = [one for one in outcomes if isinstance(one, Trajectory) and one.kind is kind]
    return drawn, maker, list(sam2.asked)


def test_clicks_follow_each_other_on_the_mask_so_far(sam2: Recording) -> None:
    trajectories, maker, asked = made(sam2, TrajectoryKind.SEQUENTIAL_CLICK)

    assert len(trajectories) > 5
    assert all(prompts.box is None for prompts in asked)
    assert any(prompts.previous_logits is not None for prompts in asked)
    assert any(len(prompts.points) > 1 for prompts in asked)
    for one in trajectories:
        truth = next(t for t in one.case.truths if t.target == one.target).voxels[0]
        first = one.turns[0].action
        assert isinstance(first, AddPoint)  # within the structure, though written in 0..999
        assert truth[round(first.point.y), round(first.point.x)]
        assert trajectory_record(one, maker)["segmenter"] == "sam2"


def test_a_box_comes_first_and_clicks_correct_it(sam2: Recording) -> None:
    trajectories, _, asked = made(sam2, TrajectoryKind.BOX_TO_POINT)

    assert len(trajectories) > 5
    assert all(isinstance(one.turns[0].action, AddBox) for one in trajectories)
    corrected = [prompts for prompts in asked if prompts.points]
    assert corrected
    assert all(p.box is not None and p.previous_logits is not None for p in corrected)
