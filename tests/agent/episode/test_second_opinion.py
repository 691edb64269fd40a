"""A second segmenter is shown the box and clicks of the accepted turns, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.actions import Action, AddBox, AddPoint, Stop
from agent.episode.second_opinion import accepted_prompts, second_opinion
from agent.fakes import ArraySlices, FakeEncoding, FakeSegmenter, ScriptedSegmenter
from agent.limits import Limits
from agent.trace import Trace, trace_from_record, trace_record
from agent.turns import WHOLE_VOLUME, Outcome, SecondOpinion, TargetResult, Turn
from agent.values import Box, Point, PromptKind, Role, Target, TargetStatus

BOX, OTHER = Box(10.0, 10.0, 29.0, 29.0), Box(12.0, 12.0, 20.0, 20.0)
CLICK, FAR = Point(15.0, 15.0, True), Point(25.0, 25.0, False)
BOTH = frozenset((PromptKind.BOX, PromptKind.POINT))


def turn(
    action: Action, z: int = 2, role: Role = Role.KEY, outcome: Outcome = Outcome.KEPT
) -> Turn:
    return Turn(z, 0, role, action, outcome)


def test_prompts_are_those_of_accepted_turns_as_they_stood_at_the_end() -> None:
    turns = (
        turn(Stop(), WHOLE_VOLUME, Role.SURVEY),
        turn(AddBox(OTHER)),
        turn(AddBox(BOX)),
        turn(AddPoint(FAR), outcome=Outcome.ROLLED_BACK),
        turn(AddPoint(CLICK)),
        turn(AddPoint(FAR), role=Role.REVIEW),
        turn(AddBox(OTHER), 3, Role.CARRY),
        turn(Stop(), outcome=Outcome.STOPPED),
    )

    by_slice = accepted_prompts(turns, BOTH, Limits())

    assert list(by_slice) == [2]
    assert by_slice[2].box == BOX
    assert by_slice[2].points == (CLICK, FAR)
    assert accepted_prompts(turns, {PromptKind.BOX}, Limits())[2].points == ()
    assert accepted_prompts(turns, {PromptKind.TEXT}, Limits()) == {}


@pytest.fixture
def result() -> TargetResult:
    """A square of 20 x 20 on slice 2, drawn from its box."""
    voxels = np.zeros((4, 40, 40), dtype=np.bool_)
    voxels[1:4, 10:30, 10:30] = True
    status = TargetStatus.SEGMENTED
    return TargetResult(Target("liver"), status, voxels, 0.9, (turn(AddBox(BOX)),))


def slices(rows: slice) -> ArraySlices:
    """Bright in `rows`, in the columns of the square."""
    image = np.zeros((4, 40, 40), dtype=np.float32)
    image[:, rows, 10:30] = 1.0
    return ArraySlices(image, FakeSegmenter())


def test_the_dice_is_that_of_the_slices_which_were_prompted(result: TargetResult) -> None:
    same = second_opinion(result, slices(slice(10, 30)), FakeSegmenter(), Limits())
    half = second_opinion(result, slices(slice(15, 25)), FakeSegmenter(), Limits())

    assert same == SecondOpinion("fake", 1.0, (2,))
    # 10 of 20 rows: 2 * 200 / (400 + 200)
    assert half.dice == pytest.approx(2 / 3)


def test_one_that_draws_nothing_has_no_opinion(result: TargetResult) -> None:
    shown = slices(slice(10, 30))

    failed = second_opinion(result, shown, ScriptedSegmenter(["no"]), Limits())
    deaf = second_opinion(
        result, shown, ScriptedSegmenter([], frozenset({PromptKind.TEXT})), Limits()
    )

    assert failed == SecondOpinion("scripted", None, ())
    assert deaf == SecondOpinion("scripted", None, ())


class ColourSlices(ArraySlices):
    """Slices that are red."""

    def picture(self, z: int) -> NDArray[np.float32]:
        """Red where the slice is bright."""
        return np.stack([self.image(z), *[np.zeros_like(self.image(z))] * 2], axis=2)


class Looking(FakeSegmenter):
    """Keeps the shapes of what it was shown."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def encode(self, image: NDArray[np.float32]) -> FakeEncoding:
        """As FakeSegmenter."""
        self.shapes.append(image.shape)
        return super().encode(image)


def test_colours_are_shown_where_there_are_any(result: TargetResult) -> None:
    segmenter, image = Looking(), np.ones((4, 40, 40), dtype=np.float32)

    second_opinion(result, ArraySlices(image, segmenter), segmenter, Limits())
    second_opinion(result, ColourSlices(image, segmenter), segmenter, Limits())

    assert segmenter.shapes == [(40, 40), (40, 40, 3)]


def test_what_was_not_segmented_cannot_be_compared(result: TargetResult) -> None:
    absent = TargetResult(result.target, TargetStatus.ABSENT, None, 0.9, ())

    with pytest.raises(ValueError, match="was not segmented"):
        second_opinion(absent, slices(slice(10, 30)), FakeSegmenter(), Limits())


@pytest.mark.parametrize("dice", [0.61, None])
def test_a_trace_keeps_it(result: TargetResult, dice: float | None) -> None:
    told = TargetResult(
        result.target,
        result.status,
        result.voxels,
        0.9,
        (),
        second_opinion=SecondOpinion("sam", dice, (2, 7)),
    )
    trace = Trace.of([told, result])

    assert trace_from_record(trace_record(trace)) == trace
    assert trace.targets[0].second_opinion == SecondOpinion("sam", dice, (2, 7))
