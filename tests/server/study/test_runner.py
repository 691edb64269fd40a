"""Targets outlined one by one, followed together, finished one by one: in one process, and across a
crash.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.fakes import FakeVolumeSegmenter, ThresholdPolicy
from agent.limits import Limits
from agent.trace import turn_record
from agent.turns import WHOLE_VOLUME, TargetResult, Turn
from agent.values import Role, Target, TargetStatus, Volume
from agent.volume.outline import Outline
from dicom_node.series.header import read_header
from models.images.windows import ABDOMEN
from models.loaded_models import LoadedModels
from server.pipeline import Pipeline
from server.rules.catalogue import load_catalogue
from server.study.outline_files import read_outline, write_outline
from server.study.runner import VolumeWork, work_on_targets
from server.study.workfolder import EncodingStore, WorkFolder
from server.values import AskedTarget, Assignment

ASKED = (AskedTarget(0, "liver", "liver"), AskedTarget(1, "spleen", "spleen"))
LOST = AskedTarget(2, "unicorn", None)


@pytest.fixture
def bench() -> LoadedModels:
    return LoadedModels(ThresholdPolicy(), FakeVolumeSegmenter(), window=ABDOMEN)


@pytest.fixture
def make_pipeline(phantoms: Any, tmp_path: Path) -> Any:
    (tmp_path / "study").mkdir()
    phantom = phantoms.torso_ct(tmp_path / "study", shape=(24, 96, 96))

    def make(bench: LoadedModels) -> Pipeline:
        return Pipeline(
            headers=lambda assignment: [read_header(path) for path in phantom.paths],
            folder=lambda request_id: tmp_path / request_id,
            encodings=EncodingStore(tmp_path / "encodings", limit_bytes=10**9),
            workbench=lambda _: bench,
            catalogue=load_catalogue(),
            limits=Limits(),
        )

    return make


def test_all_targets_are_followed_in_one_pass(bench: LoadedModels, make_pipeline: Any) -> None:
    # Arrange
    pipeline, turns = make_pipeline(bench), []
    asked = Assignment("request-1", "1.2.3", 1, None, (*ASKED, LOST))
    pipeline.select(asked)

    # Act
    for one in asked.targets:
        pipeline.outline(asked, one.index, lambda turn: None)
    pipeline.follow(asked, lambda index, turn: turns.append((index, turn.slice_index, turn.role)))
    summaries = [pipeline.segment(asked, one.index, lambda turn: None) for one in asked.targets]

    # Assert: one turn of the whole volume each, no slice twice in a direction
    assert turns == [(0, WHOLE_VOLUME, Role.CARRY), (1, WHOLE_VOLUME, Role.CARRY)]
    visits = [z for z, _ in bench.segmenter.drawn]
    assert max(Counter(visits).values()) <= 2  # once on the way up, once on the way down
    assert any(objects == (0, 1) for _, objects in bench.segmenter.drawn)
    assert [one.status for one in summaries] == ["segmented", "segmented", "failed"]
    assert all(one.volume_ml for one in summaries[:2])


def test_a_new_process_goes_on_from_what_was_done(make_pipeline: Any, tmp_path: Path) -> None:
    # Arrange: one process outlines and follows, and dies
    first = LoadedModels(ThresholdPolicy(), FakeVolumeSegmenter(), window=ABDOMEN)
    asked = Assignment("request-1", "1.2.3", 1, None, ASKED)
    pipeline = make_pipeline(first)
    pipeline.select(asked)
    heard: list[Turn] = []
    for one in ASKED:
        pipeline.outline(asked, one.index, heard.append)
    pipeline.follow(asked, lambda _, turn: heard.append(turn))

    # Act: the next repeats every step
    class Unasked(ThresholdPolicy):
        def survey(self, target: Any, slices: Any) -> Any:
            raise AssertionError("it was surveyed before")

    second = LoadedModels(Unasked(), FakeVolumeSegmenter(), window=ABDOMEN)
    again = make_pipeline(second)
    repeated: list[Turn] = []
    for one in ASKED:
        again.outline(asked, one.index, repeated.append)
    again.follow(asked, lambda _, turn: repeated.append(turn))
    summary = again.segment(asked, 0, repeated.append)

    # Assert
    assert repeated == []
    assert second.segmenter.drawn == []
    assert summary.status == TargetStatus.SEGMENTED
    assert summary.turns == len([t for t in heard if t.slice_index != WHOLE_VOLUME]) // 2 + 1
    again.discard(asked)
    assert not list((tmp_path / "request-1").glob("outline-*"))


def test_files_go_the_same_way(bench: LoadedModels, phantoms: Any, tmp_path: Path) -> None:
    # Arrange
    phantom = phantoms.torso_ct(tmp_path, shape=(24, 96, 96))
    from dicom_node.volume.volume import load_volume
    from server.pipeline import agent_volume

    loaded = agent_volume(load_volume([read_header(path) for path in phantom.paths]))
    prepared = bench.prepare(Volume(loaded.intensities, loaded.geometry, "CT"), None)
    told: list[int] = []
    finished: list[int] = []

    class Watched(VolumeWork):
        def finish(self, asked: AskedTarget, *rest: Any) -> TargetResult:
            finished.append(asked.index)
            return super().finish(asked, *rest)

    # Act
    work = Watched(bench, prepared, Limits())
    results = work_on_targets(work, (*ASKED, LOST), lambda index, _: told.append(index))
    liver = next(results)
    finished_with_liver = list(finished)
    spleen, unicorn = results

    # Assert
    assert finished_with_liver == [0]  # whoever takes it need not wait for, or keep, the others
    assert [one.status for one in (liver, spleen, unicorn)] == ["segmented", "segmented", "failed"]
    assert len(liver.turns) == told.count(0)
    assert len(spleen.turns) == told.count(1)
    assert told.count(2) == 0
    visits = [z for z, _ in bench.segmenter.drawn]
    assert max(Counter(visits).values()) <= 2  # once on the way up, once on the way down


class TestOutlineFiles:
    def test_an_outline_comes_back_as_it_was(
        self, bench: LoadedModels, make_pipeline: Any, tmp_path: Path
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

        assert back.ended is not None
        assert vars(back.ended) == vars(ended)
        assert back.masks == {}
        assert not back.followed
