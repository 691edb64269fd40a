"""The whole way from files to checked results, on synthetic patients in every position, without
weights.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from agent.fakes import PHANTOM_BANDS, ScriptedPolicy, ThresholdPolicy
from agent.geometry import Geometry
from agent.knowledge import Knowledge
from agent.limits import Limits
from agent.ports import Localisation, Policy
from agent.trace import read_trace
from agent.turns import TargetResult, Turn
from agent.values import Mask, Target, TargetStatus
from dicom_node.results.check_segmentation import segment_masks
from dicom_node.series.header import read_header
from models.loaded_models import open_workbench
from server.demo.score import dice
from server.errors import NothingToReport
from server.pipeline import Pipeline, algorithm_of, read_series, summarise
from server.rules.catalogue import load_catalogue
from server.study.doubts.plausibility import REVIEW
from server.study.stage_order import StudyRun
from server.study.workfolder import EncodingStore, WorkFolder
from server.values import Assignment
from tests.support import phantoms

SHAPE = (24, 96, 96)


@pytest.fixture
def study(tmp_path: Path) -> Callable[..., tuple[Any, Pipeline]]:
    """A phantom and a pipeline over its files."""

    opened_workbench = open_workbench("threshold", "fake")

    def make(policy: Policy | None = None, **options: Any) -> tuple[Any, Pipeline]:
        workbench = opened_workbench if policy is None else replace(opened_workbench, policy=policy)
        folder = tmp_path / "study"
        folder.mkdir(exist_ok=True)
        phantom = phantoms.torso_ct(folder, shape=SHAPE, **options)
        pipeline = Pipeline(
            load=lambda assignment: read_series([read_header(path) for path in phantom.paths]),
            folder=lambda request_id: tmp_path / request_id,
            encodings=EncodingStore(tmp_path / "encodings", limit_bytes=10**9),
            workbench=lambda _: workbench,
            catalogue=load_catalogue(),
            limits=Limits(),
        )
        return phantom, pipeline

    return make


def assignment(*asked: tuple[str, str | None], request_id: str = "request-1") -> Assignment:
    targets = tuple(Target(text, key) for text, key in asked)
    return Assignment(request_id, "1.2.3", 1, None, targets)


class Opened:
    """How often each file was opened by this process while `counting`."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.counting = False
        sys.addaudithook(self._hear)

    def _hear(self, event: str, details: tuple[Any, ...]) -> None:
        if self.counting and event == "open" and isinstance(details[0], str | os.PathLike):
            self.counts[os.fspath(details[0])] += 1


@pytest.fixture(scope="module")
def opened() -> Opened:
    """An audit hook cannot be taken away again: there is one of it."""
    return Opened()


def run(pipeline: Pipeline, asked: Assignment, turns: list[Turn] | None = None) -> Any:
    turns = [] if turns is None else turns
    study = StudyRun(pipeline, asked, lambda _, turn: turns.append(turn))
    study.run()
    return study.summaries, study.results


@pytest.mark.parametrize(
    "orientation", ["axial", "sagittal", "coronal", "negated_rows", "negated_columns", "oblique"]
)
def test_the_liver_comes_back_where_it_is(
    study: Callable[..., Any], tmp_path: Path, orientation: str
) -> None:
    # Arrange
    phantom, pipeline = study(orientation=orientation, shuffle=3)
    asked = assignment(("liver", "liver"))

    # Act
    (liver,), results = run(pipeline, asked)

    # Assert: decoded from the SEG's bytes, on the source grid, against the mask that was drawn into
    # the patient
    volume = WorkFolder(tmp_path / "request-1").load_volume()
    shown = segment_masks(results[0].path, volume)["Liver"]
    assert liver.status == TargetStatus.SEGMENTED
    assert dice(shown, phantom.masks["liver"]) > 0.9
    assert liver.volume_ml == pytest.approx(
        np.count_nonzero(shown) * abs(np.linalg.det(volume.affine_zyx_to_lps[:3, :3])) / 1000,
        rel=1e-3,
    )


def test_a_source_is_opened_for_header_pixels_and_read_back_alone(
    study: Callable[..., Any], opened: Opened
) -> None:
    # Arrange
    phantom, pipeline = study()
    opened.counting = True

    # Act
    try:
        _, (seg, _) = run(pipeline, assignment(("liver", "liver")))
    finally:
        opened.counting = False

    # Assert: the patient's and the study's attributes come from the first slice, for SEG and SR,
    # and the age for what is expected; the digits of every slice are those of its file all the same
    counts = sorted(opened.counts[str(path)] for path in phantom.paths)
    assert counts[:-1] == [3] * (len(phantom.paths) - 1)
    assert counts[-1] <= 6
    written = pydicom.dcmread(seg.path)
    positions = {tuple(pydicom.dcmread(path).ImagePositionPatient) for path in phantom.paths}
    for frame in written.PerFrameFunctionalGroupsSequence:
        assert tuple(frame.PlanePositionSequence[0].ImagePositionPatient) in positions


def test_results_refer_to_the_source_and_leave_trace_and_preview(
    study: Callable[..., Any], tmp_path: Path
) -> None:
    _, pipeline = study()
    turns: list[Turn] = []
    summaries, results = run(pipeline, assignment(("Leber", "liver"), ("unicorn", None)), turns)

    assert [result.kind for result in results] == ["SEG", "SR"]
    seg = pydicom.dcmread(results[0].path)
    assert (
        seg.ReferencedSeriesSequence[0].SeriesInstanceUID
        == pipeline.select(assignment(("Leber", "liver"))).series_instance_uid
    )
    assert [s.status for s in summaries] == [TargetStatus.SEGMENTED, TargetStatus.FAILED]
    assert "does not know 'unicorn'" in summaries[1].reason
    folder = WorkFolder(tmp_path / "request-1")
    trace = read_trace(folder.trace)
    assert [target.target.text for target in trace.targets] == ["Leber", "unicorn"]
    assert trace.targets[0].turns == tuple(turns)
    assert folder.preview.read_bytes().startswith(b"\x89PNG")


def test_the_same_request_again_gives_the_same_uids_and_asks_nobody(
    study: Callable[..., Any],
) -> None:
    _, pipeline = study()
    asked = assignment(("liver", "liver"))
    _, first = run(pipeline, asked)
    turns: list[Turn] = []

    _, second = run(pipeline, asked, turns)

    assert second == first
    assert turns == []


def test_a_re_run_gives_the_same_bytes_with_the_time_of_the_request(
    study: Callable[..., Any], tmp_path: Path
) -> None:
    # Arrange
    requested_at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    asked = replace(assignment(("liver", "liver"), ("tumour", None)), requested_at=requested_at)
    _, pipeline = study()

    # Act: nothing is left of the first run
    _, results = run(pipeline, asked)
    first = {result.kind: result.path.read_bytes() for result in results}
    pipeline.discard(asked)
    shutil.rmtree(tmp_path / asked.request_id)
    _, results = run(pipeline, asked)

    # Assert
    assert {result.kind: result.path.read_bytes() for result in results} == first
    assert list(first) == ["SEG", "SR"]
    for result in results:
        written = pydicom.dcmread(result.path)
        moment = requested_at.astimezone()
        assert written.ContentDate + written.ContentTime == f"{moment:%Y%m%d%H%M%S}"


def test_the_selection_says_why_this_series(study: Callable[..., Any]) -> None:
    _, pipeline = study()

    selection = pipeline.select(assignment(("liver", "liver")))

    assert selection.why_chosen.startswith("Chosen: series ")
    assert "Beside it: no other usable series" in selection.why_chosen


def test_a_request_of_unknown_targets_alone_has_nothing_to_report(
    study: Callable[..., Any],
) -> None:
    _, pipeline = study()
    asked = assignment(("unicorn", None))

    with pytest.raises(NothingToReport, match="unicorn"):
        run(pipeline, asked)


def test_an_open_question_is_reported_as_one_and_has_no_segment(study: Callable[..., Any]) -> None:
    # Arrange
    likely = (0.99,) * SHAPE[0]
    survey = Localisation(likely, (), "nothing there", doubts=("an odd view",))
    _, pipeline = study(ScriptedPolicy(survey, {}))

    # Act
    (summary,), (report,) = run(pipeline, assignment(("liver", "liver")))

    # Assert
    assert (summary.status, summary.volume_ml, summary.confidence) == ("uncertain", None, None)
    assert report.kind == "SR"
    document = report.path.read_bytes()
    assert b"Undetermined" in document
    assert b"Not visualized" not in document
    assert b"nothing there; an odd view" in document


class _Exclusive(ThresholdPolicy):
    """Knows structures that exclude each other, and takes the liver for the spleen."""

    def __init__(self) -> None:
        super().__init__({"liver": PHANTOM_BANDS["liver"], "spleen": PHANTOM_BANDS["liver"]})

    @property
    def knowledge(self) -> Knowledge:
        return replace(super().knowledge, exclusive=True)


def test_two_exclusive_structures_with_the_same_voxels_are_both_doubted(
    study: Callable[..., Any],
) -> None:
    _, pipeline = study(_Exclusive())

    (_, spleen), (seg, _) = run(pipeline, assignment(("liver", "liver"), ("spleen", "spleen")))

    shared = "100% of the smaller one's voxels are also in liver"
    assert [warning.startswith(shared) for warning in spleen.warnings].count(True) == 1
    assert spleen.for_review
    described = [s.SegmentDescription for s in pydicom.dcmread(seg.path).SegmentSequence]
    assert "also in Spleen" in described[0]
    assert described[1].count("also in") == 1
    assert [text.count(REVIEW) for text in described] == [1, 1]


def test_an_implausible_structure_is_for_review_wherever_a_reader_looks(
    study: Callable[..., Any],
) -> None:
    # what is called the left kidney is the liver: on the other side, and ten times too large
    _, pipeline = study(ThresholdPolicy({"left_kidney": PHANTOM_BANDS["liver"]}))

    (kidney,), (seg, sr) = run(pipeline, assignment(("left kidney", "left_kidney")))

    assert kidney.for_review
    assert any("right half of the body" in warning for warning in kidney.warnings)
    assert any("is more than the 50 to 500 ml" in warning for warning in kidney.warnings)
    written = pydicom.dcmread(seg.path)
    assert written.SeriesDescription.startswith("AI SEG for review: Left kidney")
    assert written.ContentDescription == "AI, for review: Left kidney"
    assert REVIEW in written.SegmentSequence[0].SegmentDescription
    comments = pydicom.dcmread(sr.path).to_json()
    assert REVIEW in comments


def test_a_plausible_structure_is_not_for_review(study: Callable[..., Any]) -> None:
    _, pipeline = study()

    (liver,), (seg, _) = run(pipeline, assignment(("liver", "liver")))

    assert not liver.for_review
    assert REVIEW not in liver.warnings
    assert "review" not in pydicom.dcmread(seg.path).SeriesDescription


def test_a_mask_that_vanishes_on_the_source_grid_is_not_called_absent() -> None:
    geometry = Geometry((1, 2, 2), np.eye(4))
    voxels = np.zeros((1, 2, 2), dtype=np.bool_)
    drawn = TargetResult(Target("liver"), TargetStatus.SEGMENTED, ~voxels, 0.9, ())

    summary = summarise(0, drawn, Mask(voxels, geometry))

    assert (summary.status, summary.volume_ml) == ("uncertain", None)
    assert "smaller than one voxel" in summary.reason


def test_discard_keeps_results_and_removes_the_volume(
    study: Callable[..., Any], tmp_path: Path
) -> None:
    _, pipeline = study()
    asked = assignment(("liver", "liver"))
    _, results = run(pipeline, asked)

    pipeline.discard(asked)

    left = {path.name for path in (tmp_path / "request-1").iterdir()}
    assert left == {
        "seg.dcm",
        "sr.dcm",
        "trace.json",
        "turns.masks",
        "source.json",
        "preview.png",
        "target-000.json",
        "target-000.npz",
    }
    assert all(result.path.is_file() for result in results)


def test_a_result_names_the_settings_that_decided_over_it() -> None:
    workbench = open_workbench("threshold", "fake")

    ours = algorithm_of(workbench, Limits())
    again = algorithm_of(workbench, Limits())
    other = algorithm_of(workbench, replace(Limits(), max_turns=Limits().max_turns + 1))

    assert len(ours.settings_sha256) == 64
    assert ours.settings_sha256 == again.settings_sha256 != other.settings_sha256
    assert ours.prompts_sha256 == ""


def test_a_result_names_the_prompts_of_a_language_model() -> None:
    workbench = open_workbench("threshold", "fake")

    class Asked(ThresholdPolicy):
        prompts_sha256 = "ab"

    assert algorithm_of(replace(workbench, policy=Asked()), Limits()).prompts_sha256 == "ab"


def test_the_same_answer_is_given_again_file_by_file(
    study: Callable[..., Any], tmp_path: Path
) -> None:
    # Arrange
    _, pipeline = study()
    _, results = run(pipeline, assignment(("liver", "liver")))
    again = assignment(("Leber", "liver"), request_id="request-2")
    pipeline.select(again)

    # Act
    repeated = pipeline.reuse(again, "request-1", results)

    # Assert
    assert [each.path.parent for each in repeated] == [tmp_path / "request-2"] * len(results)
    for before, after in zip(results, repeated, strict=True):
        assert after.path.read_bytes() == before.path.read_bytes()
        assert replace(after, path=before.path) == before
    # nothing is given where a file has gone
    results[0].path.unlink()
    third = replace(again, request_id="request-3")
    assert pipeline.reuse(third, "request-1", results) is None
    assert WorkFolder(tmp_path / "request-3").load_target(0) is None


def test_what_decides_an_answer_is_in_its_digest(study: Callable[..., Any]) -> None:
    _, pipeline = study()
    liver = pipeline.answer_digest(assignment(("liver", "liver")))

    # however it is written and whoever asks
    assert pipeline.answer_digest(assignment(("Leber", "liver"), request_id="2")) == liver
    assert pipeline.answer_digest(assignment(("spleen", "spleen"))) != liver
    assert pipeline.answer_digest(assignment(("liver", None))) != liver
    pipeline._limits = replace(Limits(), max_turns=3)
    assert pipeline.answer_digest(assignment(("liver", "liver"))) != liver
