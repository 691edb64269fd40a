"""Targets outlined one by one, followed together, finished one by one: in one process, and across a
crash.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.fakes import FakeVolumeSegmenter, ThresholdPolicy
from agent.limits import Limits
from agent.trace import turn_record
from agent.turns import WHOLE_VOLUME, TargetResult, Turn
from agent.values import Role, Target, TargetStatus
from agent.volume.outline import Outline
from dicom_node.series.header import read_header
from models.images.windows import ABDOMEN
from models.loaded_models import LoadedModels
from server.errors import OutlineLost
from server.pipeline import Pipeline, read_series
from server.rules.catalogue import load_catalogue
from server.study.outline_files import read_outline, write_outline
from server.study.stage_order import StudyRun
from server.study.turn_mask_file import read_turn_masks
from server.study.workfolder import EncodingStore, WorkFolder
from server.values import Assignment
from tests.support import phantoms

ASKED = (Target("liver", "liver"), Target("spleen", "spleen"))
LOST = Target("unicorn")


@pytest.fixture
def segmenter() -> FakeVolumeSegmenter:
    return FakeVolumeSegmenter()


@pytest.fixture
def bench(segmenter: FakeVolumeSegmenter) -> LoadedModels:
    return LoadedModels(ThresholdPolicy(), segmenter, window=ABDOMEN)


@pytest.fixture
def make_pipeline(tmp_path: Path) -> Callable[[LoadedModels], Pipeline]:
    (tmp_path / "study").mkdir()
    phantom = phantoms.torso_ct(tmp_path / "study", shape=(24, 96, 96))

    def make(bench: LoadedModels) -> Pipeline:
        return Pipeline(
            load=lambda assignment: read_series([read_header(path) for path in phantom.paths]),
            folder=lambda request_id: tmp_path / request_id,
            encodings=EncodingStore(tmp_path / "encodings", limit_bytes=10**9),
            workbench=lambda _: bench,
            catalogue=load_catalogue(),
            limits=Limits(),
        )

    return make


def test_all_targets_are_followed_in_one_pass(
    bench: LoadedModels,
    segmenter: FakeVolumeSegmenter,
    make_pipeline: Callable[[LoadedModels], Pipeline],
) -> None:
    # Arrange
    pipeline, turns = make_pipeline(bench), []
    asked = Assignment("request-1", "1.2.3", 1, None, (*ASKED, LOST))
    study = StudyRun(pipeline, asked, lambda index, turn: turns.append((index, turn)))

    # Act
    study.run()

    # Assert: one turn of the whole volume each, no slice twice in a direction
    carried = [(index, turn.slice_index) for index, turn in turns if turn.role is Role.CARRY]
    assert carried == [(0, WHOLE_VOLUME), (1, WHOLE_VOLUME)]
    summaries = study.summaries
    counts = Counter(index for index, _ in turns)
    assert [counts[index] for index in range(3)] == [one.turns for one in summaries]
    visits = [z for z, _ in segmenter.steps]
    assert max(Counter(visits).values()) <= 2  # once on the way up, once on the way down
    assert any(objects == (0, 1) for _, objects in segmenter.steps)
    assert [one.status for one in summaries] == ["segmented", "segmented", "failed"]
    assert all(one.volume_ml for one in summaries[:2])


def test_a_new_process_goes_on_from_what_was_done(
    make_pipeline: Callable[[LoadedModels], Pipeline], tmp_path: Path
) -> None:
    # Arrange: one process outlines and follows, and dies
    first = LoadedModels(ThresholdPolicy(), FakeVolumeSegmenter(), window=ABDOMEN)
    asked = Assignment("request-1", "1.2.3", 1, None, ASKED)
    pipeline = make_pipeline(first)
    pipeline.select(asked)
    heard: list[Turn] = []
    for index in range(len(ASKED)):
        pipeline.outline(asked, index, heard.append)
    pipeline.follow(asked, lambda _, turn: heard.append(turn))

    # Act: the next repeats every step
    class Unasked(ThresholdPolicy):
        def localise(self, target: Any, slices: Any) -> Any:
            raise AssertionError("it was surveyed before")

    segmenter = FakeVolumeSegmenter()
    again = make_pipeline(LoadedModels(Unasked(), segmenter, window=ABDOMEN))
    repeated: list[Turn] = []
    for index in range(len(ASKED)):
        again.outline(asked, index, repeated.append)
    again.follow(asked, lambda _, turn: repeated.append(turn))
    summary = again.finish(asked, 0, repeated.append)

    # Assert
    assert repeated == []
    assert segmenter.steps == []
    assert summary.status == TargetStatus.SEGMENTED
    assert summary.turns == len([t for t in heard if t.slice_index != WHOLE_VOLUME]) // 2 + 1
    again.discard(asked)
    assert not list((tmp_path / "request-1").glob("outline-*"))


def test_a_target_whose_outline_is_gone_is_not_drawn_a_second_way(
    bench: LoadedModels, make_pipeline: Callable[[LoadedModels], Pipeline], tmp_path: Path
) -> None:
    # Arrange
    pipeline = make_pipeline(bench)
    asked = Assignment("request-1", "1.2.3", 1, None, ASKED)
    pipeline.select(asked)
    for index in range(len(ASKED)):
        pipeline.outline(asked, index, lambda turn: None)
    for path in (tmp_path / "request-1").glob("outline-001*"):
        path.unlink()

    # Act
    pipeline.follow(asked, lambda index, turn: None)

    # Assert
    assert pipeline.finish(asked, 0, lambda turn: None).status == "segmented"
    with pytest.raises(OutlineLost, match="'spleen' is not in the work folder"):
        pipeline.finish(asked, 1, lambda turn: None)


class TestOutlineFiles:
    def test_an_outline_comes_back_as_it_was(
        self, bench: LoadedModels, make_pipeline: Callable[[LoadedModels], Pipeline], tmp_path: Path
    ) -> None:
        # Arrange
        pipeline = make_pipeline(bench)
        asked = Assignment("request-1", "1.2.3", 1, None, ASKED)
        pipeline.select(asked)
        pipeline.outline(asked, 0, lambda turn: None)
        outline = WorkFolder(tmp_path / "request-1").load_outline(0)
        assert outline is not None

        # Act
        write_outline(tmp_path / "again.npz", outline)
        back = read_outline(tmp_path / "again.npz")

        # Assert
        assert back is not None
        assert back.target == Target("liver", "liver")
        assert (back.presence, back.scores) == (outline.presence, outline.scores)
        assert (back.key_slices, back.warnings) == (outline.key_slices, outline.warnings)
        assert [turn_record(t) for t in back.turns] == [turn_record(t) for t in outline.turns]
        assert sorted(back.masks) == sorted(outline.masks) == sorted(outline.key_slices)
        for z, mask in outline.masks.items():
            assert np.array_equal(back.masks[z], mask)
            assert back.masks[z].dtype == np.bool_

    def test_an_early_end_comes_back_too(self, tmp_path: Path) -> None:
        target = Target("Gallenblase", "gallbladder")
        ended = TargetResult(
            target, TargetStatus.ABSENT, None, 0.8, (), "nowhere", ("thin slab",), "abdomen"
        )

        write_outline(tmp_path / "o.npz", Outline(target, warnings=("thin slab",), ended=ended))
        back = read_outline(tmp_path / "o.npz")

        assert back is not None
        assert back.ended is not None
        assert vars(back.ended) == vars(ended)
        assert back.masks == {}
        assert not back.followed


class Killed(BaseException):
    """The worker is gone."""


@pytest.mark.parametrize("at", [0, 1, 3, 4])
def test_a_kill_between_mask_and_row_leaves_no_row_without_its_mask(
    bench: LoadedModels, make_pipeline: Callable[[LoadedModels], Pipeline], tmp_path: Path, at: int
) -> None:
    # Arrange: a record of rows, each written after the worker may have been killed
    asked = Assignment("request-1", "1.2.3", 1, None, ASKED)
    file = tmp_path / "request-1" / "turns.masks"
    rows: dict[tuple[int, int, int], str] = {}
    told: list[int] = []

    def on_turn(index: int, turn: Turn) -> None:
        told.append(index)
        if len(told) == at + 1:
            raise Killed
        if turn.masks is not None:
            rows[(index, turn.slice_index, turn.index)] = turn.masks.digest

    # Act: killed, then the steps are repeated by another process
    with pytest.raises(Killed):
        StudyRun(make_pipeline(bench), asked, on_turn).run()
    StudyRun(make_pipeline(bench), asked, on_turn).run()

    # Assert
    kept = list(read_turn_masks(file))
    assert rows
    assert {(*key, digest) for key, digest in rows.items()} == set(kept)
    assert len(kept) == len(set(kept))
    size = file.stat().st_size
    StudyRun(make_pipeline(bench), asked, on_turn).run()
    assert file.stat().st_size == size
