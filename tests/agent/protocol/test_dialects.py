"""Any text is an action or a fault that helps; every action has words that mean it."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.actions import Absent, Action, AddBox, AddPoint, Malformed, Stop
from agent.protocol.dialects import Dialect, parse_reply, render_reply
from agent.protocol.view import Crop, View
from agent.protocol.vocabulary import TOOLS
from agent.values import Box, Point
from tests.support.agent.replies import VIEW, calls, json_values, near, parsed_native

LETTERBOX = View.letterbox((480, 640), (512, 512), Crop(100, 50, 300, 400))


fragments = st.sampled_from(
    [
        "<tool_call>", "</tool_call>", "<action>", "</action>", "<answer>", "</answer>", "<think>",
        "</think>", '{"name":', '"add_bbox"', '"add_point"', ',"arguments":', '{"bbox_2d":',
        "[1,2,3,4]", "[1e400,2]", "NaN", "}}", "Positive Point (", "0.5, 0.5", ")", "Box (",
        "Absent", "[[[[", '"', "\ud800",
    ]
)  # fmt: skip
any_text = st.one_of(st.text(), st.lists(st.one_of(fragments, st.text(max_size=5))).map("".join))


@given(any_text, st.sampled_from(Dialect))
def test_any_text_is_an_action(text: str, dialect: Dialect) -> None:
    assert isinstance(parse_reply(text, LETTERBOX, dialect), Action)


@given(st.lists(st.one_of(calls, json_values), max_size=2))
def test_any_native_calls_are_an_action(native: list[object]) -> None:
    assert isinstance(parsed_native(native, LETTERBOX), Action)


coordinates = st.tuples(st.floats(100, 399), st.floats(50, 449))
reasons = any_text.map(str.strip)  # tags of the protocols among it


@st.composite
def actions(draw: st.DrawFn) -> Action:
    (xa, ya), (xb, yb) = draw(coordinates), draw(coordinates)
    box = Box(min(xa, xb), min(ya, yb), max(xa, xb), max(ya, yb))
    point = Point(xa, ya, draw(st.booleans()))
    choices: list[Action] = [AddBox(box), AddPoint(point), Stop(), Absent(draw(reasons))]
    return draw(st.sampled_from(choices))


@given(actions(), st.sampled_from(Dialect), any_text)
def test_every_action_has_words_that_mean_it(
    action: Action, dialect: Dialect, thought: str
) -> None:
    # Act
    text = render_reply(action, LETTERBOX, dialect, thought)
    understood = parse_reply(text, LETTERBOX, dialect)

    # Assert: the view enlarges 1.28 times; a step of 1/999 may be lost at the picture's edge, half
    # of one elsewhere, and a box thinner than a step is widened by one
    assert near(understood, action, within_px=2 * (511 / 999) / 1.28)


@given(actions(), st.sampled_from(Dialect))
@example(AddBox(Box(399, 449, 399, 449)), Dialect.TOOL_CALL)  # a pixel in the last corner
@example(AddBox(Box(399, 449, 399, 449)), Dialect.THINK_ACTION)
def test_words_mean_the_same_the_second_time(action: Action, dialect: Dialect) -> None:
    once = parse_reply(render_reply(action, LETTERBOX, dialect), LETTERBOX, dialect)

    again = parse_reply(render_reply(once, LETTERBOX, dialect), LETTERBOX, dialect)

    assert near(again, once, within_px=1e-6)


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize(
    "words",
    ["<tool_call>", "</tool_call>", "<action>", "</think><action>Terminate</action>", "</answer>"],
)
def test_no_words_can_be_taken_for_the_protocols_tags(dialect: Dialect, words: str) -> None:
    text = render_reply(Absent(words), VIEW, dialect, reasoning=words)

    assert parse_reply(text, VIEW, dialect) == Absent(words)


@pytest.mark.parametrize("dialect", Dialect)
def test_a_malformed_reply_has_no_other_words(dialect: Dialect) -> None:
    with pytest.raises(ValueError, match="no words but its own"):
        render_reply(Malformed("?"), VIEW, dialect)


def test_the_written_forms_are_those_of_the_papers() -> None:
    point = AddPoint(Point(499.5, 499.5))

    assert (
        render_reply(point, VIEW, Dialect.THINK_ACTION, "It misses the dome.")
        == "<think>\nIt misses the dome.\n</think>\n"
        "<action>\nPositive Point (0.5000, 0.2500)\n</action>"
    )
    assert render_reply(AddBox(Box(10, 40, 300, 800)), VIEW, Dialect.TOOL_CALL) == (
        '<tool_call>{"name": "add_bbox", "arguments": {"bbox_2d": [10, 20, 300, 400]}}</tool_call>'
    )


def test_the_functions_schemas_are_what_a_server_takes() -> None:
    schemas = {tool.name: tool.schema for tool in TOOLS}

    assert list(schemas) == ["add_bbox", "add_point", "stop_action", "absent_action"]
    box = schemas["add_bbox"]["function"]["parameters"]
    assert box["required"] == ["bbox_2d"]
    assert box["properties"]["bbox_2d"]["maxItems"] == 4
    assert box["properties"]["bbox_2d"]["items"] == {
        "type": "integer",
        "minimum": 0,
        "maximum": 999,
    }
    assert schemas["absent_action"]["function"]["parameters"]["required"] == []
    json.dumps(list(schemas.values()))
