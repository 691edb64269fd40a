"""Episodes: the policy acts, the segmenter draws, the best mask so far is kept.

The rules of an episode are in agent/episode/state.py. The loop yields every turn as it happens, so
that the caller can store, show or stop. A policy's malformed reply and a segmenter's failure do not
raise: each becomes an observation, and the policy tries again within its budget. `run_episode`
works on one slice, `run_together` on many in lock-step, with common calls of policy and segmenter.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence

from agent.episode.state import Clock, EpisodeState, Objection, no_objection
from agent.errors import SegmenterFailed
from agent.limits import Limits
from agent.ports import BatchPolicy, Observation, Policy, PromptedSlice, Reply, Segmenter
from agent.turns import Episode, Turn
from agent.values import Segmentation


def run_episode(
    start: Observation,
    policy: Policy,
    segmenter: Segmenter,
    limits: Limits,
    *,
    first_index: int = 0,
    objection: Objection = no_objection,
    clock: Clock = time.perf_counter,
) -> Generator[Turn, None, Episode]:
    """Work on one slice until the policy stops or its budget is spent.

    Yields the turns, returns the Episode.

    `start`, `first_index` and `objection` as in EpisodeState. Errors other than SegmenterFailed
    pass through.
    """
    state = EpisodeState(
        start,
        policy,
        segmenter,
        limits,
        first_index=first_index,
        objection=objection,
        clock=clock,
    )
    while state.open:
        began = clock()
        reply = policy.act(state.observe())
        replied = clock()
        prompted = state.step(reply, replied - began)
        answer = None if prompted is None else _answer(segmenter, prompted)
        yield state.record(answer, 0.0 if prompted is None else clock() - replied)
    return state.episode


def run_together(
    starts: Sequence[Observation],
    policy: Policy,
    segmenter: Segmenter,
    limits: Limits,
    *,
    clock: Clock = time.perf_counter,
) -> Generator[tuple[int, Turn], None, list[Episode]]:
    """Work on many slices in lock-step; yields (index of the start, turn), returns the episodes in
    order.

    Each episode goes as it would alone; a turn's seconds are its share of the common calls. The
    starts may be on different volumes and for different targets.
    """
    states = [
        EpisodeState(
            start, policy, segmenter, limits, first_index=0, objection=no_objection, clock=clock
        )
        for start in starts
    ]
    while open_states := [(index, state) for index, state in enumerate(states) if state.open]:
        began = clock()
        replies = _replies(policy, [state.observe() for _, state in open_states])
        replied = clock()
        policy_s = (replied - began) / len(open_states)
        prompted = [
            state.step(reply, policy_s)
            for (_, state), reply in zip(open_states, replies, strict=True)
        ]
        to_draw = [prompted_slice for prompted_slice in prompted if prompted_slice is not None]
        answers = iter(_answers(segmenter, to_draw))
        segmenter_s = (clock() - replied) / max(len(to_draw), 1)
        for (index, state), prompted_slice in zip(open_states, prompted, strict=True):
            if prompted_slice is None:
                yield index, state.record(None, 0.0)
            else:
                yield index, state.record(next(answers), segmenter_s)
    return [state.episode for state in states]


def _replies(policy: Policy, observations: Sequence[Observation]) -> list[Reply]:
    if isinstance(policy, BatchPolicy):
        return policy.act_many(observations)
    return [policy.act(observation) for observation in observations]


def _answers(segmenter: Segmenter, asks: Sequence[PromptedSlice]) -> list[Segmentation | str]:
    """An answer or a fault for each; where the batch as a whole fails, each is drawn alone."""
    if not asks:
        return []
    try:
        return list(segmenter.segment_many(asks))
    except SegmenterFailed:
        return [_answer(segmenter, ask) for ask in asks]


def _answer(segmenter: Segmenter, ask: PromptedSlice) -> Segmentation | str:
    try:
        return segmenter.segment(ask.encoding, ask.prompts)
    except SegmenterFailed as failure:
        return str(failure)
