"""Prompts of different callers in one run of the decoder, without a thread or a timer of its own.

Whoever asks while nobody's prompts are being drawn draws at once, and takes along what is waiting;
whoever asks meanwhile waits for the next run, which one of those who wait draws. So a single caller
pays nothing, the batches grow with the load, and nobody draws for others after having been
answered.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from agent.ports import PromptedSlice
from agent.values import Segmentation


@dataclass(frozen=True, eq=False)
class _Waiting:
    ask: PromptedSlice
    answer: Future[Segmentation] = field(default_factory=Future)


class Batcher:
    """Draws for many threads through one `draw` (agent.ports.Segmenter.segment_many), at most
    `most` prompts in a call.

    A prompt that makes a batch fail fails alone: the others of that batch are drawn one by one.
    """

    def __init__(
        self, draw: Callable[[Sequence[PromptedSlice]], list[Segmentation]], most: int = 32
    ) -> None:
        self._draw_together, self._most = draw, most
        self._queue: list[_Waiting] = []
        self._changed = threading.Condition()
        self._drawing = False

    def segment_many(self, asks: Sequence[PromptedSlice]) -> list[Segmentation]:
        """The masks for `asks`, in order, drawn together with what other threads ask; raises what
        the segmenter raises.
        """
        mine = [_Waiting(ask) for ask in asks]
        with self._changed:
            self._queue += mine
        while batch := self._next_batch(mine):
            try:
                self._draw(batch)
            finally:
                with self._changed:
                    self._drawing = False
                    self._changed.notify_all()
        return [waiting.answer.result() for waiting in mine]

    def _next_batch(self, mine: Sequence[_Waiting]) -> list[_Waiting]:
        """What this thread is to draw, oldest first, once nobody else draws; [] once all of `mine`
        are answered.
        """

        def answered() -> bool:
            return all(waiting.answer.done() for waiting in mine)

        with self._changed:
            self._changed.wait_for(lambda: answered() or not self._drawing)
            if answered():
                return []
            # the oldest go first, and these may all be others': then this thread comes back for its
            # own, which each round brings `most` nearer to the front, so nobody waits for ever
            self._drawing = True
            batch, self._queue = self._queue[: self._most], self._queue[self._most :]
            return batch

    def _draw(self, batch: Sequence[_Waiting]) -> None:
        try:
            answers = self._draw_together([waiting.ask for waiting in batch])
            for waiting, answer in zip(batch, answers, strict=True):
                waiting.answer.set_result(answer)
        except BaseException as fault:  # noqa: BLE001  every waiting thread must be woken, whatever happened
            if len(batch) == 1 or not isinstance(fault, Exception):
                for waiting in batch:
                    waiting.answer.set_exception(fault)
                return
            # which prompt was at fault is not known; alone, each fails or succeeds for itself
            for waiting in batch:
                self._draw([waiting])
