"""The language policy at work in the real loop and through whole volumes, with a chat model that
looks at its pictures.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import pytest

from agent.actions import Malformed, NameSlices
from agent.episode.loop import run_episode, run_together
from agent.errors import ChatFailed
from agent.fakes import ArraySlices, FakeSegmenter, ellipse
from agent.language.chat import Conversation, Picture
from agent.language.fakes import ScriptedChat
from agent.language.policy import LanguagePolicy
from agent.language.settings import LanguageSettings
from agent.limits import Limits
from agent.ports import Observation
from agent.turns import WHOLE_VOLUME, Outcome
from agent.values import Role, Target, TargetStatus
from agent.volume.order import segment_target

Run = Callable[[Generator[Any, None, Any]], tuple[list[Any], Any]]
SHAPE = (9, 40, 60)
"""Slices wider than high: the picture is padded above and below."""
BILE = Target("the organ that stores bile")


@pytest.fixture
def organ() -> np.ndarray:
    """A bright body in slices 2 to 6, off the centre, (z, y, x) bool."""
    body = np.zeros(SHAPE, dtype=np.bool_)
    for z in range(2, 7):
        body[z] = ellipse(SHAPE[1:], (18, 24), (12 - 2 * abs(z - 4), 9 - 2 * abs(z - 4)))
    return body


@pytest.fixture
def slices(organ: np.ndarray) -> ArraySlices:
    return ArraySlices(
        np.where(organ, 0.8, 0.2).astype(np.float32), FakeSegmenter(), (3.0, 2.0, 2.0)
    )


class Reader:
    """Answers as a model does that sees bright things: a box round them in thousandths of the
    picture, then stop.

    Speaks tool calls. Of a contact sheet it names the slices given to it.
    """

    def __init__(self, survey: str, inspection: str) -> None:
        self._survey, self._inspection = survey, inspection

    def __call__(self, talk: Conversation) -> str:
        asked = talk.messages[-1].text
        if "Name the slices, one to three" in asked:
            return self._survey
        if "The green outlines are what has been drawn" in asked:
            return self._inspection
        bright = self._bright(talk.pictures[-1])
        if not bright.any():
            return _call("absent_action", reason="nothing is bright")
        if "There is no mask yet" not in asked:
            return _call("stop_action")
        rows, columns = np.nonzero(bright)
        height, width = bright.shape
        xs, ys = columns * 999 / (width - 1), rows * 999 / (height - 1)
        box = [xs.min() - 12, ys.min() - 12, xs.max() + 12, ys.max() + 12]
        return "Bright.\n" + _call("add_bbox", bbox_2d=[round(float(edge)) for edge in box])

    def _bright(self, picture: Picture) -> np.ndarray:
        grey = picture.pixels.astype(int)
        return np.asarray((grey.min(axis=2) > 150) & (grey.max(axis=2) < 250))  # padding is white


def _call(name: str, **arguments: Any) -> str:
    return f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * np.count_nonzero(one & other) / (one.sum() + other.sum()))


def test_a_target_through_a_volume(slices: ArraySlices, organ: np.ndarray, run: Run) -> None:
    chat = ScriptedChat(Reader(_call("name_slices", slices=[4]), _call("stop_action")))
    policy = LanguagePolicy(chat, LanguageSettings())

    turns, result = run(segment_target(BILE, slices, policy, FakeSegmenter()))

    assert result.status is TargetStatus.SEGMENTED, result.reason
    assert dice(result.voxels, organ) > 0.95
    volume_turns = [turn for turn in turns if turn.slice_index == WHOLE_VOLUME]
    assert [(turn.role, turn.action) for turn in volume_turns] == [
        (Role.SURVEY, NameSlices((4,))),
        (Role.INSPECT, NameSlices(())),
    ]
    assert all(turn.usage is not None for turn in turns)
    assert all(turn.reply for turn in turns)  # its reasoning is kept


def test_slices_that_the_inspection_names_are_worked_on_again(
    slices: ArraySlices, run: Run
) -> None:
    chat = ScriptedChat(Reader(_call("name_slices", slices=[4]), _call("name_slices", slices=[5])))
    policy = LanguagePolicy(chat, LanguageSettings())

    turns, result = run(segment_target(BILE, slices, policy, FakeSegmenter()))

    assert result.status is TargetStatus.SEGMENTED
    reviewed = {turn.slice_index for turn in turns if turn.role is Role.REVIEW}
    assert 5 in reviewed
    (about,) = [
        talk
        for talk in chat.conversations
        if re.search(r"slice 5 of .*another look: you named it", talk.messages[-1].text, re.DOTALL)
    ]
    assert "The green contour is the outline of the mask" in about.messages[-1].text


def test_absent_from_the_volume(slices: ArraySlices, run: Run) -> None:
    chat = ScriptedChat([_call("absent_action", reason="cholecystectomy")])

    turns, result = run(
        segment_target(BILE, slices, LanguagePolicy(chat, LanguageSettings()), FakeSegmenter())
    )

    assert (result.status, result.reason) == (TargetStatus.ABSENT, "cholecystectomy")
    assert [turn.outcome for turn in turns] == [Outcome.ABSENT]


def test_absent_from_an_image_on_its_own_needs_no_survey(run: Run) -> None:
    image = ArraySlices(np.full((1, 30, 50), 0.2, dtype=np.float32), FakeSegmenter())
    chat = ScriptedChat(Reader("not asked", "not asked"))

    turns, result = run(
        segment_target(BILE, image, LanguagePolicy(chat, LanguageSettings()), FakeSegmenter())
    )

    assert result.status is TargetStatus.ABSENT
    assert [turn.role for turn in turns] == [Role.KEY]


def test_a_model_that_says_nothing_of_use_fails_its_target_with_the_reason(
    slices: ArraySlices, run: Run
) -> None:
    chat = ScriptedChat(lambda _: "The gallbladder lies below the liver.")

    turns, result = run(
        segment_target(BILE, slices, LanguagePolicy(chat, LanguageSettings()), FakeSegmenter())
    )

    assert result.status is TargetStatus.FAILED
    # the model was told what its reply lacked, the person what the model said
    assert "the reply holds no tool call" in turns[0].observation
    assert result.reason.endswith(
        "did not say where the target is in 3 tries: "
        'its last reply was "The gallbladder lies below the liver."'
    )
    assert [type(turn.action) for turn in turns] == [Malformed] * 3  # on record, with their words
    assert turns[0].reply == "The gallbladder lies below the liver."


@pytest.mark.parametrize(
    "answered", [0, 1, 3, 4]
)  # in the survey, on a key slice, while carried on
def test_a_model_that_cannot_be_asked_fails_its_target(
    slices: ArraySlices, run: Run, answered: int
) -> None:
    box = _call("add_bbox", bbox_2d=[80, 380, 540, 780])
    script = [_call("name_slices", slices=[4]), box, _call("stop_action"), box]
    chat = ScriptedChat([*script[:answered], ChatFailed("no endpoint answers: start the server")])

    turns, result = run(
        segment_target(BILE, slices, LanguagePolicy(chat, LanguageSettings()), FakeSegmenter())
    )

    assert (result.status, result.reason) == (
        TargetStatus.FAILED,
        "no endpoint answers: start the server",
    )
    assert len(turns) == len(result.turns) == answered  # what was said is on record


def test_episodes_together_go_as_they_go_alone(slices: ArraySlices, run: Run) -> None:
    starts = [Observation(BILE, slices, z, Role.KEY) for z in (0, 3, 4)]
    chat = ScriptedChat(Reader("", ""))
    policy = LanguagePolicy(chat, LanguageSettings())

    said, episodes = run(run_together(starts, policy, FakeSegmenter(), Limits()))
    batches = list(chat.batches)
    alone = [run(run_episode(start, policy, FakeSegmenter(), Limits()))[1] for start in starts]

    assert batches == [3, 2]  # slice 0 is done after the first
    assert len(said) == 5
    for one, other in zip(episodes, alone, strict=True):
        assert [turn.action for turn in one.turns] == [turn.action for turn in other.turns]
        assert one.absent == other.absent


def test_zoomed_in_a_box_lands_where_it_was_meant(
    slices: ArraySlices, organ: np.ndarray, run: Run
) -> None:
    policy = LanguagePolicy(ScriptedChat(Reader("", "")), LanguageSettings(zoom=True))
    start = Observation(BILE, slices, 4, Role.CARRY, carried=organ[5])

    _, episode = run(run_episode(start, policy, FakeSegmenter(), Limits()))

    assert episode.best is not None
    assert dice(episode.best.mask, organ[4]) > 0.9
