"""When a study is complete, with a clock that the tests turn."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dicom_node.receive.study_completeness import StudyWatch
from dicom_node.values import Arrival, KeptAs, StoredInstance

QUIET_S = 10.0


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s

    def wait(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watch(clock: Clock) -> StudyWatch:
    return StudyWatch(clock, longest_hold_s=900.0)


@pytest.fixture
def image() -> Callable[..., Arrival]:
    """An instance that arrives."""

    def build(study: str = "1.1", series: str = "1.1.1", kept_as: KeptAs = KeptAs.NEW) -> Arrival:
        instance = StoredInstance(Path("x.dcm"), study, series, "1.1.1.1", "1.2.840", "00")
        return Arrival(instance, kept_as, "MODALITY", "192.0.2.1", datetime.now(UTC))

    return build


def send(watch: StudyWatch, association: str, *arrivals: Arrival) -> None:
    """One association from beginning to end."""
    watch.association_opened(association)
    for arrival in arrivals:
        watch.arrived(association, arrival)
    watch.association_closed(association)


def test_a_study_is_due_after_the_quiet_time_and_not_before(
    watch: StudyWatch, clock: Clock, image: Callable[..., Arrival]
) -> None:
    send(watch, "a", image())

    clock.wait(9.9)
    before = watch.due(QUIET_S)
    clock.wait(0.1)

    assert before == []
    assert watch.due(QUIET_S) == ["1.1"]


def test_every_arrival_begins_the_quiet_time_anew(
    watch: StudyWatch, clock: Clock, image: Callable[..., Arrival]
) -> None:
    send(watch, "a", image(series="1"))
    clock.wait(8)
    send(watch, "b", image(series="2"))
    clock.wait(8)

    assert watch.due(QUIET_S) == []


def test_an_open_association_that_brought_part_of_it_holds_a_study(
    watch: StudyWatch, clock: Clock, image: Callable[..., Arrival]
) -> None:
    watch.association_opened("a")
    watch.arrived("a", image())

    clock.wait(100)
    held = watch.due(QUIET_S)
    watch.association_closed("a")

    assert held == []
    assert watch.due(QUIET_S) == ["1.1"]


def test_an_association_that_brought_nothing_of_it_does_not(
    watch: StudyWatch, clock: Clock, image: Callable[..., Arrival]
) -> None:
    watch.association_opened("other")
    watch.arrived("other", image(study="2.2"))
    watch.association_opened("silent")
    send(watch, "a", image())

    clock.wait(QUIET_S)

    assert watch.due(QUIET_S) == ["1.1"]


def test_the_last_of_several_associations_counts(
    watch: StudyWatch, clock: Clock, image: Callable[..., Arrival]
) -> None:
    for association in ("a", "b"):
        watch.association_opened(association)
        watch.arrived(association, image())
    clock.wait(QUIET_S)

    watch.association_closed("a")
    one_left = watch.due(QUIET_S)
    watch.association_closed("b")

    assert one_left == []
    assert watch.due(QUIET_S) == ["1.1"]


def test_an_association_that_never_closes_holds_for_a_bounded_time(
    watch: StudyWatch, clock: Clock, image: Callable[..., Arrival]
) -> None:
    watch.association_opened("all day")
    watch.arrived("all day", image())

    clock.wait(899)
    before = watch.due(QUIET_S)
    clock.wait(1)

    assert before == []
    assert watch.due(QUIET_S) == ["1.1"]


def test_a_series_that_grows_slowly_keeps_its_study_waiting(
    watch: StudyWatch, clock: Clock, image: Callable[..., Arrival]
) -> None:
    send(watch, "a", image())
    clock.wait(8)
    send(watch, "b", image())  # every eight seconds, it seems

    clock.wait(QUIET_S)
    growing = watch.due(QUIET_S)
    clock.wait(6)

    assert growing == []
    assert watch.due(QUIET_S) == ["1.1"]


def test_a_new_series_after_a_pause_is_no_slow_growth(
    watch: StudyWatch, clock: Clock, image: Callable[..., Arrival]
) -> None:
    send(watch, "a", image(series="1"))
    clock.wait(9)
    send(watch, "b", image(series="2"))

    clock.wait(QUIET_S)

    assert watch.due(QUIET_S) == ["1.1"]


def test_a_due_study_is_named_until_it_is_forgotten(
    watch: StudyWatch, clock: Clock, image: Callable[..., Arrival]
) -> None:
    send(watch, "a", image())
    clock.wait(QUIET_S)

    first, second = watch.due(QUIET_S), watch.due(QUIET_S)
    forgotten = watch.forget("1.1")

    assert first == second == ["1.1"]
    assert forgotten
    assert watch.due(QUIET_S) == []
    assert watch.waiting() == []


def test_a_late_arrival_makes_the_study_due_again(
    watch: StudyWatch, clock: Clock, image: Callable[..., Arrival]
) -> None:
    send(watch, "a", image())
    clock.wait(QUIET_S)
    watch.due(QUIET_S)
    watch.forget("1.1")

    clock.wait(3600)
    send(watch, "b", image())
    at_once = watch.due(QUIET_S)
    clock.wait(QUIET_S)

    assert at_once == []
    assert watch.due(QUIET_S) == ["1.1"]


def test_an_arrival_between_due_and_forget_is_not_lost(
    watch: StudyWatch, clock: Clock, image: Callable[..., Arrival]
) -> None:
    send(watch, "a", image())
    clock.wait(QUIET_S)
    watch.due(QUIET_S)
    send(watch, "b", image())

    forgotten = watch.forget("1.1")
    clock.wait(2 * QUIET_S)

    assert not forgotten
    assert watch.due(QUIET_S) == ["1.1"]


@pytest.mark.parametrize("kept_as", [KeptAs.SAME, KeptAs.CONFLICT])
def test_what_adds_nothing_to_a_study_makes_it_not_due(
    watch: StudyWatch, clock: Clock, image: Callable[..., Arrival], kept_as: KeptAs
) -> None:
    send(watch, "a", image(kept_as=kept_as))

    clock.wait(QUIET_S)

    assert watch.due(QUIET_S) == []


def test_a_sender_that_begins_all_over_is_waited_for(
    watch: StudyWatch, clock: Clock, image: Callable[..., Arrival]
) -> None:
    send(watch, "a", image(series="1"))
    clock.wait(8)
    watch.association_opened("b")
    watch.arrived("b", image(series="2", kept_as=KeptAs.SAME))
    clock.wait(100)

    held = watch.due(QUIET_S)
    watch.association_closed("b")

    assert held == []
    assert watch.due(QUIET_S) == ["1.1"]


def test_a_study_found_at_start_waits_its_quiet_time_anew(watch: StudyWatch, clock: Clock) -> None:
    watch.note("1.1")

    at_once = watch.due(QUIET_S)
    clock.wait(QUIET_S)

    assert at_once == []
    assert watch.due(QUIET_S) == ["1.1"]
    assert watch.changed() == {"1.1"}


def test_studies_with_something_new_on_disk_are_named_once(
    watch: StudyWatch, image: Callable[..., Arrival]
) -> None:
    send(watch, "a", image(), image(), image(study="2.2"), image("3.3", kept_as=KeptAs.SAME))
    send(watch, "b", image("4.4", kept_as=KeptAs.CONFLICT))

    assert watch.changed() == {"1.1", "2.2", "4.4"}
    assert watch.changed() == set()


def test_due_studies_come_longest_quiet_first(
    watch: StudyWatch, clock: Clock, image: Callable[..., Arrival]
) -> None:
    send(watch, "a", image(study="2.2"))
    clock.wait(1)
    send(watch, "b", image(study="1.1"))
    clock.wait(QUIET_S)

    assert watch.due(QUIET_S) == ["2.2", "1.1"]


def test_what_is_waiting_can_be_shown(
    watch: StudyWatch, clock: Clock, image: Callable[..., Arrival]
) -> None:
    watch.association_opened("a")
    watch.arrived("a", image())
    watch.arrived("a", image())
    watch.arrived("a", image(kept_as=KeptAs.SAME))
    clock.wait(4)

    (study,) = watch.waiting()

    assert study.study_instance_uid == "1.1"
    assert study.instances == 2
    assert study.idle_s == 4
    assert study.open_associations == 1


def test_closing_twice_or_the_unknown_is_harmless(watch: StudyWatch) -> None:
    watch.association_opened("a")
    watch.association_closed("a")

    watch.association_closed("a")
    watch.association_closed("never opened")


def test_many_threads_at_once_lose_nothing(
    watch: StudyWatch, clock: Clock, image: Callable[..., Arrival]
) -> None:
    def work(number: int) -> None:
        for k in range(50):
            send(watch, f"{number}-{k}", image(study=f"1.{number}"))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    clock.wait(QUIET_S)

    assert sorted(watch.due(QUIET_S)) == [f"1.{n}" for n in range(8)]
    assert {study.instances for study in watch.waiting()} == {50}
