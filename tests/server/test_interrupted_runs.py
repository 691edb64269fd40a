"""A `segnode segment` that is killed goes on where it was, and ends as if nothing had happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest

from agent.limits import Limits
from agent.trace import Trace, read_trace
from agent.turns import Turn
from models.loaded_models import open_workbench
from server.local import WORK_FOLDER, LocalModels, LocalRun, asked_targets, segment_files
from server.rules.catalogue import load_catalogue
from tests.support import phantoms

CATALOGUE = load_catalogue()
TARGETS = ("liver", "spleen")

Place = tuple[int, int, int]
"""A turn: target, slice, number."""


def run(path: Path, out: Path, kill_at: int = 0, targets: tuple[str, ...] = TARGETS) -> list[Place]:
    """The turns that a run took; at the `kill_at`-th (from 1) it kills this process."""
    workbench = open_workbench("threshold", "fake")
    places: list[Place] = []

    def on_turn(index: int, turn: Turn) -> None:
        places.append((index, turn.slice_index, turn.index))
        if len(places) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    models = LocalModels(lambda: workbench, CATALOGUE, Limits(), identity="fakes")
    segment_files(LocalRun(path, asked_targets(targets, CATALOGUE), out), models, on_turn)
    return places


def killed(path: Path, out: Path, kill_at: int) -> None:
    arguments = [sys.executable, "-P", __file__, str(path), str(out), str(kill_at)]
    root = Path(__file__).parents[2]
    ended = subprocess.run(
        arguments, env=os.environ | {"PYTHONPATH": str(root)}, check=False, capture_output=True
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()


def timeless(path: Path) -> Trace:
    """A trace without its times, which are never the same."""
    trace = read_trace(path)
    return Trace(
        tuple(
            replace(
                target,
                turns=tuple(replace(turn, policy_s=0.0, segmenter_s=0.0) for turn in target.turns),
            )
            for target in trace.targets
        )
    )


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ct")
    phantoms.torso_ct(folder, shape=(24, 96, 96))
    return folder


@pytest.fixture(scope="module")
def unbroken(ct: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Place]]:
    out = tmp_path_factory.mktemp("unbroken")
    return out, run(ct, out)


@pytest.mark.parametrize("part", [0.0, 0.4, 0.7, 1.0])
def test_a_killed_run_ends_as_an_unbroken_one(
    ct: Path, unbroken: tuple[Path, list[Place]], tmp_path: Path, part: float
) -> None:
    whole, places = unbroken
    kill_at = max(1, round(part * len(places)))

    killed(ct, tmp_path, kill_at)
    assert {path.name for path in tmp_path.iterdir()} == {WORK_FOLDER}
    repeated = run(ct, tmp_path)

    segs = [pydicom.dcmread(folder / "seg.dcm") for folder in (whole, tmp_path)]
    assert segs[0].SOPInstanceUID == segs[1].SOPInstanceUID
    assert segs[0].PixelData == segs[1].PixelData
    assert timeless(whole / "trace.json") == timeless(tmp_path / "trace.json")
    assert {path.name for path in whole.iterdir()} == {path.name for path in tmp_path.iterdir()}
    if part >= 0.7:  # what had ended before is not done again
        assert len(repeated) < len(places)


def test_another_question_begins_anew(
    ct: Path, unbroken: tuple[Path, list[Place]], tmp_path: Path
) -> None:
    killed(ct, tmp_path, len(unbroken[1]))

    run(ct, tmp_path, targets=("spleen",))

    (target,) = read_trace(tmp_path / "trace.json").targets
    assert target.target.text == "spleen"


if __name__ == "__main__":
    run(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
