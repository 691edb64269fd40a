"""Segmenters and policies that other distributions bring, by their entry points.

A distribution registers an entry (models.entries) under `segnode.segmenters` or `segnode.policies`;
the entry point's name is the one that configuration says. What cannot be used is reported and never
raised here: a broken plug-in stops nobody who does not ask for it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Generic, TypeVar

from models.entries import PolicyEntry, SegmenterEntry
from models.errors import BrokenPlugin

Entry = TypeVar("Entry", SegmenterEntry, PolicyEntry)

SEGMENTER_GROUP, POLICY_GROUP = "segnode.segmenters", "segnode.policies"
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Plugin(Generic[Entry]):
    """A `kind` ("segmenter", "policy") under its `name`, and the `distribution` that brings it
    (name and version).

    `entry` is None where it cannot be used; `fault` then says why, in one sentence.
    """

    kind: str
    name: str
    distribution: str
    entry: Entry | None = None
    fault: str = ""

    def usable(self) -> str:
        """The distribution that brings it; BrokenPlugin where it cannot be used."""
        if self.fault:
            raise BrokenPlugin(self.kind, self.name, self.fault)
        return self.distribution


def read_plugins(
    kind: str,
    entry_type: type[Entry],
    reserved: Iterable[str],
    lookup: Callable[[], EntryPoints],
) -> tuple[Plugin[Entry], ...]:
    """All plug-ins of a kind, by name; those that cannot be used among them, with the fault.

    A name of `reserved` is Segnode's own. Of a name that two distributions bring neither is used:
    which one would draw must not depend on the order of a folder.
    """
    points = sorted(lookup(), key=lambda point: (point.name, _distribution(point)))
    owners = Counter(point.name for point in points)
    reserved_names = frozenset(reserved)

    def plugin(point: EntryPoint) -> Plugin[Entry]:
        entry, reason = None, ""
        if point.name in reserved_names:
            reason = "Segnode has one of that name"
        elif owners[point.name] > 1:
            reason = "another distribution brings one of that name, too"
        elif not NAME.fullmatch(point.name):
            reason = "a name is of a-z, 0-9, '.', '_' and '-', 64 characters at most"
        else:
            entry, reason = _load(point, entry_type)
        owner = _distribution(point)
        fault = f"the {kind} '{point.name}' of {owner} cannot be used: {reason}"
        return Plugin(kind, point.name, owner, entry, fault if reason else "")

    return tuple(plugin(point) for point in points)


def segmenter_points() -> EntryPoints:
    """What this environment registers as segmenters; nothing is imported."""
    return entry_points(group=SEGMENTER_GROUP)


def policy_points() -> EntryPoints:
    """What this environment registers as policies; nothing is imported."""
    return entry_points(group=POLICY_GROUP)


def _load(point: EntryPoint, entry_type: type[Entry]) -> tuple[Entry | None, str]:
    try:
        entry = point.load()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a third party's import may raise anything, and stops nobody
        first_line = str(error).partition("\n")[0] or "no reason was given"
        return None, f"{point.value} cannot be imported ({first_line})"
    if not isinstance(entry, entry_type):
        return None, f"{point.value} is a {type(entry).__name__}, not a {entry_type.__name__}"
    return entry, ""


def _distribution(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else "nobody"
