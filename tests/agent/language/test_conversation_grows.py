"""Whatever happens in an episode, the conversation before a turn is the beginning of every later
one.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.actions import Malformed
from agent.fakes import ArraySlices, FakeSegmenter
from agent.language.prompt_builder import PromptBuilder
from agent.language.replies import as_message
from agent.language.settings import LanguageSettings
from agent.ports import Observation
from agent.protocol.dialects import Dialect
from agent.turns import Outcome, Turn
from agent.values import Role, Target

SHAPE = (3, 6, 9)
SLICES = ArraySlices(np.linspace(0, 1, 162, dtype=np.float32).reshape(SHAPE), FakeSegmenter())

masks = st.none() | st.lists(st.booleans(), min_size=54, max_size=54).map(
    lambda pixels: np.array(pixels, dtype=np.bool_).reshape(SHAPE[1:])
)
calls = st.sampled_from(
    ['<tool_call>{"name": "stop_action", "arguments": {}}</tool_call>', "<tool_call>{", "a\nb"]
)
turns = st.builds(
    Turn,
    slice_index=st.just(1),
    index=st.just(0),
    role=st.just(Role.KEY),
    action=st.just(Malformed("?")),
    outcome=st.sampled_from(list(Outcome)),
    reply=st.text(max_size=20) | calls,
    observation=st.text(max_size=20),
)
manners = st.builds(
    LanguageSettings,
    dialect=st.sampled_from(list(Dialect)),
    native_tools=st.booleans(),
    zoom=st.booleans(),
    repeat_pictures=st.booleans(),
    image_px=st.sampled_from([0, 16]),
)


@settings(max_examples=60, deadline=None)
@given(
    manners,
    st.sampled_from([Role.KEY, Role.CARRY, Role.REVIEW]),
    st.lists(st.tuples(turns, masks), max_size=4),
    masks,
    masks,
)
def test_each_conversation_begins_with_the_one_before(
    manner: LanguageSettings,
    role: Role,
    course: list[tuple[Turn, np.ndarray | None]],
    carried: np.ndarray | None,
    opening: np.ndarray | None,
) -> None:
    interviewer = PromptBuilder.of(manner)
    start = Observation(
        Target("x"), SLICES, 1, role, carried=carried, opening=opening, turns_left=5
    )
    seen = [
        replace(
            start,
            turns=tuple(turn for turn, _ in course[:number]),
            best_masks=tuple(mask for _, mask in course[:number]),
            turns_left=5 - number,
        )
        for number in range(len(course) + 1)
    ]

    talks = [interviewer.about_slice(observation) for observation in seen]

    for number, (earlier, later) in enumerate(pairwise(talks)):
        grown = len(earlier.messages)
        assert later.messages[:grown] == earlier.messages
        said = as_message(course[number][0].reply, native=manner.offers_tools)
        assert later.messages[grown] == said
        assert len(later.messages) == grown + 2
        assert later.tools == earlier.tools
    assert interviewer.about_slice(seen[-1]) == talks[-1]  # and nothing else decides it
