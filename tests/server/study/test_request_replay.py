"""A finished request gone through again from its files: pixel for pixel what was shown, or a
sentence.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from agent.conditions import PictureSettings
from agent.errors import ReplayDiffers
from agent.language.chat import Conversation, Picture
from agent.language.fakes import ScriptedChat
from agent.language.policy import LanguagePolicy
from agent.language.settings import LanguageSettings
from agent.limits import Limits
from agent.ports import Observation, Reply
from agent.recorded import ReplayedTurn
from agent.trace import Trace, read_trace, write_trace
from agent.turns import Outcome
from agent.values import Role
from models.loaded_models import LoadedModels, open_workbench
from server.cli import main
from server.errors import ReplayError
from server.local import LocalModels, LocalRun, asked_targets, segment_files
from server.rules.catalogue import load_catalogue
from server.study.request_replay import RequestReplay
from server.study.turn_pictures import shown_pictures
from tests.support import phantoms

Pixels = NDArray[np.uint8]
CATALOGUE = load_catalogue()


class Watched:
    """A policy whose observations are kept."""

    def __init__(self, policy: Any) -> None:
        self._policy = policy
        self.seen: list[Observation] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)

    def act(self, observation: Observation) -> Reply:
        self.seen.append(observation)
        return self._policy.act(observation)


def segmented(models: LoadedModels, source: Path, out: Path, *targets: str) -> Path:
    """What `segnode segment` leaves of these targets."""
    local = LocalModels(lambda: models, CATALOGUE, Limits())
    run = LocalRun(source, asked_targets(targets, CATALOGUE), out)
    segment_files(run, local, lambda *_: None)
    return out


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The series of a torso."""
    folder = tmp_path_factory.mktemp("ct") / "series"
    phantoms.torso_ct(folder, shape=(6, 96, 96), spacing_mm=(20.0, 4.0, 4.0))
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, ct: Path) -> Path:
    """A folder of `segnode segment` with its study beside it; to be copied before it is changed."""
    root = tmp_path_factory.mktemp("finished")
    shutil.copytree(ct, root / "series")
    models = open_workbench("threshold", "fake")
    return segmented(models, root / "series", root / "out", "liver", "spleen")


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished folder and its study."""
    shutil.copytree(finished.parent, tmp_path / "copy")
    return tmp_path / "copy" / "out"


@pytest.mark.parametrize("planner", ["threshold", "locator"])
def test_what_was_shown_is_drawn_again_pixel_for_pixel(
    planner: str, ct: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a phantom is like no slice that the locator learnt: here it is asked nevertheless
    monkeypatch.setattr("models.policies.locator.policy.unlike_learnt", lambda distances: "")
    # Arrange: a run in which every observation is kept, with the slices it was made on
    models = open_workbench(planner, "fake")
    watched = Watched(models.policy)
    out = segmented(replace(models, policy=watched), ct, tmp_path / "out", "liver")
    assert watched.seen

    # Act
    replay = RequestReplay(out)
    again = {}
    for index, traced in enumerate(replay.targets):
        for turn in replay.target(index).turns:
            pixels = shown_pictures(turn, traced.target, replay.slices(index), PictureSettings())
            again[(traced.target.text, turn.turn.slice_index, turn.turn.index)] = pixels

    # Assert
    counts: dict[tuple[str, int], int] = {}
    for observation in watched.seen:
        place = observation.target.text, observation.slice_index
        index = counts.get(place, 0)
        counts[place] = index + 1
        seen = ReplayedTurn(replay.targets[0].turns[0], observation)
        during = shown_pictures(seen, observation.target, observation.slices, PictureSettings())
        assert [p.tobytes() for p in again[(*place, index)]] == [p.tobytes() for p in during]


def call(name: str, **arguments: object) -> str:
    return f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"


def test_a_language_model_s_pictures_are_drawn_again_pixel_for_pixel(
    ct: Path, tmp_path: Path
) -> None:
    # Arrange: it names slices, then boxes and clicks, and finds two slices wrong at the end
    def say(conversation: Conversation) -> str:
        offered = conversation.messages[0].text
        if "name_slices" in offered:
            return call("name_slices", slices=[3, 2])
        boxes = ([200, 250, 600, 700], [250, 300, 500, 650], [180, 200, 640, 720])
        turn = sum(message.role == "assistant" for message in conversation.messages)
        if turn < len(boxes):
            return call("add_bbox", bbox_2d=boxes[turn])
        return call("stop_action")

    chat = ScriptedChat(say)
    settings = LanguageSettings(image_px=160, zoom=True, tile_px=64, sheet_slices=3, sheets=2)
    policy = LanguagePolicy(chat, settings)
    models = replace(open_workbench("threshold", "fake"), policy=policy)
    out = segmented(models, ct, tmp_path / "out", "liver")

    # Act
    replay = RequestReplay(out)
    again = [
        tuple(
            picture.tobytes()
            for picture in shown_pictures(
                turn, replay.targets[0].target, replay.slices(0), settings.pictures
            )
        )
        for turn in replay.target(0).turns
    ]

    # Assert: a turn's pictures are those of the newest message it answered
    assert replay.targets[0].conditions is not None
    assert replay.targets[0].conditions.pictures == settings.pictures
    roles = {turn.role for turn in replay.targets[0].turns}
    assert {Role.SURVEY, Role.KEY, Role.CARRY} <= roles
    shown = [
        tuple(
            part.pixels.tobytes()
            for part in conversation.messages[-1].parts
            if isinstance(part, Picture)
        )
        for conversation in chat.conversations
    ]
    assert len(shown) == len(again)
    assert sorted(shown) == sorted(again)


def test_every_turn_has_a_picture_and_a_line_tells_what_agreed(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(out), "--out", str(tmp_path / "pictures")]) == 0

    said = capsys.readouterr().out
    turns = {one.target.text: len(one.turns) for one in read_trace(out / "trace.json").targets}
    for number, (text, count) in enumerate(turns.items()):
        assert f"{text}: {count} turns agree (" in said
        pictures = sorted((tmp_path / "pictures" / f"{number:02d}-{text}").iterdir())
        assert len(pictures) == count
        assert np.asarray(Image.open(pictures[0])).shape == (96, 2 * 96 + 6, 3)


def test_one_target_alone(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(out), "--target", "Spleen", "--out", str(tmp_path / "one")]) == 0
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["01-spleen"]

    assert main(["replay", str(out), "--target", "heart", "--out", str(tmp_path / "one")]) == 1
    assert "no target is called 'heart': there are liver, spleen" in capsys.readouterr().err


def test_the_first_turn_that_does_not_agree_is_named(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Arrange
    trace = read_trace(out / "trace.json")
    liver = trace.targets[0]
    changed = replace(liver.turns[0], outcome=Outcome.ROLLED_BACK)
    write_trace(
        out / "trace.json",
        Trace((replace(liver, turns=(changed, *liver.turns[1:])), *trace.targets[1:])),
    )

    # Act
    code = main(["replay", str(out), "--out", str(tmp_path / "pictures")])

    # Assert
    said = capsys.readouterr()
    assert code == 1
    assert (
        f"liver: turn 0 on slice {changed.slice_index} does not agree: recorded outcome" in said.err
    )
    assert "spleen: " in said.out


def test_a_mask_file_that_was_changed_is_told_by_its_turn(out: Path) -> None:
    content = bytearray((out / "turns.masks").read_bytes())
    content[60] ^= 0xFF
    (out / "turns.masks").write_bytes(content)

    with pytest.raises(ReplayError, match=r"turns\.masks was changed at turn 0 on slice"):
        RequestReplay(out).target(0)


def test_a_mask_file_that_was_cut_or_is_gone_is_told(out: Path) -> None:
    content = (out / "turns.masks").read_bytes()
    (out / "turns.masks").write_bytes(content[:-5])

    with pytest.raises(ReplayError, match=r"is not in turns\.masks any more"):
        RequestReplay(out).target(1)

    (out / "turns.masks").unlink()
    with pytest.raises(ReplayError, match=r"masks of these turns are gone.*turns_days"):
        RequestReplay(out).target(0)


def test_a_study_that_is_gone_or_changed_is_told(out: Path) -> None:
    files = sorted((out.parent / "series").glob("*"))
    other = files[1].read_bytes()
    files[0].unlink()

    with pytest.raises(ReplayError, match=r"not here any more: 1 of its 6 files"):
        RequestReplay(out).slices(0)

    files[0].write_bytes(other)
    with pytest.raises(ReplayError, match=r"study"):
        RequestReplay(out).slices(0)


def test_a_row_that_differs_from_the_trace_is_named(out: Path) -> None:
    turns = {
        (index, turn.slice_index, turn.index): turn
        for index, traced in enumerate(read_trace(out / "trace.json").targets)
        for turn in traced.turns
    }
    RequestReplay(out, turns).target(0)
    first = next(iter(turns))

    with pytest.raises(ReplayDiffers, match=r"trace and database differ in its score"):
        RequestReplay(out, turns | {first: replace(turns[first], score=0.1)}).target(0)
    del turns[first]
    with pytest.raises(ReplayDiffers, match=r"in the trace and not in the database"):
        RequestReplay(out, turns).target(0)


def test_a_folder_without_a_trace_is_told(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match=r"no trace\.json in"):
        RequestReplay(tmp_path)
