"""What a person is told of a target without a mask is no sentence that was made for the planner."""

from __future__ import annotations

import pytest

from agent.actions import Action, AddBox, AddPoint, Malformed, NameSlices, Stop
from agent.episode.undrawn import why_undrawn
from agent.turns import Outcome, Turn
from agent.values import Box, Point, PromptKind, Role

BOX, CLICK = AddBox(Box(1, 1, 9, 9)), AddPoint(Point(4, 4, positive=True))
BOXES = frozenset({PromptKind.BOX})

# imperatives of the prompts and observations: they tell the planner what to do next
FOR_THE_PLANNER = (
    "draw one",
    "try another",
    "try something else",
    "say that",
    "say once more",
    "or stop",
    "name the slices",
    "write ",
    "; use ",
    "call ",
)


def turn(action: Action, outcome: Outcome, observation: str = "try something else") -> Turn:
    return Turn(4, 0, Role.KEY, action, outcome, observation=observation)


@pytest.mark.parametrize(
    ("turns", "sentence"),
    [
        ([], "the planner named no slice of this volume"),
        ([turn(BOX, Outcome.NO_MASK)], "on slice 4 the segmenter drew nothing for the planner's"),
        (
            [
                turn(BOX, Outcome.NO_MASK, "the segmenter failed: no memory"),
                turn(Stop(), Outcome.REFUSED),
            ],
            "on slice 4 the segmenter failed: no memory",
        ),
        ([turn(BOX, Outcome.DUPLICATE)], "on slice 4 the planner repeated a prompt"),
        ([turn(Malformed("?"), Outcome.REFUSED)], "on slice 4 the planner's reply could not be"),
        ([turn(NameSlices((1,)), Outcome.REFUSED)], "on slice 4 the planner named slices instead"),
        (
            [turn(CLICK, Outcome.REFUSED)],
            "on slice 4 the planner gave a point, which the segmenter",
        ),
        ([turn(BOX, Outcome.REFUSED)], "on slice 4 the planner's prompt lay outside the image"),
        ([turn(Stop(), Outcome.STOPPED)], "on slice 4 the planner ended before it had drawn"),
    ],
)
def test_each_fault_has_a_sentence_for_a_person(turns: list[Turn], sentence: str) -> None:
    told = why_undrawn(turns, BOXES)

    assert told.startswith(sentence)
    assert not _for_the_planner(told)


def _for_the_planner(sentence: str) -> list[str]:
    return [words for words in FOR_THE_PLANNER if words in sentence]
