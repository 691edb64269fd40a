"""Small volumes, scripts and episodes that the tests of the language policy share."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.episode.loop import run_episode
from agent.fakes import ArraySlices, FakeSegmenter, ScriptedSegmenter, segmentation
from agent.language.chat import Answer
from agent.language.fakes import ScriptedChat
from agent.language.policy import LanguagePolicy
from agent.language.settings import LanguageSettings
from agent.limits import Limits
from agent.ports import Observation
from agent.protocol.dialects import Dialect
from agent.turns import Turn
from agent.values import PromptKind, Role, Target

ROWS, COLUMNS = 32, 64
"""A slice that is letterboxed: 512 x 256 in the middle of 512 x 512, eight pixels for one."""


class ColourSlices(ArraySlices):
    """Slices whose pictures have colours: red grows to the right, green downwards, blue is the
    slice's number.
    """

    def picture(self, z: int) -> NDArray[np.float32]:
        depth, rows, columns = self.shape
        red, green = np.linspace(0, 1, columns), np.linspace(0, 1, rows)
        picture = np.zeros((rows, columns, 3), dtype=np.float32)
        picture[..., 0], picture[..., 1] = red, green[:, None]
        picture[..., 2] = z / max(depth - 1, 1)
        return picture


@pytest.fixture
def volume() -> ArraySlices:
    """Five slices, each a grey of its own, 2 mm pixels, 3 mm apart. Greys are quarters, so that
    every machine's arithmetic is exact.
    """
    greys = np.array([0.25, 0.5, 0.75, 0.5, 0.25], dtype=np.float32)
    array = np.broadcast_to(greys[:, None, None], (5, ROWS, COLUMNS)).copy()
    return ArraySlices(array, FakeSegmenter(), spacing_mm=(3.0, 2.0, 2.0))


@pytest.fixture
def coloured() -> ColourSlices:
    """Three slices in colours."""
    return ColourSlices(np.zeros((3, ROWS, COLUMNS), dtype=np.float32), FakeSegmenter())


@pytest.fixture
def square_at() -> Callable[[int, int], NDArray[np.bool_]]:
    """A mask with a square of 8 pixels: its left and top."""

    def make(left: int, top: int) -> NDArray[np.bool_]:
        mask = np.zeros((ROWS, COLUMNS), dtype=np.bool_)
        mask[top : top + 8, left : left + 8] = True
        return mask

    return make


@pytest.fixture
def call() -> Callable[..., str]:
    """A function call in MedSAM-Agent's tag."""

    def write(name: str, **arguments: Any) -> str:
        return f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"

    return write


@pytest.fixture
def scripts(call: Callable[..., str]) -> dict[Dialect, list[str]]:
    """Five turns in each dialect: a box, nothing that can be read, two clicks, the end."""
    return {
        Dialect.TOOL_CALL: [
            "It lies at the left.\n" + call("add_bbox", bbox_2d=[100, 350, 300, 650]),
            "I think it is larger.",
            call("add_point", point_2d=[500, 500], point_type="negative"),
            call("add_point", point_2d=[200, 600], point_type="positive"),
            call("stop_action"),
        ],
        Dialect.THINK_ACTION: [
            "<think>left</think><action>Box (0.1000, 0.3500, 0.3000, 0.6500)</action>",
            "I think it is larger.",
            "<think>too much</think><action>Negative Point (0.5000, 0.5000)</action>",
            "<think>more</think><action>Positive Point (0.2000, 0.6000)</action>",
            "<think>right</think><action>Terminate</action><answer>done</answer>",
        ],
    }


@pytest.fixture
def five_turns(
    volume: ArraySlices,
    square_at: Callable[[int, int], NDArray[np.bool_]],
    scripts: dict[Dialect, list[str]],
) -> Callable[..., tuple[ScriptedChat, list[Turn]]]:
    """The episode of `scripts` on slice 2 through the real loop: kept, refused, rolled back, kept,
    stopped.
    """

    def work(
        settings: LanguageSettings, replies: Sequence[str | Answer] = ()
    ) -> tuple[ScriptedChat, list[Turn]]:
        drawn = [
            segmentation(square_at(8, 8), 0.6),
            segmentation(square_at(24, 8), 0.5),
            segmentation(square_at(16, 16), 0.9),
        ]
        chat = ScriptedChat(list(replies) or scripts[settings.dialect])
        start = Observation(Target("the organ that stores bile"), volume, 2, Role.KEY)
        both = frozenset({PromptKind.BOX, PromptKind.POINT})
        turns = run_episode(
            start, LanguagePolicy(chat, settings), ScriptedSegmenter(drawn, both), Limits()
        )
        return chat, list(turns)

    return work
