"""Views and replies for the tests of the protocols."""

from __future__ import annotations

from hypothesis import strategies as st

from agent.actions import Action, AddBox, AddPoint, Malformed
from agent.language.chat import Answer, native_calls
from agent.language.replies import reply_text
from agent.protocol.dialects import Dialect, parse_reply
from agent.protocol.tool_calls import parse_tool_call
from agent.protocol.view import View
from agent.protocol.vocabulary import TOOLS

# shown as it is: a step of 0-999 is one column, and two rows
VIEW = View.identity((1999, 1000))


def fault(text: str, dialect: Dialect = Dialect.TOOL_CALL) -> str:
    action = parse_reply(text, VIEW, dialect)
    assert isinstance(action, Malformed), action
    return action.fault


def parsed_native(calls: list[object], view: View) -> Action:
    """The action of a server's native tool calls, which go on record as text first."""
    return parse_tool_call(reply_text(Answer("", native_calls(calls))), view)


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


def near(one: Action, other: Action, within_px: float = 1e-6) -> bool:
    """The same action, its coordinates no further apart than `within_px`."""
    match one, other:
        case AddBox(a), AddBox(b):
            pairs = [(a.x0, b.x0), (a.y0, b.y0), (a.x1, b.x1), (a.y1, b.y1)]
        case AddPoint(p), AddPoint(q) if p.positive == q.positive:
            pairs = [(p.x, q.x), (p.y, q.y)]
        case _:
            return one == other
    return all(abs(a - b) <= within_px for a, b in pairs)
