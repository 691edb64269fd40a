"""Hundreds of hostile connections, and after each hundred a sound peer is served as if nothing had
been.

The long form, ten thousand of them, is tests/benchmarks/bench_hostile.py.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.demo.archive import Archive
from server.demo.node import RunningNode, running_node
from tests.support import hostile

pytestmark = pytest.mark.slow

HUNDREDS = 4
SEED = 20
FAKE_MODELS = '\n[agent]\npolicy = "threshold"\nsegmenter = "fake"\n'
GROWTH_BYTES = 48 << 20
GROWTH_DESCRIPTORS = 12
GROWTH_THREADS = 12
LIMIT_S = 60.0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningNode, Path]]:
    """A node, and the file it logs to."""
    folder = tmp_path_factory.mktemp("n")
    archive = Archive(folder / "archive")
    with (
        archive.running(),
        running_node(folder, archive.port, ("bright",), FAKE_MODELS) as node,
    ):
        yield node, folder / "node.log"


def settled(process_id: int, descriptors: int) -> hostile.Footprint:
    """The footprint, once the connections of the last attacks have been given up."""
    deadline = time.monotonic() + LIMIT_S
    while True:
        footprint = hostile.footprint(process_id)
        if footprint.descriptors <= descriptors or time.monotonic() > deadline:
            return footprint
        time.sleep(0.2)  # another process's descriptors cannot be waited on


def listed(node: RunningNode) -> None:
    """Wait until something that was stored is listed: then every process that listening needs has
    been started.
    """
    deadline = time.monotonic() + LIMIT_S
    while not node.client.get("studies"):
        assert time.monotonic() < deadline, "nothing that was stored is listed"
        time.sleep(0.2)  # HTTP has nothing to wait on


def test_a_sound_peer_is_served_after_every_hundred_attacks(site: tuple[RunningNode, Path]) -> None:
    # Arrange: what is loaded at the first of its kind is no leak
    node, log = site
    process_id = hostile.listening_process(os.getpid())
    attacks = iter(hostile.attacks(SEED, 100 * (HUNDREDS + 1)))
    for _ in range(100):
        hostile.send(node.dicom_port, next(attacks))
    hostile.sound_exchange(node.dicom_port)
    listed(node)
    before = settled(process_id, 64)

    # Act
    for _ in range(HUNDREDS):
        for _ in range(100):
            hostile.send(node.dicom_port, next(attacks))
        hostile.sound_exchange(node.dicom_port)

    # Assert: the same process, as large as it was
    after = settled(process_id, before.descriptors + GROWTH_DESCRIPTORS)
    assert hostile.listening_process(os.getpid()) == process_id
    assert after.memory_bytes < before.memory_bytes + GROWTH_BYTES
    assert after.descriptors <= before.descriptors + GROWTH_DESCRIPTORS
    assert after.threads <= before.threads + GROWTH_THREADS
    # no peer writes a line of its own into the log, and none sees what the record is asked
    written = log.read_text("utf-8", errors="replace")
    assert not re.search(r"^ERROR forged|^2$", written, re.MULTILINE)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", written)
    assert "[parameters:" not in written
    assert "Traceback" not in written
