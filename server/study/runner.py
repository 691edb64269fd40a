"""The agent's work on the targets of one volume: an outline goes in, an outline or a result out.

server.pipeline keeps the values between the steps; agent.volume.order has their order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from agent.limits import Limits
from agent.ports import Slices
from agent.turns import TargetResult, Turn
from agent.values import Target
from agent.volume.order import run_turns
from agent.volume.outline import Outline, outline_target
from agent.volume.run import finish_target, follow_outlines
from agent.volume.target_state import EpisodeConfig
from server.ports import LoadedModels, Prepared


@dataclass(frozen=True, eq=False)
class VolumeWork:
    """The models, a volume made ready for them, and the agent's budgets."""

    workbench: LoadedModels
    prepared: Prepared
    limits: Limits

    def outline(self, target: Target, on_turn: Callable[[Turn], None]) -> Outline:
        """Look for a target and draw it on its key slices; turns are handed over as they happen."""
        models, slices = self.workbench, self.slices(target)
        steps = outline_target(target, slices, models.policy, models.segmenter, self.limits)
        return run_turns(steps, on_turn)

    def follow(
        self,
        targets: Sequence[Target],
        outlines: Mapping[int, Outline],
        on_turn: Callable[[int, Turn], None],
    ) -> dict[int, Outline]:
        """Follow the outlines (by target index) through the volume; those that changed.

        It takes one pass for all targets that are seen through the same window.
        """
        changed: dict[int, Outline] = {}
        for slices, indices in self._by_slices(targets).items():
            before = {index: outlines[index] for index in indices if index in outlines}
            after = follow_outlines(list(before.values()), slices, self._config)
            for (index, old), new in zip(before.items(), after, strict=True):
                if new is not old:
                    changed[index] = new
                    for turn in new.turns[len(old.turns) :]:
                        on_turn(index, turn)
        return changed

    def finish(
        self, target: Target, outline: Outline, on_turn: Callable[[Turn], None]
    ) -> TargetResult:
        """Bring an outlined target to its end; further turns are handed over as they happen."""
        return run_turns(finish_target(outline, self.slices(target), self._config), on_turn)

    @property
    def _config(self) -> EpisodeConfig:
        return EpisodeConfig(self.workbench.policy, self.workbench.segmenter, self.limits)

    def slices(self, target: Target) -> Slices:
        """The working grid's slices as a target is seen best."""
        return self.prepared.slices_for(target.structure or target.text)

    def _by_slices(self, targets: Sequence[Target]) -> dict[Slices, list[int]]:
        indices: dict[Slices, list[int]] = {}
        for index, target in enumerate(targets):
            indices.setdefault(self.slices(target), []).append(index)
        return indices
