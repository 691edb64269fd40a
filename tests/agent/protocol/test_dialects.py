"""Any text is an action or a fault that helps; every action has words that mean it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.actions import Absent, Action, AddBox, AddPoint, Malformed, Stop
from agent.language.chat import Answer, native_calls
from agent.language.replies import reply_text
from agent.protocol.dialects import Dialect, parse_reply, render_reply
from agent.protocol.tool_calls import parse_tool_call
from agent.protocol.view import Crop, View
from agent.protocol.vocabulary import TOOLS
from agent.values import Box, Point

# shown as it is: a step of 0-999 is one column, and two rows
VIEW = View.identity((1999, 1000))
LETTERBOX = View.letterbox((480, 640), (512, 512), Crop(100, 50, 300, 400))


def call(name: str, **arguments: Any) -> str:
    return f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"


def fault(text: str, dialect: Dialect = Dialect.TOOL_CALL) -> str:
    action = parse_reply(text, VIEW, dialect)
    assert isinstance(action, Malformed), action
    return action.fault


class TestToolCalls:
    @pytest.mark.parametrize(
        ("text", "action"),
        [
            # 999 steps over 1998 pixels between the first and last row's centres: 2 pixels a step
            (call("add_bbox", bbox_2d=[10, 20, 300, 400]), AddBox(Box(10, 40, 300, 800))),
            (call("add_bbox", bbox_2d=[0, 0, 999, 999]), AddBox(Box(0, 0, 999, 1998))),
            (call("add_point", point_2d=[5, 7], point_type="positive"), AddPoint(Point(5, 14))),
            (
                call("add_point", point_2d=[5, 7], point_type="negative"),
                AddPoint(Point(5, 14, positive=False)),
            ),
            (call("add_positive_point", x=5, y=7), AddPoint(Point(5, 14))),
            (call("add_negative_point", x=5, y=7), AddPoint(Point(5, 14, positive=False))),
            (call("stop_action"), Stop()),
            ('<tool_call>{"name":"stop_action"}</tool_call>', Stop()),
            (call("absent_action", reason="below the liver"), Absent("below the liver")),
            (call("absent_action"), Absent("")),
        ],
    )
    def test_each_action(self, text: str, action: Action) -> None:
        assert _near(parse_tool_call(text, VIEW), action)

    @pytest.mark.parametrize(
        "text",
        [
            'The dome.\n<tool_call>\n{"name": "stop_action", "arguments": {}}\n</tool_call>',
            '<tool_call>{"name": "stop_action", "arguments": {}}',  # cut off after the JSON
            '<tool_call>{name": "stop_action", "arguments": {}}</tool_call>',  # the one repair
            '<tool_call>{"name": "stop_action", arguments": {}}</tool_call>',
            '<tool_call>{"name": "stop_action", "arguments": "{}"}</tool_call>',
            '<tool_call>{"name": "stop_action", "arguments": ""}</tool_call>',
            '<think>or <tool_call>?</think><tool_call>{"name": "stop_action"}</tool_call>',
            '{"name": "stop_action", "arguments": {}}',  # nothing but the call, without its tags
            '```json\n{"name": "stop_action", "arguments": {}}\n```',
            '<think>right</think>\n{"name": "stop_action"}',
        ],
    )
    def test_forms_that_are_understood(self, text: str) -> None:
        assert parse_tool_call(text, VIEW) == Stop()

    def test_whole_numbers_written_with_a_point_are_integers(self) -> None:
        text = call("add_bbox", bbox_2d=[10.0, 20.0, 300.0, 400.0])

        assert isinstance(parse_tool_call(text, VIEW), AddBox)

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("", "holds no tool call"),
            ("I would draw a box round the liver.", "holds no tool call"),
            (call("stop_action") * 2, "holds 2 tool calls; make exactly one"),
            ('<tool_call>{"name": "add_bbox", "argu', "no whole JSON"),
            ("<tool_call></tool_call>", "no whole JSON"),
            ("<tool_call>[1, 2]</tool_call>", "an object with"),
            ("<tool_call>null</tool_call>", "an object with"),
            ("<tool_call>" + "[" * 20_000, "no whole JSON"),  # deeper than the interpreter's stack
            (call("add_box", bbox_2d=[1, 2, 3, 4]), "no function 'add_box'; the functions are"),
            ('<tool_call>{"name": ["stop_action"]}</tool_call>', "no function"),
            ('<tool_call>{"arguments": {}}</tool_call>', "no function None"),
            ('<tool_call>{"name":"add_bbox","arguments":[1]}</tool_call>', "must be an object"),
            (call("add_bbox"), "list of 4 integers, not None"),
            (call("add_bbox", bbox_2d=[1, 2, 3]), "list of 4 integers"),
            (call("add_bbox", bbox_2d="1234"), "list of 4 integers"),
            (call("add_bbox", bbox_2d=[1, 2, 3, "4"]), "integers from 0 to 999"),
            (call("add_bbox", bbox_2d=[1, 2, 3, True]), "integers from 0 to 999"),
            (call("add_bbox", bbox_2d=[1, 2, 3, None]), "integers from 0 to 999"),
            (call("add_bbox", bbox_2d=[0.1, 0.2, 0.3, 0.4]), "not fractions"),
            (call("add_bbox", bbox_2d=[1, 2, 3, 1000]), "not in pixels; not 1000"),
            (call("add_bbox", bbox_2d=[-1, 2, 3, 4]), "not in pixels; not -1"),
            (call("add_bbox", bbox_2d=[1, 2, 3, float("nan")]), "NaN is no coordinate"),
            (call("add_bbox", bbox_2d=[1, 2, 3, float("inf")]), "Infinity is no coordinate"),
            ('<tool_call>{"name":"add_bbox","arguments":{"bbox_2d":[1,2,3,1e999]}}', "not inf"),
            (call("add_bbox", bbox_2d=[5, 2, 5, 4]), "empty or turned round"),
            (call("add_bbox", bbox_2d=[1, 9, 5, 4]), "empty or turned round"),
            (call("add_point", point_2d=[1, 2]), '"point_type" must be'),
            (call("add_point", point_2d=[1, 2], point_type=1), '"point_type" must be'),
            (call("add_point", point_2d=[1, 2], point_type="inside"), "not 'inside'"),
            (call("add_positive_point", x=1), "integers from 0 to 999, not None"),
            (call("absent_action", reason=3), '"reason" must be text'),
            ("x" * 40_001, "40001 characters"),
        ],
    )
    def test_what_is_wrong_is_said(self, text: str, says: str) -> None:
        assert says in fault(text)

    def test_a_long_answer_is_not_repeated_at_length(self) -> None:
        assert len(fault(call("z" * 10_000))) < 300

    def test_a_click_on_the_padding_is_refused(self) -> None:
        view = View.letterbox((100, 400), (400, 400))

        action = parse_tool_call(call("add_point", point_2d=[5, 5], point_type="positive"), view)

        assert action == Malformed("the point lies on the padding, outside the picture")


def _parsed_native(calls: list[object], view: View) -> Action:
    """The action of a server's native tool calls, which go on record as text first."""
    return parse_tool_call(reply_text(Answer("", native_calls(calls))), view)


class TestNativeCalls:
    @pytest.mark.parametrize(
        "native",
        [
            {"name": "add_bbox", "arguments": {"bbox_2d": [10, 20, 300, 400]}},
            {"name": "add_bbox", "arguments": '{"bbox_2d": [10, 20, 300, 400]}'},
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "add_bbox", "arguments": '{"bbox_2d": [10, 20, 300, 400]}'},
            },
        ],
    )
    def test_each_shape(self, native: dict[str, Any]) -> None:
        assert _near(_parsed_native([native], VIEW), AddBox(Box(10, 40, 300, 800)))

    @pytest.mark.parametrize(
        ("native", "says"),
        [
            ([], "no tool call"),
            ([{"name": "stop_action"}] * 3, "3 tool calls"),
            (["stop_action"], "no whole JSON"),
            ([{"name": "stop_action", "arguments": "{"}], "no whole JSON"),
            ([{"name": "add_bbox", "arguments": {"bbox_2d": [1, 2, 3, 10**4000]}}], "not 1000"),
            ([{"name": "add_bbox", "arguments": {"bbox_2d": [1, 2, 3, float("nan")]}}], "NaN is"),
        ],
    )
    def test_what_is_wrong_is_said(self, native: list[object], says: str) -> None:
        action = _parsed_native(native, VIEW)

        assert isinstance(action, Malformed)
        assert says in action.fault


class TestThinkAction:
    @pytest.mark.parametrize(
        ("said", "action"),
        [
            ("Positive Point (0.5000, 0.2500)", AddPoint(Point(499.5, 499.5))),
            ("negative point(0,1)", AddPoint(Point(0, 1998, positive=False))),
            ("Box (0.0000, 0.5000, 1.0000, 1.0000)", AddBox(Box(0, 999, 999, 1998))),
            ("Terminate", Stop()),
            ("Termination", Stop()),
            ("Absent", Absent("")),
        ],
    )
    def test_each_action(self, said: str, action: Action) -> None:
        text = f"<think>\nwell\n</think>\n<action>\n{said}\n</action>"

        assert _near(parse_reply(text, VIEW, Dialect.THINK_ACTION), action)

    def test_an_action_that_is_only_thought_of_is_not_made(self) -> None:
        text = "<think>or <action>Absent</action>?</think><action>Terminate</action>"

        assert parse_reply(text, VIEW, Dialect.THINK_ACTION) == Stop()

    @pytest.mark.parametrize("word", ["Terminate", "Termination"])
    def test_both_spellings_end_with_an_answer(self, word: str) -> None:
        text = f"<think>done</think><action>{word}</action><answer>It is the liver.</answer>"

        assert parse_reply(text, VIEW, Dialect.THINK_ACTION) == Stop()

    def test_an_absent_target_has_a_reason(self) -> None:
        text = "<action>Absent</action>\n<answer>this slice is above it</answer>"

        action = parse_reply(text, VIEW, Dialect.THINK_ACTION)

        assert action == Absent("this slice is above it")

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("Positive Point (0.5, 0.5)", "holds no action"),
            ("<think>Positive Point (0.5, 0.5)", "holds no action"),
            ("<action>Terminate</action><action>Absent</action>", "holds 2 actions"),
            ("<action>Click (0.5, 0.5)</action>", "'Click (0.5, 0.5)' is no action"),
            ("<action></action>", "'' is no action; the actions are Positive Point"),
            ("<action>Positive Point (0.5)</action>", "needs 2 numbers"),
            ("<action>Positive Point (0.5, up)</action>", "needs 2 numbers"),
            ("<action>Box (0.1, 0.2, 0.3)</action>", "needs 4 numbers"),
            ("<action>Positive Point (120, 80)</action>", "fractions of the image, not pixels"),
            ("<action>Positive Point (nan, 0.5)</action>", "outside 0 to 1"),
            ("<action>Positive Point (-0.1, 0.5)</action>", "outside 0 to 1"),
            ("<action>Box (0.5, 0.2, 0.5, 0.3)</action>", "empty or turned round"),
            ("x" * 40_001, "40001 characters"),
        ],
    )
    def test_what_is_wrong_is_said(self, text: str, says: str) -> None:
        assert says in fault(text, Dialect.THINK_ACTION)


fragments = st.sampled_from(
    [
        "<tool_call>", "</tool_call>", "<action>", "</action>", "<answer>", "</answer>", "<think>",
        "</think>", '{"name":', '"add_bbox"', '"add_point"', ',"arguments":', '{"bbox_2d":',
        "[1,2,3,4]", "[1e400,2]", "NaN", "}}", "Positive Point (", "0.5, 0.5", ")", "Box (",
        "Absent", "[[[[", '"', "\ud800",
    ]
)  # fmt: skip
any_text = st.one_of(st.text(), st.lists(st.one_of(fragments, st.text(max_size=5))).map("".join))
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5), st.dictionaries(st.text(max_size=8), inner)
    ),
    max_leaves=8,
)
calls = st.fixed_dictionaries(
    {"name": st.one_of(st.sampled_from([tool.name for tool in TOOLS]), json_values)},
    optional={
        "arguments": st.one_of(
            json_values,
            st.fixed_dictionaries({"bbox_2d": json_values}),
            st.fixed_dictionaries({"bbox_2d": st.lists(st.integers(-5, 1005), max_size=5)}),
            st.fixed_dictionaries({"point_2d": json_values, "point_type": json_values}),
        )
    },
)


@given(any_text, st.sampled_from(Dialect))
def test_any_text_is_an_action(text: str, dialect: Dialect) -> None:
    assert isinstance(parse_reply(text, LETTERBOX, dialect), Action)


@given(st.lists(st.one_of(calls, json_values), max_size=2))
def test_any_native_calls_are_an_action(native: list[object]) -> None:
    assert isinstance(_parsed_native(native, LETTERBOX), Action)


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
    assert _near(understood, action, within_px=2 * (511 / 999) / 1.28)


@given(actions(), st.sampled_from(Dialect))
@example(AddBox(Box(399, 449, 399, 449)), Dialect.TOOL_CALL)  # a pixel in the last corner
@example(AddBox(Box(399, 449, 399, 449)), Dialect.THINK_ACTION)
def test_words_mean_the_same_the_second_time(action: Action, dialect: Dialect) -> None:
    once = parse_reply(render_reply(action, LETTERBOX, dialect), LETTERBOX, dialect)

    again = parse_reply(render_reply(once, LETTERBOX, dialect), LETTERBOX, dialect)

    assert _near(again, once, within_px=1e-6)


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


def _near(one: Action, other: Action, within_px: float = 1e-6) -> bool:
    """The same action, its coordinates no further apart than `within_px`."""
    match one, other:
        case AddBox(a), AddBox(b):
            pairs = [(a.x0, b.x0), (a.y0, b.y0), (a.x1, b.x1), (a.y1, b.y1)]
        case AddPoint(p), AddPoint(q) if p.positive == q.positive:
            pairs = [(p.x, q.x), (p.y, q.y)]
        case _:
            return one == other
    return all(abs(a - b) <= within_px for a, b in pairs)
