"""Whatever a policy says and a segmenter answers: what holds of every episode and every target."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import TypeVar

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.actions import Absent, Action, AddBox, AddPoint, Malformed, Stop
from agent.episode.loop import run_episode
from agent.fakes import (
    ArraySlices,
    FakeSegmenter,
    FakeVolumeSegmenter,
    ScriptedSegmenter,
    segmentation,
)
from agent.knowledge import ANYTHING
from agent.limits import Limits
from agent.ports import Assessment, Localisation, Observation, Reply, Slices
from agent.trace import Trace, trace_from_record, trace_record
from agent.turns import Outcome, Turn
from agent.values import Box, Point, PromptKind, Role, Segmentation, Target, TargetStatus
from agent.volume.order import segment_target

SIDE, DEPTH = 16, 5

coordinates = st.integers(-2, SIDE + 2)
corners = st.integers(0, SIDE - 1)
actions: st.SearchStrategy[Action] = st.one_of(
    st.builds(
        lambda x, y, w, h: AddBox(Box(x, y, x + w, y + h)), corners, corners, corners, corners
    ),
    st.builds(AddPoint, st.builds(Point, coordinates, coordinates, st.booleans())),
    st.builds(AddPoint, st.builds(Point, st.floats(), st.floats())),
    st.just(Stop()),
    st.just(Absent("not here")),
    st.just(Malformed("?")),
)
limits = st.builds(
    Limits,
    max_turns=st.integers(1, 6),
    carry_turns=st.integers(1, 3),
    review_turns=st.integers(1, 3),
    key_slices=st.integers(1, 3),
    end_after=st.integers(1, 3),
    review_slices=st.integers(1, 4),
)


@st.composite
def answers(draw: st.DrawFn) -> Segmentation | str:
    if draw(st.integers(0, 9)) == 0:
        return "no memory"
    mask = np.zeros((SIDE, SIDE), dtype=np.bool_)
    x, y = draw(corners), draw(corners)
    mask[y : y + draw(corners), x : x + draw(corners)] = True
    return segmentation(mask, draw(st.sampled_from([0.0, 0.3, 0.5, 0.9, float("nan")])))


class AnyPolicy:
    """Says whatever it is given, over and over."""

    name = "any"
    knowledge = ANYTHING

    def __init__(self, replies: list[Action], survey_says: Localisation) -> None:
        self._replies, self._survey, self._said = replies, survey_says, 0

    def localise(self, target: Target, slices: Slices) -> Localisation:
        return self._survey

    def act(self, observation: Observation) -> Reply:
        self._said += 1
        return Reply(self._replies[self._said % len(self._replies)])

    def score(self, observation: Observation, drawn: Segmentation) -> float:
        return drawn.predicted_iou

    def assess(self, target: Target, slices: Slices, voxels: np.ndarray) -> Assessment:
        return Assessment(self._survey.key_slices)


ON_A_SLICE = (Role.KEY, Role.CARRY, Role.REVIEW)


T = TypeVar("T")


def played(generator: Generator[Turn, None, T]) -> tuple[list[Turn], T]:
    turns = []
    while True:
        try:
            turns.append(next(generator))
        except StopIteration as ended:
            return turns, ended.value


@given(
    st.lists(actions, min_size=1, max_size=8),
    st.lists(answers(), max_size=8),
    limits,
    st.sampled_from(ON_A_SLICE),
)
def test_every_episode(
    replies: list[Action], drawn: list[Segmentation | str], limit: Limits, role: Role
) -> None:
    # Arrange
    segmenter = ScriptedSegmenter(drawn, frozenset({PromptKind.BOX, PromptKind.POINT}))
    slices = ArraySlices(np.zeros((1, SIDE, SIDE), dtype=np.float32), segmenter)
    start = Observation(Target("x"), slices, 0, role)

    # Act
    turns, episode = played(
        run_episode(start, AnyPolicy(replies, Localisation((), ())), segmenter, limit)
    )

    # Assert
    assert 1 <= len(turns) <= limit.turns(role)
    assert [turn.index for turn in turns] == list(range(len(turns)))
    kept = [turn.score or 0.0 for turn in turns if turn.outcome is Outcome.KEPT]
    assert kept == sorted(kept)
    if episode.absent:
        assert episode.best is None
        assert turns[-1].outcome is Outcome.ABSENT
    else:
        assert (episode.best is None) == (not kept)
        assert episode.score == max(kept, default=0.0)
    if episode.best is not None:
        assert episode.best.mask.any()
    told = [turn for turn in turns if turn.outcome in (Outcome.REFUSED, Outcome.NO_MASK)]
    assert all(turn.observation for turn in told)


@settings(max_examples=60)
@given(
    st.lists(actions, min_size=1, max_size=12),
    st.lists(st.integers(-1, DEPTH), max_size=3),
    st.one_of(st.just(()), st.lists(st.floats(0, 1), min_size=DEPTH, max_size=DEPTH).map(tuple)),
    limits,
    st.integers(0, 2**32 - 1),
    st.sampled_from([FakeSegmenter, FakeVolumeSegmenter]),
)
def test_every_target(
    replies: list[Action],
    key_slices: list[int],
    presence: tuple[float, ...],
    limit: Limits,
    seed: int,
    kind: type[FakeSegmenter],
) -> None:
    # Arrange
    blocks = np.random.default_rng(seed).integers(0, 3, (DEPTH, 4, 4)) / 2
    image = np.kron(blocks, np.ones((1, 4, 4))).astype(np.float32)
    segmenter = kind()
    policy = AnyPolicy(replies, Localisation(presence, tuple(key_slices)))

    # Act
    turns, result = played(
        segment_target(Target("x"), ArraySlices(image, segmenter), policy, segmenter, limit)
    )

    # Assert: every turn has a name of its own, and the slice's budgets hold
    names = [(turn.slice_index, turn.index) for turn in turns]
    assert len(set(names)) == len(names)
    assert result.turns == tuple(turns)
    for z in range(DEPTH):
        for role in ON_A_SLICE:
            spent = sum(turn.slice_index == z and turn.role is role for turn in turns)
            # a slice may be carried to twice, from below and from above, and looked at twice:
            # inspected, reviewed
            assert spent <= limit.turns(role) * (1 if role is Role.KEY else 2) * len(
                {z for z in key_slices if 0 <= z < DEPTH}
            )
    # the result is whole
    assert 0.0 <= result.confidence <= 1.0
    assert (result.voxels is not None) == (result.status is TargetStatus.SEGMENTED)
    assert result.status is TargetStatus.SEGMENTED or result.reason
    if result.voxels is not None:
        assert result.voxels.shape == image.shape
        assert result.voxels.dtype == np.bool_
        assert result.voxels.any()
    written = json.dumps(trace_record(Trace.of([result])), allow_nan=False)
    assert trace_from_record(json.loads(written)) == Trace.of([result])
