"""An evaluation run: a line a target and method, gone on with after an interruption."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.case import Case
from agent.errors import SegmenterFailed
from agent.fakes import FakeSegmenter, ThresholdPolicy
from agent.limits import Limits
from agent.ports import Encoding, Localisation, Slices
from agent.values import Prompts, Segmentation, Target, TargetStatus
from models.errors import EvaluationFailed
from models.evaluation.methods.answers import MethodAnswer, PreparedCase
from models.evaluation.methods.policy_method import PolicyMethod
from models.evaluation.records import Shard, read_records
from models.evaluation.runner import Evaluated, evaluate, record_of
from models.evaluation.summary import summarise
from models.loaded_models import LoadedModels
from tests.models.evaluation.conftest import BANDS
from tests.support.toy_cases import toy_cases


@pytest.fixture
def method(toy_models: LoadedModels) -> PolicyMethod:
    return PolicyMethod("threshold", toy_models, Limits(), with_last_mask=True)


def run(cases: Iterable[Case], method: PolicyMethod, folder: Path, **options: Any) -> Evaluated:
    folder.mkdir(exist_ok=True)
    return evaluate(cases, [method], method.models, folder, **options)


def test_every_target_has_its_line(method: PolicyMethod, tmp_path: Path) -> None:
    told: list[str] = []
    evaluated = run(toy_cases(3), method, tmp_path, on_progress=told.append)
    records = read_records(tmp_path)
    assert (evaluated.cases, evaluated.lines_now) == (3, len(records)) == (3, 3 * 3 * 2)
    assert told[0] == "case 1 (toy-0-0): bright ellipse, threshold"
    first = records[0]
    assert (first.case_id, first.patient, first.structure) == (
        "toy-0-0",
        "patient-0-0",
        "bright_ellipse",
    )
    assert first.present
    assert first.answered
    assert first.status is TargetStatus.SEGMENTED
    assert first.quality is not None
    assert first.quality.dice > 0.95
    assert first.quality.nsd == 1.0  # 1 mm pixels are known
    assert len(first.by_turn) == 5
    assert first.turns == 2
    assert first.seconds > 0
    assert sum(record.encoder_passes for record in records[:6:2]) == 1


def interrupted(cases: list[Case]) -> Iterator[Case]:
    yield cases[0]
    raise KeyboardInterrupt


class CountsCases(PolicyMethod):
    """Remembers which targets it was asked for."""

    def answers(self, case: PreparedCase, targets: Sequence[Target]) -> Iterator[MethodAnswer]:
        ASKED.append((case.case.case_id, len(targets)))
        return super().answers(case, targets)


ASKED: list[tuple[str, int]] = []


def test_an_interrupted_run_goes_on_where_it_was(toy_models: LoadedModels, tmp_path: Path) -> None:
    ASKED.clear()
    method = CountsCases("threshold", toy_models, Limits(), with_last_mask=True)
    cases = toy_cases(2)
    with pytest.raises(KeyboardInterrupt):
        run(interrupted(cases), method, tmp_path)
    file = Shard().file(tmp_path)
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:4]) + lines[4][:20])  # killed in the middle of a line

    evaluated = run(cases, method, tmp_path)
    assert ASKED == [("toy-0-0", 3), ("toy-0-0", 1), ("toy-0-1", 3)]
    assert (evaluated.lines_before, evaluated.lines_now) == (4, 2 + 6)
    whole = tmp_path / "whole"
    whole.mkdir()
    run(cases, method, whole)
    for ours, theirs in zip(read_records(tmp_path), read_records(whole), strict=True):
        assert replace(ours, seconds=0, encoder_passes=0) == replace(
            theirs, seconds=0, encoder_passes=0
        )


class DownUntil(FakeSegmenter):
    """A segmenter whose server is down for the first `answers`."""

    def __init__(self, answers: int) -> None:
        self.down = answers

    def segment(self, encoding: Encoding, prompts: Prompts) -> Segmentation:
        self.down -= 1
        if self.down >= 0:
            raise SegmenterFailed("the server is down")
        return super().segment(encoding, prompts)


def figures(folder: Path) -> dict[str, Any]:
    """All of results.json but what a clock says."""
    timeless = [replace(r, seconds=0, encoder_passes=0) for r in read_records(folder)]
    return summarise(timeless)


@pytest.mark.parametrize("segmenter_down", [1, 4])
def test_what_failed_is_tried_again_and_what_is_done_is_not(
    toy_models: LoadedModels, tmp_path: Path, segmenter_down: int
) -> None:
    cases, whole = toy_cases(3), replace(toy_models)
    run(cases, PolicyMethod("threshold", whole, Limits(), with_last_mask=True), tmp_path / "a")
    models = replace(toy_models, segmenter=DownUntil(segmenter_down))
    method = CountsCases("threshold", models, Limits(), with_last_mask=True)
    run(cases, method, tmp_path / "b")
    failed = {record.key for record in read_records(tmp_path / "b") if record.failed}
    ASKED.clear()

    evaluated = run(cases, method, tmp_path / "b")

    assert failed
    assert all(method in ("threshold", "last-mask") for *_, method in failed)
    assert evaluated.lines_now == len(failed)
    assert sum(targets for _, targets in ASKED) == len(failed) / 2
    assert figures(tmp_path / "b") == figures(tmp_path / "a")
    assert run(cases, method, tmp_path / "b").lines_now == 0


def test_a_file_that_was_mended_gives_the_figures_of_an_unbroken_run(
    method: PolicyMethod, tmp_path: Path
) -> None:
    cases = toy_cases(5)
    run(cases, method, tmp_path / "a")
    run(cases[2:], method, tmp_path / "b")  # the first patient is missing
    run(cases, method, tmp_path / "b")
    assert figures(tmp_path / "b") == figures(tmp_path / "a")


def test_an_answer_stands_before_a_failure_of_another_part(
    toy_models: LoadedModels, method: PolicyMethod, tmp_path: Path
) -> None:
    cases = toy_cases(1)
    run(cases, method, tmp_path, shard=Shard(1, 2))
    down = replace(toy_models, segmenter=DownUntil(99))
    other = tmp_path / "other"
    run(cases, PolicyMethod("threshold", down, Limits(), with_last_mask=True), other)
    Shard(2, 2).file(tmp_path).write_text(Shard().file(other).read_text())
    assert not any(record.failed for record in read_records(tmp_path))


def test_parts_make_the_same_lines_as_one_process(method: PolicyMethod, tmp_path: Path) -> None:
    for number in (2, 1):
        run(toy_cases(3), method, tmp_path, shard=Shard(number, 2))
    assert len({record.key for record in read_records(tmp_path)}) == 3 * 3 * 2


class Raises(ThresholdPolicy):
    def localise(self, target: Target, slices: Slices) -> Localisation:
        raise ValueError(f"cannot look for {target.text}")


def test_a_policy_that_raises_counts_0_and_is_named(without_grey: Case, tmp_path: Path) -> None:
    models = LoadedModels(Raises(BANDS), FakeSegmenter())
    run([without_grey], PolicyMethod("raises", models, Limits()), tmp_path)
    records = read_records(tmp_path)
    assert {record.status for record in records} == {TargetStatus.FAILED}
    assert records[0].reason == "ValueError: cannot look for bright ellipse"
    for record in records:  # the absent grey ellipse too: nobody said that it is absent
        assert record.quality is not None
        assert (record.quality.dice, record.quality.iou, record.quality.nsd) == (0.0, 0.0, 0.0)
        assert record.quality.hd95_mm == pytest.approx(64 * 2**0.5)


class FailsAtOnce(PolicyMethod):
    def answers(self, case: PreparedCase, targets: Sequence[Target]) -> Iterator[MethodAnswer]:
        yield next(super().answers(case, targets))
        raise MemoryError


def test_a_method_that_raises_fails_what_it_has_not_answered(
    toy_models: LoadedModels, whole_case: Case, tmp_path: Path
) -> None:
    method = FailsAtOnce("x", toy_models, Limits(), with_last_mask=True)
    run([whole_case], method, tmp_path)
    statuses = [(r.method, r.failed, r.reason) for r in read_records(tmp_path)]
    assert statuses[:2] == [("x", False, ""), ("last-mask", False, "")]
    assert statuses[2:] == [("x", True, "MemoryError"), ("last-mask", True, "MemoryError")] * 2


def test_a_confidence_that_is_no_number_is_named(whole_case: Case) -> None:
    truth = whole_case.truths[0]
    for confidence in (float("nan"), 1.5):
        answer = MethodAnswer(truth.target, TargetStatus.SEGMENTED, truth.voxels, confidence)
        record = record_of(whole_case, truth, "x", answer)
        assert record.confidence is None
        assert record.faults == (f"its confidence is {confidence}, no number in 0..1",)
        assert record.quality is not None
        assert record.quality.dice == 1.0


def test_absent_rightly_is_right(without_grey: Case) -> None:
    truth = without_grey.truths[1]
    record = record_of(
        without_grey, truth, "x", MethodAnswer(truth.target, TargetStatus.ABSENT, None, 0.9)
    )
    assert record.quality is not None
    assert record.quality.dice == 1.0
    assert not record.present
    assert not record.answered_present


def test_without_a_known_spacing_there_are_no_millimetres(whole_case: Case) -> None:
    case = replace(whole_case, spacing_known=False)
    truth = case.truths[0]
    for status in (TargetStatus.SEGMENTED, TargetStatus.FAILED):
        quality = record_of(
            case, truth, "x", MethodAnswer(truth.target, status, truth.voxels)
        ).quality
        assert quality is not None
        assert (quality.nsd, quality.hd95_mm, quality.volume_error_ml) == (None, None, None)


def test_the_picture_is_of_the_slice_with_most_of_the_truth(volume_case: Case) -> None:
    truth = volume_case.truths[0]
    record = record_of(
        volume_case, truth, "x", MethodAnswer(truth.target, TargetStatus.SEGMENTED, truth.voxels)
    )
    assert record.picture is not None
    assert record.picture.slice_index == truth.voxels.sum(axis=(1, 2)).argmax()
    assert np.array_equal(record.picture.mask(), truth.voxels[record.picture.slice_index])


def test_a_mask_of_another_shape_is_refused(whole_case: Case) -> None:
    truth = whole_case.truths[0]
    answer = MethodAnswer(truth.target, TargetStatus.SEGMENTED, truth.voxels[:, :5])
    with pytest.raises(ValueError, match="cannot be compared"):
        record_of(whole_case, truth, "x", answer)


def test_two_cases_of_one_name_are_refused(method: PolicyMethod, tmp_path: Path) -> None:
    case = toy_cases(1)[0]
    with pytest.raises(EvaluationFailed, match="two cases of toy are called toy-0-0"):
        run([case, case], method, tmp_path)
