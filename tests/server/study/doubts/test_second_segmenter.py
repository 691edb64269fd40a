"""What a second segmenter makes of the same prompts is recorded, and a doubt where it disagrees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from agent.fakes import ArraySlices, FakeSegmenter
from agent.limits import Limits
from agent.ports import Encoding, Segmenter
from agent.trace import read_trace
from agent.turns import SecondOpinion, TargetResult
from agent.values import Prompts, Segmentation, Target, TargetStatus
from dicom_node.series.header import read_header
from models.loaded_models import open_workbench
from models.runtime.resources import Resources
from models.segmenters.sam.segmenter import SamSegmenter
from models.segmenters.sam2.segmenter import Sam2Segmenter
from server.pipeline import Pipeline, read_series
from server.rules.catalogue import load_catalogue
from server.study.doubts.plausibility import REVIEW
from server.study.doubts.second_segmenter import SecondSegmenter
from server.study.stage_order import StudyRun
from server.study.workfolder import EncodingStore, WorkFolder
from server.values import Assignment
from tests.support import phantoms, seeded_networks

ASKED = Assignment("request-1", "1.2.3", 1, None, (Target("liver", "liver"),))


class OtherSegmenter(FakeSegmenter):
    """FakeSegmenter under another name."""

    name = "other"


class HalfSegmenter(FakeSegmenter):
    """Draws the left half of what FakeSegmenter draws."""

    name = "half"

    def segment(self, encoding: Encoding, prompts: Prompts) -> Segmentation:
        """As FakeSegmenter, without the columns right of the mask's middle."""
        whole = super().segment(encoding, prompts)
        mask = whole.mask.copy()
        mask[:, int(np.nonzero(mask.any(axis=0))[0].mean()) :] = False
        return replace(whole, mask=mask)


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., StudyRun]:
    """A liver is segmented, with a second segmenter or without one."""
    (tmp_path / "study").mkdir()
    phantom = phantoms.torso_ct(tmp_path / "study", shape=(24, 96, 96))

    def segmented(second: SecondSegmenter | None, first: Segmenter | None = None) -> StudyRun:
        workbench = open_workbench("threshold", "fake")
        if first is not None:
            workbench = replace(workbench, segmenter=first)
        pipeline = Pipeline(
            load=lambda _: read_series([read_header(path) for path in phantom.paths]),
            folder=lambda request_id: tmp_path / request_id,
            encodings=EncodingStore(tmp_path / "encodings", limit_bytes=10**9),
            workbench=lambda _: workbench,
            catalogue=load_catalogue(),
            limits=Limits(),
            second=second,
        )
        study = StudyRun(pipeline, ASKED, lambda *_: None)
        study.run()
        return study

    return segmented


def of(segmenter: Segmenter, agree_dice: float = 0.7) -> SecondSegmenter:
    """Loaded already."""
    return SecondSegmenter(lambda: segmenter, agree_dice)


def opinion(folder: Path) -> SecondOpinion | None:
    """As the trace has it."""
    (target,) = read_trace(WorkFolder(folder / "request-1").trace).targets
    return target.second_opinion


def comments(report: Any) -> str:
    """All texts of a report."""
    return " ".join(str(item.value) for item in report.iterall() if item.keyword == "TextValue")


def test_two_that_disagree_are_a_doubt_in_every_result(
    run: Callable[..., StudyRun], tmp_path: Path
) -> None:
    study = run(of(HalfSegmenter()))

    told = opinion(tmp_path)
    assert told is not None
    assert told.segmenter == "half"
    assert told.dice == pytest.approx(2 / 3, abs=0.08)
    (liver,) = study.summaries
    (sentence,) = [text for text in liver.warnings if "disagree" in text]
    assert sentence.startswith(f"two segmenters disagree: Dice {told.dice:.2f} on ")
    assert liver.for_review  # which is what a route that holds doubtful results looks at
    assert liver.warnings[-1] == REVIEW
    seg, report = (pydicom.dcmread(result.path) for result in study.results)
    assert sentence in seg.SegmentSequence[0].SegmentDescription
    assert sentence in comments(report)
    assert seg.SeriesDescription.startswith("AI SEG for review")


def test_two_that_agree_are_on_record_and_no_doubt(
    run: Callable[..., StudyRun], tmp_path: Path
) -> None:
    (liver,) = run(of(OtherSegmenter())).summaries

    told = opinion(tmp_path)
    assert told is not None
    assert told.dice is not None
    assert told.dice > 0.95
    assert not liver.for_review


def test_without_a_second_one_nothing_is_said(run: Callable[..., StudyRun], tmp_path: Path) -> None:
    (liver,) = run(None).summaries

    assert opinion(tmp_path) is None
    assert not any("segmenter" in text for text in liver.warnings)
    assert not liver.for_review


def test_one_that_draws_nothing_is_said_to_have_no_opinion() -> None:
    second = of(FakeSegmenter())
    voxels = np.ones((1, 2, 2), dtype=np.bool_)
    result = TargetResult(Target("liver"), TargetStatus.SEGMENTED, voxels, 0.9, ())
    silent = replace(result, second_opinion=SecondOpinion("sam", None))
    absent = TargetResult(Target("liver"), TargetStatus.ABSENT, None, 0.9, ())

    assert second.doubts(silent) == ("sam drew nothing for these prompts: no second opinion",)
    slices = ArraySlices(np.ones((1, 2, 2), dtype=np.float32), FakeSegmenter())
    assert second.look_at(absent, slices, "sam", Limits()) is absent
    assert second.look_at(result, slices, "fake", Limits()) is result  # it drew itself
    assert second.doubts(absent) == ()


def test_two_real_segmenters_see_the_same_prompts(
    run: Callable[..., StudyRun], tmp_path: Path
) -> None:
    # Arrange: narrow networks with seeded weights, which know nothing of livers
    resources = Resources(cache_dir=tmp_path, threads=1, device="cpu")
    sam2 = Sam2Segmenter(
        "sam2",
        seeded_networks.sam2_checkpoint(tmp_path),
        seeded_networks.NARROW,
        resources=resources,
    )
    sam = SamSegmenter(
        "sam",
        seeded_networks.sam_checkpoint(tmp_path),
        seeded_networks.NARROW_SAM,
        resources=resources,
    )

    # Act
    (liver,) = run(of(sam, agree_dice=0.999), first=sam2).summaries

    # Assert
    told = opinion(tmp_path)
    assert told is not None
    assert (told.segmenter, len(told.slices) > 0) == ("sam", True)
    assert told.dice is not None
    assert 0 <= told.dice < 0.999
    assert any("two segmenters disagree" in text for text in liver.warnings)
