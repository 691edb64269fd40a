"""The order in which GRPO takes its starts, the same in a run that is gone on with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from trl.trainer.utils import RepeatSampler


class StartOrder(RepeatSampler):  # type: ignore[misc]  # trl is not typed
    """TRL's sampler, whose order in each pass over the starts follows from `seed` and the number of
    the pass alone.

    TRL's own draws the orders one after the other from one generator: a run that is gone on with in
    its third pass would take the starts in the order of the first. `passes` tells how many are
    over.
    """

    def __init__(self, *args: Any, passes: Callable[[], int], **more: Any) -> None:
        super().__init__(*args, **more)
        self._passes = passes

    def __iter__(self) -> Iterator[int]:
        self.generator.manual_seed(self.seed + self._passes())
        yield from super().__iter__()
