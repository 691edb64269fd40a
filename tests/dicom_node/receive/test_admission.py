"""Who may connect now, and who makes room: numbers and times, no sockets."""

from __future__ import annotations

from typing import Any

import pytest

from dicom_node.receive.admission import AdmissionControl
from dicom_node.receive.limits import PeerLimits


class Door:
    """An admission with a clock that the test winds, and the list of those it has ended."""

    def __init__(self, **limits: Any) -> None:
        self.now_s = 0.0
        self.ended: list[int] = []
        chosen = PeerLimits(**{"unused_s": 5.0, **limits})
        self.keeper = AdmissionControl(
            chosen, lambda number, _: self.ended.append(number), lambda: self.now_s
        )

    def come(self, address: str = "192.0.2.1", *, associate: bool = True) -> tuple[int, bool]:
        """Connect, and ask for an association; the number and whether it was had."""
        number = self.keeper.admit(address)
        assert number is not None
        return number, associate and self.keeper.associate(number, f"association {number}")


def test_above_the_limit_nobody_gets_an_association_until_one_ends() -> None:
    door = Door(associations=2)
    (first, _), _ = door.come(), door.come()

    refused = door.come()[1]
    door.keeper.dissociate(first)

    assert (refused, door.come()[1], door.ended) == (False, True, [])


def test_one_address_cannot_take_every_association() -> None:
    door = Door(associations=10, associations_per_address=3)

    granted = [door.come("192.0.2.1")[1] for _ in range(4)]

    assert granted == [True, True, True, False]
    assert door.come("192.0.2.2")[1]


def test_an_association_that_only_echoed_gives_way_at_once() -> None:
    door = Door(associations=2)
    (storing, _), (echoing, _) = door.come(), door.come()
    door.keeper.used(storing)
    door.keeper.echoed(echoing)

    assert door.come()[1]
    assert door.ended == [echoing]
    assert not door.come()[1]  # the newcomer has had no time to show its use


def test_one_that_echoed_and_stored_does_not_give_way() -> None:
    door = Door(associations=1)
    number, _ = door.come()
    door.keeper.echoed(number)
    door.keeper.used(number)
    door.now_s = 1000.0

    assert not door.come()[1]


def test_one_that_does_nothing_gives_way_after_a_while() -> None:
    door = Door(associations=1)
    silent, _ = door.come()

    door.now_s = 4.9
    early = door.come()[1]
    door.now_s = 5.0

    assert (early, door.come()[1], door.ended) == (False, True, [silent])


def test_the_place_of_one_that_gives_way_is_free_before_it_has_gone() -> None:
    door = Door(associations=2)
    numbers = [door.come()[0] for _ in range(2)]
    for number in numbers:
        door.keeper.echoed(number)

    assert [door.come()[1] for _ in range(3)] == [True, True, False]
    assert door.ended == numbers
    assert (
        door.keeper.dissociate(numbers[0]) == f"association {numbers[0]}"
    )  # it has a name to the end


@pytest.mark.parametrize("limits", [{"associations": 2}, {"connections_per_address": 8}])
def test_of_too_many_connections_the_oldest_without_an_association_goes(
    limits: dict[str, Any],
) -> None:
    door = Door(**limits)
    associated, _ = door.come()
    silent = [door.come(associate=False)[0] for _ in range(7)]

    newcomer, granted = door.come()

    assert granted
    assert door.ended == [silent[0]]
    assert not door.keeper.associate(silent[0], "too late")
    assert associated != newcomer


def test_connections_of_one_address_cost_others_nothing() -> None:
    door = Door(associations=50, connections_per_address=4)
    other, _ = door.come("192.0.2.2", associate=False)

    for _ in range(20):
        door.come("192.0.2.1", associate=False)

    assert len(door.ended) == 16
    assert other not in door.ended


def test_what_has_ended_takes_no_place() -> None:
    door = Door(associations=1)

    for _ in range(1000):
        number, granted = door.come()
        assert granted
        door.keeper.leave(number)

    assert door.keeper.open_associations == 0
