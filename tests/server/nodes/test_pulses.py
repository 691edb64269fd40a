"""Pulses, what beats them, and how they are made known: without a database, on a clock of our
own.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from server.errors import RecordUnavailable
from server.nodes.heartbeat import PUBLISH_S, Publisher, StorageProbe
from server.pulses import Part, Pulse, PulseState


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class FakeParts:
    """Parts in memory; `away` is raised, as if PostgreSQL were gone."""

    def __init__(self) -> None:
        self.away = False
        self.published: list[tuple[PulseState, ...]] = []
        self.left = False

    def publish(self, states: Sequence[PulseState]) -> None:
        if self.away:
            raise RecordUnavailable("PostgreSQL does not answer")
        self.published.append(tuple(states))

    def leave(self) -> None:
        self.left = True


def test_a_pulse_grows_old_until_its_loop_beats_again() -> None:
    clock = Clock()
    pulse = Pulse(Part.LISTENER, 10.0, clock)

    clock.now_s += 12
    still = pulse.state()
    pulse.beat("accept")
    clock.now_s += 3

    assert (still.age_s, still.limit_s) == (12.0, 10.0)
    assert pulse.state() == PulseState(Part.LISTENER, 3.0, 10.0, "accept")


def test_a_beat_may_ask_for_more_time_until_the_next() -> None:
    pulse = Pulse(Part.WORKER, 30.0)

    pulse.beat("follow", limit_s=3600.0)
    busy = pulse.state().limit_s
    pulse.beat()

    assert (busy, pulse.state().limit_s) == (3600.0, 30.0)


def test_a_parent_passes_on_when_its_children_moved() -> None:
    clock = Clock()
    pulse = Pulse(Part.LISTENER, 10.0, clock)

    clock.now_s += 60
    pulse.beat_as_of(1005.0)

    assert pulse.state().age_s == 55.0


def test_a_fault_stays_until_the_next_beat() -> None:
    pulse = Pulse(Part.STORAGE, 30.0)

    pulse.fail("no disk")
    failed = pulse.state().fault
    pulse.beat()

    assert (failed, pulse.state().fault) == ("no disk", None)


def test_publishing_makes_no_pulse_younger() -> None:
    clock, parts = Clock(), FakeParts()
    publisher = Publisher([Pulse(Part.LISTENER, 10.0, clock)], lambda: parts)

    for _ in range(3):
        clock.now_s += 20
        publisher.publish()

    assert [states[0].age_s for states in parts.published] == [20.0, 40.0, 60.0]


def test_a_change_is_published_at_once_and_the_rest_now_and_then() -> None:
    # Arrange
    clock, parts = Clock(), FakeParts()
    pulse = Pulse(Part.LISTENER, 10.0, clock)
    publisher = Publisher([pulse], lambda: parts, clock=clock)
    due_before = publisher.is_due()
    publisher.publish()

    # Act
    due = []
    for change in (lambda: None, lambda: pulse.beat("accept"), lambda: pulse.fail("no disk")):
        change()
        due.append(publisher.is_due())
        publisher.publish()
    clock.now_s += PUBLISH_S
    due.append(publisher.is_due())
    parts.away = True
    publisher.publish()
    due.append(publisher.is_due())

    # Assert
    assert due_before
    assert due == [False, True, True, True, True]


def test_a_record_that_is_away_is_told_again_when_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    parts = FakeParts()
    publisher = Publisher([Pulse(Part.LISTENER, 10.0)], lambda: parts)

    parts.away = True
    publisher.publish()
    publisher.publish()
    parts.away = False
    publisher.publish()

    assert len(parts.published) == 1
    assert len([line for line in caplog.messages if "no heartbeat" in line]) == 1


def test_a_database_that_is_still_being_opened_is_no_trouble(
    caplog: pytest.LogCaptureFixture,
) -> None:
    parts = FakeParts()
    opened: list[FakeParts] = []
    publisher = Publisher([Pulse(Part.LISTENER, 10.0)], lambda: next(iter(opened), None))

    publisher.publish()
    opened.append(parts)
    publisher.publish()

    assert len(parts.published) == 1
    assert caplog.messages == []


def test_a_look_that_fails_keeps_no_later_heartbeat_back() -> None:
    parts, faults = FakeParts(), [ZeroDivisionError("by a library")]

    def look() -> None:
        if faults:
            raise faults.pop()

    publisher = Publisher([Pulse(Part.WORKER, 10.0)], lambda: parts, [look])
    publisher.publish()
    publisher.publish()

    assert len(parts.published) == 1


def test_a_process_that_ends_in_good_order_takes_its_rows_away() -> None:
    parts = FakeParts()
    publisher = Publisher([], lambda: parts)

    publisher.publish()
    publisher.start()
    publisher.stop()

    assert parts.left


def test_a_disk_that_takes_what_is_written_beats(tmp_path: Path) -> None:
    pulse = Pulse(Part.STORAGE, 30.0)
    probe = StorageProbe(tmp_path, 0, pulse)
    pulse.fail("nobody has looked yet")

    probe.probe()

    assert pulse.state().fault is None
    assert [path.name for path in tmp_path.iterdir()] == [".heartbeat"]


def test_a_disk_on_which_every_fsync_fails_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    clock = Clock()
    pulse = Pulse(Part.STORAGE, 30.0, clock)
    probe = StorageProbe(tmp_path, 0, pulse)
    monkeypatch.setattr(os, "fsync", fail)

    clock.now_s += 5
    probe.probe()

    assert "Input/output error" in str(pulse.state().fault)
    assert pulse.state().age_s == 5.0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_a_fault(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    pulse = Pulse(Part.STORAGE, 30.0)

    StorageProbe(tmp_path, 0, pulse).probe()

    assert "Permission denied" in str(pulse.state().fault)


def test_a_disk_with_too_little_room_is_a_fault(tmp_path: Path) -> None:
    pulse = Pulse(Part.STORAGE, 30.0)

    StorageProbe(tmp_path, 2**62, pulse).probe()

    assert "make room" in str(pulse.state().fault)
