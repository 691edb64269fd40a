"""`segnode route --explain`: which route matches a study, and why the others do not."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path

from dicom_node.errors import UnreadableDataset
from dicom_node.series.header import read_header
from server.commands.console import say
from server.commands.options import Load, add_config, settings_of
from server.errors import InputError, UnknownStudy
from server.rules.explained import ConditionExplained, RouteExplained, explained
from server.settings import Settings

MOST_VALUES = 5
"""Values of an attribute that a line names."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `route` takes."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = (
        "examples:\n"
        "  segnode route --explain 1.2.840.113619.2.55.3 --config site.toml\n"
        "  segnode route --explain image.dcm --config site.toml\n\n"
        "A study is read from storage.dir on this machine; a FILE may be a folder, too.\n"
        "Segnode's own results among the files count here; a node leaves them out.\n\n"
        "exit codes: 0 it was explained, matching or not, 1 it could not be, 2 wrong usage"
    )
    add_config(parser, _route)
    parser.add_argument(
        "--explain",
        metavar="STUDY_UID|FILE",
        required=True,
        help="a study that this node holds, or DICOM that need not be there yet",
    )


def _route(arguments: argparse.Namespace, load: Load) -> int:
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
