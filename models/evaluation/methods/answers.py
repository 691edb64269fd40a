"""What a method is given and what it answers: a case on the working grid in, a mask on the case's
own grid out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from agent.case import Case, Truth
from agent.turns import Turn
from agent.values import Target, TargetStatus, Volume
from models.evaluation.metrics import SpacingMm
from models.evaluation.records import Clicks
from models.images.slices import EncodedSlices
from models.loaded_models import LoadedModels, PreparedVolume


@dataclass(frozen=True, eq=False)
class PreparedCase:
    """A case made ready for the models once; all methods share its slices and their encodings."""

    case: Case
    prepared: PreparedVolume

    @classmethod
    def of(cls, case: Case, models: LoadedModels) -> PreparedCase:
        """The case on the working grid of `models`; encodings stay in memory."""
        return cls(case, models.prepare(case.volume, None))

    @property
    def spacing_mm(self) -> SpacingMm | None:
        """Of the case's own grid; None where the file stores none."""
        return self.case.volume.geometry.spacing_mm if self.case.spacing_known else None

    def slices(self, target: Target) -> EncodedSlices:
        """The slices as the target is best seen."""
        return self.prepared.slices_for(target.structure or target.text)

    def seen_by(self, models: LoadedModels) -> PreparedCase:
        """The same case for another planner, with the same encodings where the window is one."""
        prepared = self.prepared
        return PreparedCase(
            self.case,
            PreparedVolume(
                prepared.grid,
                prepared.working,
                models,
                prepared.folder,
                prepared.on_encoded,
                prepared._by_window,  # noqa: SLF001 - shared on purpose: one encoder pass an image
            ),
        )

    def to_source(self, voxels: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A mask (z, y, x) bool of the working grid on the case's own."""
        return self.prepared.to_source(voxels).voxels

    @cached_property
    def working_truths(self) -> dict[str, NDArray[np.bool_]]:
        """The truths (z, y, x) bool on the working grid, by the target's text."""
        return {truth.target.text: self._to_working(truth) for truth in self.case.truths}

    def _to_working(self, truth: Truth) -> NDArray[np.bool_]:
        grid, volume = self.prepared.grid, self.case.volume
        if grid.is_identity:
            return truth.voxels
        drawn = Volume(truth.voxels.astype(np.float32), volume.geometry, volume.modality)
        return np.asarray(grid.to_working(drawn).intensities > 0.5)


@dataclass(frozen=True, eq=False)
class MethodAnswer:
    """A method's answer about one target: `mask` (z, y, x) bool on the case's own grid, None where
    nothing was drawn; `confidence` 0..1, or NaN from a policy that gave none.

    `judged` is False where the method draws no whole object. `masks_by_turn` gives the masks after
    each turn, on the case's grid; `clicks` what ideal prompts gave. `also` are answers that follow
    from the same turns, by the names of their methods.
    """

    target: Target
    status: TargetStatus
    mask: NDArray[np.bool_] | None = None
    confidence: float | None = None
    reason: str = ""
    turns: tuple[Turn, ...] = ()
    seconds: float = 0.0
    encoder_passes: int = 0
    judged: bool = True
    masks_by_turn: Callable[[], list[NDArray[np.bool_]]] | None = None
    clicks: Clicks | None = None
    also: dict[str, MethodAnswer] = field(default_factory=dict)


class Method(Protocol):
    """A way to answer all targets of a case: a policy, a baseline."""

    @property
    def name(self) -> str:
        """As in results and on the command line."""

    @property
    def names(self) -> tuple[str, ...]:
        """Its name and those of the answers that come along (`MethodAnswer.also`)."""

    def targets(self, case: Case) -> tuple[Target, ...]:
        """The targets of a case that it works on."""

    def answers(self, case: PreparedCase, targets: Sequence[Target]) -> Iterator[MethodAnswer]:
        """An answer a target of these, in order; a target that fails is one too."""


def targets_there(case: Case) -> tuple[Target, ...]:
    """The targets of a case that are in the image."""
    return tuple(truth.target for truth in case.truths if not truth.absent)


def failure(target: Target, fault: BaseException, seconds: float = 0.0) -> MethodAnswer:
    """The answer of a method that raised."""
    reason = f"{type(fault).__name__}: {fault}" if str(fault) else type(fault).__name__
    return MethodAnswer(target, TargetStatus.FAILED, reason=reason, seconds=seconds)
