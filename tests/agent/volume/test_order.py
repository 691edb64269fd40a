"""The order of the work on a volume's targets, and where a step may end it."""

from __future__ import annotations

import pytest

from agent.volume.order import segment_targets


class Steps:
    """Steps that write down what they were called for; `last` is the one that ends the work."""

    def __init__(self, last: str = "") -> None:
        self.names: list[str] = []
        self._last = last

    def _step(self, name: str) -> bool:
        self.names.append(name)
        return name != self._last

    def outline(self, index: int) -> bool:
        return self._step(f"outline {index}")

    def follow(self) -> bool:
        return self._step("follow")

    def finish(self, index: int) -> bool:
        return self._step(f"finish {index}")


WHOLE = ["outline 0", "outline 1", "follow", "finish 0", "finish 1"]


def test_all_are_outlined_then_followed_then_finished() -> None:
    steps = Steps()

    assert segment_targets(steps, 2)
    assert steps.names == WHOLE


@pytest.mark.parametrize("number", range(len(WHOLE)))
def test_nothing_comes_after_a_step_that_ends_the_work(number: int) -> None:
    steps = Steps(last=WHOLE[number])

    assert not segment_targets(steps, 2)
    assert steps.names == WHOLE[: number + 1]
