"""The child that draws turns: the pictures of `segnode replay`, of one request at a time."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from agent.errors import ReplayDiffers
from agent.limits import Limits
from agent.trace import read_trace, turn_record, write_trace
from agent.turns import Turn
from dicom_node.voxels import Voxels
from models.loaded_models import open_workbench
from server.errors import ReplayError
from server.local import LocalModels, LocalRun, asked_targets, segment_files
from server.rules.catalogue import load_catalogue
from server.study.picture_child import TurnDrawer, answer_to
from server.study.request_replay import RequestReplay
from server.study.workfolder import WorkFolder
from server.values import TargetSummary
from tests.support import phantoms

CATALOGUE = load_catalogue()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished request and its series beside it; to be copied."""
    root = tmp_path_factory.mktemp("finished")
    phantoms.torso_ct(root / "series", shape=(4, 64, 64), spacing_mm=(20.0, 4.0, 4.0))
    local = LocalModels(lambda: open_workbench("threshold", "fake"), CATALOGUE, Limits())
    run = LocalRun(root / "series", asked_targets(["liver", "spleen"], CATALOGUE), root / "out")
    segment_files(run, local, lambda *_: None)
    return root


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "copy")
    return tmp_path / "copy" / "out"


def turns_of(out: Path) -> list[tuple[int, Turn]]:
    """Every turn with its target's index."""
    targets = read_trace(out / "trace.json").targets
    return [(index, turn) for index, traced in enumerate(targets) for turn in traced.turns]


def test_the_picture_of_a_turn_is_that_of_replay(out: Path) -> None:
    replay, drawer = RequestReplay(out), TurnDrawer()
    turns = [(i, turn) for i in range(len(replay.targets)) for turn in replay.target(i).turns]
    assert len(turns) > 5

    for index, replayed in turns:
        png = drawer.png(out, index, replayed.turn)
        picture = np.asarray(Image.open(io.BytesIO(png)))
        assert np.array_equal(picture, replay.picture(index, replayed))


def test_one_volume_is_read_once_and_another_takes_its_place(out: Path, tmp_path: Path) -> None:
    # Arrange
    shutil.copytree(out.parent, tmp_path / "other")
    other = tmp_path / "other" / "out"
    reads: list[Path] = []

    def opened(folder: Path) -> RequestReplay:
        reads.append(folder)
        return RequestReplay(folder)

    drawer, turns = TurnDrawer(opened), turns_of(out)

    # Act
    for index, turn in turns[:3]:
        drawer.png(out, index, turn)
    drawer.png(other, *turns[0])
    drawer.png(out, *turns[0])

    # Assert
    assert reads == [out, other, out]


def test_what_is_deleted_meanwhile_is_not_drawn_from_memory(out: Path) -> None:
    drawer, (index, turn) = TurnDrawer(), turns_of(out)[0]
    drawer.png(out, index, turn)
    masks = (out / "turns.masks").read_bytes()

    (out / "turns.masks").unlink()
    with pytest.raises(ReplayError, match="the masks of these turns are gone"):
        drawer.png(out, index, turn)

    (out / "turns.masks").write_bytes(masks)
    drawer.png(out, index, turn)
    next((out.parent / "series").iterdir()).unlink()
    with pytest.raises(ReplayError, match="the study is not here any more"):
        drawer.png(out, index, turn)


def test_a_row_that_is_not_in_the_trace_or_another_there_has_no_picture(out: Path) -> None:
    drawer, (index, turn) = TurnDrawer(), turns_of(out)[0]

    with pytest.raises(ReplayDiffers, match="in the database and not in the trace"):
        drawer.png(out, index, replace(turn, index=99))
    with pytest.raises(ReplayDiffers, match="the trace has no target 2"):
        drawer.png(out, 2, turn)
    with pytest.raises(ReplayDiffers, match="trace and database differ in its score"):
        drawer.png(out, index, replace(turn, score=0.123))


def test_turns_that_lead_elsewhere_are_not_drawn(out: Path) -> None:
    trace = read_trace(out / "trace.json")
    liver = replace(trace.targets[0], confidence=trace.targets[0].confidence / 2)
    write_trace(out / "trace.json", replace(trace, targets=(liver, *trace.targets[1:])))

    with pytest.raises(ReplayDiffers, match="the turns lead to a confidence of"):
        TurnDrawer().png(out, *turns_of(out)[0])


def test_turns_that_lead_to_another_mask_than_the_kept_one_are_not_drawn(out: Path) -> None:
    # Arrange: beside the turns of the liver lies a mask of one voxel
    traced = read_trace(out / "trace.json").targets[0]
    summary = TargetSummary(0, "liver", "liver", traced.status, "", 1.0, len(traced.turns), 0.9)
    voxel = Voxels((4, 64, 64), (0, 0, 0), np.ones((1, 1, 1), dtype=np.bool_))
    WorkFolder(out).save_target(summary, voxel, traced)

    with pytest.raises(ReplayDiffers, match="another mask than the one that was kept"):
        TurnDrawer().png(out, *turns_of(out)[0])


def question(folder: Path, index: int, turn: Turn) -> dict[str, Any]:
    return {"folder": str(folder), "target": index, "turn": turn_record(turn)}


def test_an_answer_is_a_picture_or_a_sentence(out: Path, tmp_path: Path) -> None:
    index, turn = turns_of(out)[0]
    drawer = TurnDrawer()

    assert base64.b64decode(answer_to(question(out, index, turn), drawer)["png"])[1:4] == b"PNG"
    gone = answer_to(question(tmp_path / "nowhere", index, turn), drawer)
    assert gone == {"gone": "no trace of the request's turns is here to draw from"}

    def too_large(_: Path) -> RequestReplay:
        raise MemoryError

    answer = answer_to(question(out, index, turn), TurnDrawer(too_large))
    assert answer == {"failed": "takes too much memory"}


def child(most_memory_bytes: int, idle_s: float, text: str | None) -> list[str]:
    """What the process says to `text`; None holds its input open until it ends by itself."""
    command = [sys.executable, "-m", "server.study.picture_child", str(most_memory_bytes)]
    with subprocess.Popen(
        [*command, str(idle_s)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        if text is not None:
            return process.communicate(text, timeout=60)[0].splitlines()
        assert process.wait(60) == 0
        assert process.stdout is not None
        return process.stdout.read().splitlines()


def test_the_process_answers_line_for_line(out: Path) -> None:
    lines = [json.dumps(question(out, index, turn)) for index, turn in turns_of(out)[:2]]

    ready, *answers = child(6 << 30, 60.0, "\n".join(lines) + "\n")

    assert ready == "ready"
    assert [list(json.loads(answer)) for answer in answers] == [["png"], ["png"]]


def test_the_process_ends_when_nobody_asks() -> None:
    assert child(6 << 30, 0.1, None) == ["ready"]
