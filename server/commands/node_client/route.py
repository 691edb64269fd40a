"""`segnode route`: have a running node apply its routes to a study that it holds; with `--explain`
only which route matches a study, and why the others do not.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dicom_node.errors import UnreadableDataset
from dicom_node.series.header import read_header
from server.commands.console import say
from server.commands.options import Load, add_config, settings_of
from server.commands.request import add_node, client_of
from server.errors import InputError, UnknownStudy
from server.rules.explained import ConditionExplained, RouteExplained, explained
from server.settings import Settings
from server.values import RequestState

MOST_VALUES = 5
"""Values of an attribute that a line names."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `route` takes."""
    add_config(parser, _route)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "study_instance_uid",
        metavar="STUDY_UID",
        nargs="?",
        help="a complete study of a running node, to which its routes are applied now",
    )
    which.add_argument(
        "--explain",
        metavar="STUDY_UID|FILE",
        help="a study that this node holds, or DICOM that need not be there yet",
    )
    parser.add_argument("--json", action="store_true", help="the node's own JSON, for scripts")
    add_node(parser)


def _route(arguments: argparse.Namespace, load: Load) -> int:
    if arguments.explain is None:
        return _apply(arguments)
    if arguments.json:
        raise InputError("--json is the node's answer: it goes with STUDY_UID, not with --explain")
    return _explain(arguments, load)


def _apply(arguments: argparse.Namespace) -> int:
    study = quote(arguments.study_instance_uid, safe="")
    routing = client_of(arguments).post(f"studies/{study}/route")
    if arguments.json:
        say(json.dumps(routing, indent=2, ensure_ascii=False))
        return 0
    for route in routing["routes"]:
        conditions = tuple(
            ConditionExplained(**condition | {"values": tuple(condition["values"])})
            for condition in route["conditions"]
        )
        _say_route(RouteExplained(route["name"], route["matches"], conditions))
        if route["request"]:
            say(f"  {_request_sentence(route)}")
    made = sum(route["made"] for route in routing["routes"])
    plural = "" if made == 1 else "s"
    say(f"{routing['unrouted_reason'] or 'the routes were applied'}: {made} request{plural} made")
    return 0


def _request_sentence(route: Mapping[str, Any]) -> str:
    request = route["request"]
    if route["made"]:
        return f"request {request['id']} is {request['state']}"
    retry = f"; `segnode retry {request['id']}`" if request["state"] == RequestState.FAILED else ""
    return f"the same was asked before: request {request['id']} is {request['state']}{retry}"


def _explain(arguments: argparse.Namespace, load: Load) -> int:
    settings = settings_of(arguments)
    routes = load("rules").rules(settings).routes
    attributes = list(_attributes(arguments.explain, settings, load))
    if not routes:
        say("no routes are configured: every study waits for `segnode request`")
        return 0
    explanations = [explained(route, attributes) for route in routes]
    for explanation in explanations:
        _say_route(explanation)
    matching = sum(explanation.matches for explanation in explanations)
    say(f"{matching} of {len(routes)} routes match ({len(attributes)} instances)")
    return 0


def _attributes(source: str, settings: Settings, load: Load) -> Iterator[Mapping[str, str]]:
    """What routes match on, of each instance; UnknownStudy, InputError where there is none."""
    path = Path(source)
    if path.exists():
        yield from _of_files(path)
        return
    inbox = settings.storage.dir / "inbox"
    headers = load("record").stored_studies(settings).headers(source) if inbox.is_dir() else ()
    attributes = [header.attributes for header in headers]
    if not attributes:
        raise UnknownStudy(
            f"{source!r} is no file here and no study in {inbox}: give a Study Instance UID that "
            "this node holds (with its --config), or a DICOM file"
        )
    yield from attributes


def _of_files(path: Path) -> Iterator[Mapping[str, str]]:
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    readable = 0
    for file in files:
        # a folder may hold a DICOMDIR, a text; a single file that is no DICOM says so itself
        with suppress(UnreadableDataset) if path.is_dir() else nullcontext():
            yield read_header(file).attributes
            readable += 1
    if not readable:
        raise InputError(f"{path}: no DICOM file lies in this folder")


def _say_route(explanation: RouteExplained) -> None:
    verdict = "matches" if explanation.matches else "does not match"
    say(f"route {explanation.name}: {verdict}")
    if not explanation.conditions:
        say("  no condition: every study matches")
    for condition in explanation.conditions:
        say(f"  {_sentence(condition)}")
    if explanation.never_together:
        say("  each condition holds for some instance, but no instance fits them all")


def _sentence(condition: ConditionExplained) -> str:
    word = "yes" if condition.holds else "NO "
    return (
        f"{word}  {condition.keyword} = '{condition.pattern}': "
        f"the study has {_listed(condition.values)}"
    )


def _listed(values: Sequence[str]) -> str:
    shown = ", ".join(f"'{value}'" if value else "none" for value in values[:MOST_VALUES])
    more = len(values) - MOST_VALUES
    return f"{shown} and {more} more" if more > 0 else shown
