"""Can the node work? Judged from its database, its disk and the ages of what its loops did last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from server.errors import RecordError
from server.http.ports import Services
from server.nodes.heartbeat import storage_shortage
from server.pulses import Part
from server.record.views import PartView

OK = "ok"
FUTURE_S = 5.0
"""A heartbeat dated further ahead than this says that the database's clock was set back: its age is
not known.
"""
SILENT_LIMIT_S = 15.0
"""A process that moves at all says so every few seconds, whatever its loops are busy with."""

_NOT_RUNNING = {
    Part.LISTENER: "no listener runs: start `segnode serve` or `segnode listen`",
    Part.INTAKE: "nothing takes in what arrives: start `segnode serve` or `segnode listen`",
    Part.WORKER: "no worker runs: start `segnode serve` or `segnode work`",
}


@dataclass(frozen=True)
class Readiness:
    """The answer: `checks` by name, "ok" or a sentence; `parts` those that were looked at."""

    checks: dict[str, str]
    parts: tuple[PartView, ...] = ()

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong, in sentences."""
        return tuple(sentence for sentence in self.checks.values() if sentence != OK)


def readiness(services: Services) -> Readiness:
    """Look at everything once. Never raises RecordError."""
    shortage = storage_shortage(services.storage, services.minimum_free_bytes)
    try:
        parts = services.counting.parts()
    except RecordError as error:
        return Readiness({"database": str(error), Part.STORAGE.value: shortage or OK})
    checks = {"database": OK}
    for part in Part:
        fault = part_fault(part, [view for view in parts if view.part == part])
        checks[part.value] = fault or OK
    if shortage is not None:
        checks[Part.STORAGE.value] = shortage
    return Readiness(checks, parts)


def part_fault(part: Part, instances: Sequence[PartView]) -> str | None:
    """What is wrong with a part, in a sentence; None when it does its work.

    One that stands still on this machine exists and is a fault. On another machine it may just as
    well have ended, so that there it is none as long as another one of its kind moves.
    """
    faults = [(view, fault_of(view)) for view in instances]
    sentences = [fault for view, fault in faults if fault is not None and view.here]
    if not sentences and all(fault is not None for _, fault in faults):
        sentences = [fault for _, fault in faults if fault is not None]
        if not sentences:
            return _NOT_RUNNING.get(part)
    return sentences[0] if sentences else None


def fault_of(part: PartView) -> str | None:
    """What is wrong with one instance of a part, in a sentence; None when it moves."""
    if part.silent_s < -FUTURE_S:
        return (
            f"the {part.part}'s last heartbeat is dated in the future: the database's clock was "
            "set back "
            "and the process has not spoken since"
        )
    if part.silent_s > SILENT_LIMIT_S:
        return (
            f"the {part.part}'s process has said nothing for {part.silent_s:.0f} s: "
            "look whether it stands still, and restart it"
        )
    if part.fault is not None or part.age_s <= part.limit_s:
        return part.fault
    doing = f" (it last began to {part.doing})" if part.doing else ""
    return (
        f"the {part.part} has not moved for {part.age_s:.0f} s, more than {part.limit_s:.0f} "
        f"s{doing}: "
        "look at its log, and restart it"
    )
