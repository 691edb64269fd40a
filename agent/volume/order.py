"""The order of the work on a volume's targets: all outlined, all followed, all finished.

Where the segmenter follows objects by itself, the encoder then runs once a slice and the memory
attention once for all targets. Whoever works on targets goes through `segment_targets`: a worker
whose every step is durable, one process on files, and `segment_target` in memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from agent.episode.state import Clock
from agent.limits import Limits
from agent.ports import Policy, Segmenter, Slices
from agent.turns import TargetResult, Turn
from agent.values import Target
from agent.volume.outline import Outline, outline_target
from agent.volume.run import finish_target, follow_outlines
from agent.volume.target_state import EpisodeConfig

T = TypeVar("T")


class TargetWork(Protocol):
    """The steps of the work on a volume's targets. A step answers False to end the work there."""

    def outline(self, index: int) -> bool:
        """Look for the target with this zero-based index and draw it on its key slices."""

    def follow(self) -> bool:
        """Follow all outlined targets through the volume."""

    def finish(self, index: int) -> bool:
        """Bring a target to its end."""


def segment_targets(work: TargetWork, count: int) -> bool:
    """Take `count` targets through the steps of `work` in order; False where a step ended it."""
    return (
        all(work.outline(index) for index in range(count))
        and work.follow()
        and all(work.finish(index) for index in range(count))
    )


def segment_target(
    target: Target,
    slices: Slices,
    policy: Policy,
    segmenter: Segmenter,
    limits: Limits | None = None,
    *,
    clock: Clock = time.perf_counter,
) -> Generator[Turn, None, TargetResult]:
    """Segment one target in memory; yields its turns once it has ended, returns the TargetResult.

    A target that the policy does not know or cannot localise ends FAILED with the reason; an absent
    structure ends ABSENT, one that is likely and could not be drawn UNCERTAIN. AgentError never
    leaves; other errors pass through.
    """
    config = EpisodeConfig(policy, segmenter, limits or Limits(), clock)
    work = _OneTarget(target, slices, config)
    segment_targets(work, 1)
    yield from work.turns
    return work.results[0]


@dataclass(eq=False)
class _OneTarget:
    """The work on one target, with its turns and its end kept in memory."""

    target: Target
    slices: Slices
    config: EpisodeConfig
    turns: list[Turn] = field(default_factory=list)
    outlines: list[Outline] = field(default_factory=list)
    results: list[TargetResult] = field(default_factory=list)

    def outline(self, index: int) -> bool:  # noqa: ARG002 - the signature of TargetWork
        config = self.config
        steps = outline_target(
            self.target,
            self.slices,
            config.policy,
            config.segmenter,
            config.limits,
            clock=config.clock,
        )
        self.outlines.append(run_turns(steps, self.turns.append))
        return True

    def follow(self) -> bool:
        before = len(self.outlines[0].turns)
        self.outlines = follow_outlines(self.outlines, self.slices, self.config)
        self.turns += self.outlines[0].turns[before:]
        return True

    def finish(self, index: int) -> bool:
        steps = finish_target(self.outlines[index], self.slices, self.config)
        self.results.append(run_turns(steps, self.turns.append))
        return True


def run_turns(steps: Generator[Turn, None, T], on_turn: Callable[[Turn], object]) -> T:
    """Run `steps` to their end, handing every turn to `on_turn` as it happens; what they return."""
    while True:
        try:
            turn = next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        on_turn(turn)
