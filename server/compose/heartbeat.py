"""How a process of the node reports that it moves: its pulses, a probe of its disk, and the thread
that publishes both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from server.nodes.heartbeat import STORAGE_LIMIT_S, Publisher, StorageProbe
from server.pulses import Part, Pulse
from server.record.database.engine import Sessions, open_engine
from server.record.processes.parts import PartTable
from server.record.processes.workers import WorkerIdentity
from server.settings import Settings

LISTENER_LIMIT_S = 10.0
"""The loop that accepts connections moves every second."""
WORKER_LIMIT_S = 30.0
"""A worker with room takes what waits within a second."""
BUSY_LIMIT_S = 3600.0
"""From one turn to the next of a worker whose threads are all taken; the longest are those without
a GPU.
"""


@contextmanager
def heartbeat(
    settings: Settings,
    pulses: Sequence[Pulse],
    folder: Path,
    usable_urls: Callable[[], Sequence[str]],
    looks: Sequence[Callable[[], None]] = (),
) -> Iterator[None]:
    """Publish how this process is while the block runs: its `pulses`, and whether `folder` can be
    written.

    `usable_urls` gives the record's URL once its tables are there; `looks` as in Publisher.
    """

    def open_parts() -> PartTable | None:
        for url in usable_urls():
            table = part_table(Sessions(open_engine(url, pool_size=1)))
            table.sweep()
            return table
        return None

    storage = Pulse(Part.STORAGE, STORAGE_LIMIT_S)
    probe = StorageProbe(folder, settings.storage.minimum_free_bytes, storage)
    publisher = Publisher([*pulses, storage], open_parts, looks)
    probe.start()
    publisher.start()
    try:
        yield
    finally:
        probe.stop()
        publisher.stop()


def part_table(sessions: Sessions) -> PartTable:
    """The parts of the node in the record, for this process."""
    return PartTable(sessions, WorkerIdentity.of_this_process())
