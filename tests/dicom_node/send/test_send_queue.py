"""What waits to be sent is bounded, and nobody waits for a peer that is gone."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from dicom_node.send.send_queue import SendQueue


def fill(waiting: SendQueue, items: Iterable[int]) -> None:
    for item in items:
        waiting.put(item)


def test_a_full_queue_makes_its_filler_wait() -> None:
    waiting = SendQueue(lambda: True)
    filler = threading.Thread(target=fill, args=(waiting, range(200)), daemon=True)
    filler.start()

    filler.join(0.5)
    most = waiting.qsize()
    taken = [waiting.get(timeout=5) for _ in range(200)]
    filler.join(5)

    assert most == 64
    assert taken == list(range(200))
    assert not filler.is_alive()


def test_after_the_end_nothing_waits() -> None:
    alive = threading.Event()
    alive.set()
    waiting = SendQueue(alive.is_set)
    filler = threading.Thread(target=fill, args=(waiting, range(100_000)))
    filler.start()
    filler.join(0.3)
    assert filler.is_alive()

    alive.clear()

    filler.join(10)
    assert not filler.is_alive()
