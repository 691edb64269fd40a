"""The language policy, a server and the loop together: what a site runs, but for the model's
eyes.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from agent.episode.loop import run_together
from agent.fakes import ArraySlices, FakeSegmenter, ellipse
from agent.language.policy import LanguagePolicy
from agent.language.settings import LanguageSettings
from agent.limits import Limits
from agent.ports import Observation
from agent.protocol.dialects import Dialect
from agent.turns import Outcome
from agent.values import Role, Target, TargetStatus
from agent.volume.order import segment_target
from models.policies.chat.openai.wire import CALL_ANSWERED

Build = Callable[..., Any]
SHAPE = (7, 40, 60)
TARGET = Target("the organ that stores bile")
MANNERS = {
    "native calls": LanguageSettings(native_tools=True, image_px=128),
    "calls in the text": LanguageSettings(image_px=128),
    "think and action": LanguageSettings(dialect=Dialect.THINK_ACTION, image_px=128),
}


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float(2 * np.count_nonzero(one & other) / (one.sum() + other.sum()))


class Reader:
    """A server's model that sees bright things in the pictures it is sent: a box round them, then
    stop.

    Answers in the manner of `settings`; of contact sheets it names slice `key` and finds no fault.
    """

    def __init__(self, settings: LanguageSettings, completion: Build, key: int) -> None:
        self._settings, self._completion, self._key = settings, completion, key

    def __call__(self, heard: Any) -> Any:
        words, picture = self._last(heard.body["messages"])
        if "Name the slices, one to three" in words:
            return self._say("name_slices", f"Slices ({self._key})", slices=[self._key])
        bright = (picture.min(axis=2) > 150) & (picture.max(axis=2) < 250)  # padding is white
        if "The green outlines are" in words or "There is no mask yet" not in words:
            return self._say("stop_action", "Terminate")
        if not bright.any():
            return self._say("absent_action", "Absent")
        rows, columns = np.nonzero(bright)
        height, width = bright.shape
        corners = [columns.min() - 1, rows.min() - 1, columns.max() + 1, rows.max() + 1]
        box = [at / (size - 1) for at, size in zip(corners, [width, height] * 2, strict=True)]
        return self._say(
            "add_bbox",
            "Box ({:.4f}, {:.4f}, {:.4f}, {:.4f})".format(*box),
            bbox_2d=[round(999 * edge) for edge in box],
        )

    def _last(self, messages: list[dict[str, Any]]) -> tuple[str, NDArray[np.uint8]]:
        """The words of the last message and its last picture, or that of the message before it that
        has one.
        """
        contents = [message["content"] for message in messages if message["role"] == "user"]
        words = contents[-1]
        if not isinstance(words, str):
            words = " ".join(part["text"] for part in words if part["type"] == "text")
        pictured = [content for content in contents if not isinstance(content, str)]
        url = [part["image_url"]["url"] for part in pictured[-1] if part["type"] == "image_url"][-1]
        with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as picture:
            return words, np.asarray(picture)

    def _say(self, name: str, action: str, **arguments: Any) -> Any:
        if self._settings.dialect is Dialect.THINK_ACTION:
            return self._completion(f"<action>{action}</action>", reasoning_content="It is bright.")
        if self._settings.native_tools:
            function = {"name": name, "arguments": json.dumps(arguments)}
            call = {"id": "chosen-by-the-server", "type": "function", "function": function}
            return self._completion(None, tool_calls=[call], finish_reason="tool_calls")
        call_text = json.dumps({"name": name, "arguments": arguments})
        return self._completion(f"Bright.\n<tool_call>{call_text}</tool_call>")


@pytest.fixture
def organ() -> NDArray[np.bool_]:
    """A bright body in slices 1 to 5, off the centre, (z, y, x) bool."""
    body = np.zeros(SHAPE, dtype=np.bool_)
    for z in range(1, 6):
        body[z] = ellipse(SHAPE[1:], (20, 22), (11 - 2 * abs(z - 3), 9 - 2 * abs(z - 3)))
    return body


@pytest.fixture
def slices(organ: NDArray[np.bool_]) -> ArraySlices:
    return ArraySlices(np.where(organ, 0.8, 0.2).astype(np.float32), FakeSegmenter())


def exhausted(generator: Any) -> tuple[list[Any], Any]:
    turns = []
    while True:
        try:
            turns.append(next(generator))
        except StopIteration as ended:
            return turns, ended.value


@pytest.mark.parametrize("manner", MANNERS)
def test_a_target_is_segmented_through_a_volume(
    serve: Build,
    connect: Build,
    completion: Build,
    slices: ArraySlices,
    organ: NDArray[np.bool_],
    manner: str,
) -> None:
    settings = MANNERS[manner]
    server = serve(Reader(settings, completion, key=3))
    chat = connect(server, native_tools=settings.native_tools, price_per_million_input=2.0)
    policy = LanguagePolicy(chat, settings, "openai")

    turns, result = exhausted(segment_target(TARGET, slices, policy, FakeSegmenter()))

    assert result.status is TargetStatus.SEGMENTED, result.reason
    assert dice(result.voxels, organ) > 0.95
    told = [turn for turn in turns if turn.usage is not None]
    assert all(turn.usage.cost == pytest.approx(0.002) for turn in told)
    assert {turn.usage.model for turn in told} == {"served"}
    assert len(told) == len(server.heard)
    assert [("tools" in each.body) for each in server.heard] == (
        [settings.native_tools] * len(server.heard)
    )


@pytest.mark.parametrize("manner", MANNERS)
def test_episodes_of_a_batch_are_asked_together_and_end_as_each_would_alone(
    serve: Build, connect: Build, completion: Build, organ: NDArray[np.bool_], manner: str
) -> None:
    settings = MANNERS[manner]
    server = serve(Reader(settings, completion, key=3))
    chat = connect(server, native_tools=settings.native_tools, concurrency=4)
    policy = LanguagePolicy(chat, settings, "openai")
    segmenter = FakeSegmenter()
    volumes = [np.roll(organ, 4 * shift, axis=2) for shift in range(3)]
    starts = [
        Observation(
            TARGET, ArraySlices(np.where(body, 0.8, 0.2).astype(np.float32), segmenter), z, Role.KEY
        )
        for body in volumes
        for z in (2, 3)
    ]

    turns, episodes = exhausted(run_together(starts, policy, segmenter, Limits()))

    assert [turn.outcome for _, turn in turns] == [Outcome.KEPT] * 6 + [Outcome.STOPPED] * 6
    truths = [body[z] for body in volumes for z in (2, 3)]
    for episode, truth in zip(episodes, truths, strict=True):
        assert episode.best is not None
        assert dice(episode.best.mask, truth) > 0.95


def test_the_history_is_what_the_api_demands(
    serve: Build, connect: Build, completion: Build, slices: ArraySlices
) -> None:
    settings = MANNERS["native calls"]
    server = serve(Reader(settings, completion, key=3))
    policy = LanguagePolicy(connect(server), settings, "openai")
    start = Observation(TARGET, slices, 3, Role.KEY)

    exhausted(run_together([start], policy, FakeSegmenter(), Limits()))

    first, second = (each.body["messages"] for each in server.heard)
    assert [each["role"] for each in second] == ["system", "user", "assistant", "tool", "user"]
    assert second[: len(first)] == first  # a server's prefix cache holds
    (call,) = second[2]["tool_calls"]
    assert call["function"]["name"] == "add_bbox"
    assert second[3] == {"role": "tool", "tool_call_id": call["id"], "content": CALL_ANSWERED}


def test_a_wrong_tool_becomes_an_observation_and_a_retry_at_a_raised_temperature(
    serve: Build, connect: Build, completion: Build, slices: ArraySlices, organ: NDArray[np.bool_]
) -> None:
    settings = MANNERS["native calls"]
    reader = Reader(settings, completion, key=3)
    wrong = {"id": "1", "function": {"name": "draw_polygon", "arguments": '{"points": [1]}'}}
    cut = {"id": "2", "function": {"name": "add_bbox", "arguments": '{"bbox_2d": [1'}}
    faults = [
        completion(None, tool_calls=[wrong]),
        completion("I would", tool_calls=[cut], finish_reason="length"),
    ]
    asked: list[Any] = []

    def script(heard: Any) -> Any:
        asked.append(heard.body)
        return faults.pop(0) if faults else reader(heard)

    policy = LanguagePolicy(connect(serve(script)), settings, "openai")
    start = Observation(TARGET, slices, 3, Role.KEY)

    turns, (episode,) = exhausted(run_together([start], policy, FakeSegmenter(), Limits()))

    assert [turn.outcome for _, turn in turns] == [
        Outcome.REFUSED,
        Outcome.REFUSED,
        Outcome.KEPT,
        Outcome.STOPPED,
    ]
    assert "draw_polygon" in turns[0][1].observation
    assert "no whole JSON" in turns[1][1].observation
    assert [body["temperature"] for body in asked] == pytest.approx([0.0, 0.3, 0.6, 0.0])
    assert dice(episode.best.mask, organ[3]) > 0.95


def test_a_server_that_goes_away_ends_the_target_with_the_reason(
    serve: Build, connect: Build, completion: Build, refused: Build, slices: ArraySlices
) -> None:
    settings = MANNERS["native calls"]
    reader = Reader(settings, completion, key=3)
    left = [1, 2]

    def script(heard: Any) -> Any:
        return reader(heard) if left and left.pop() else refused(503, "shutting down")

    policy = LanguagePolicy(connect(serve(script)), settings, "openai")

    _, result = exhausted(segment_target(TARGET, slices, policy, FakeSegmenter()))

    assert result.status is TargetStatus.FAILED
    assert "503 Service Unavailable: shutting down" in result.reason
