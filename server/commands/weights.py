"""`segnode models`: which weights are known, here, whole; fetch them; run a case through a network
for comparison.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from agent.values import PromptKind
from models import shipped
from models.errors import ModelsError, WeightsMissing
from models.registry import (
    all_plugins,
    all_policies,
    all_segmenters,
    all_weights,
    find_weights,
    policy_plugins,
    segmenter_plugins,
)
from models.weights.hashes import size_of
from models.weights.weights import State, Weights
from server.commands.console import Progress, say, table
from server.commands.options import Load, Run, add_config, settings_of
from server.commands.promote import add_promotion

SEGMENTERS = ("segmenter", "prompts", "volumes", "MB a slice", "weights", "from")
POLICIES = ("policy", "weights", "from")
OWN = "segnode"
HEADER = ("weights", "used by", "state", "MB", "licence", "source")
DUMPED = ("imisnet", "sam2", "medsam2")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `models list`, `fetch`, `verify`, `promote`, `rollback` and `dump` take."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)

    def add_action(name: str, sentence: str, run: Run) -> argparse.ArgumentParser:
        action = actions.add_parser(name, help=sentence, description=sentence)
        add_config(action, run)
        return action

    add_action("list", "which weights are known, and whether they are here", _list)
    fetch = add_action(
        "fetch", "bring weights into models.dir, going on where it broke off", _fetch
    )
    fetch.add_argument(
        "names",
        metavar="NAME",
        nargs="+",
        help="as `segnode models list` says it, or owner/repository of any language model on the "
        "hub",
    )
    verify = add_action(
        "verify",
        "read weights, compare their hashes, record those nobody published",
        _verify,
    )
    verify.add_argument("names", metavar="NAME", nargs="*", help="else all that are here")
    add_promotion(add_action)
    dump = add_action("dump", "run a case through a network and write its arrays", _dump)
    dump.add_argument("--segmenter", choices=DUMPED, required=True, help="whose network")
    dump.add_argument(
        "--case", metavar="DIR", type=Path, required=True, help="holds state.pt and inputs.npz"
    )
    dump.add_argument("--out", metavar="FILE", type=Path, required=True, help="the .npz to write")


def _list(arguments: argparse.Namespace, load: Load) -> int:
    weights_dir = load("weights").resources(settings_of(arguments)).weights_dir
    table(SEGMENTERS, _segmenter_rows())
    say("")
    table(POLICIES, _policy_rows())
    say("")
    table(HEADER, [_row(weights, weights_dir) for weights in all_weights()])
    for plugin in all_plugins():
        if plugin.fault:
            say(plugin.fault, error=True)
    say(f"models.dir is {weights_dir}")
    return 0


def _segmenter_rows() -> list[tuple[str, ...]]:
    owners = {plugin.name: plugin.distribution for plugin in segmenter_plugins()}
    return [
        (
            name,
            ", ".join(kind.value for kind in PromptKind if kind in entry.prompts),
            "draws" if entry.draws_volumes else "follows" if entry.follows else "no",
            str(entry.needs.encode_bytes >> 20),
            entry.weights.name if entry.weights else "",
            OWN if name in shipped.SEGMENTERS else owners[name],
        )
        for name, entry in all_segmenters().items()
    ]


def _policy_rows() -> list[tuple[str, ...]]:
    owners = {plugin.name: plugin.distribution for plugin in policy_plugins()}
    return [
        (
            name,
            "language.model" if entry.language else entry.weights.name if entry.weights else "",
            OWN if name in shipped.POLICIES else owners[name],
        )
        for name, entry in all_policies().items()
    ]


def _row(weights: Weights, weights_dir: Path | None) -> tuple[str, ...]:
    state = weights.state(weights_dir)
    here = state is not State.MISSING
    size_bytes = size_of(weights.locate(weights_dir)) if here else weights.size_bytes
    return (
        weights.name,
        weights.used_by,
        state.value,
        f"{size_bytes / 1e6:.1f}" if size_bytes else "",
        weights.licence,
        weights.source,
    )


def _fetch(arguments: argparse.Namespace, load: Load) -> int:
    settings = settings_of(arguments)
    process = load("weights")
    for weights in [find_weights(name) for name in arguments.names]:
        say(f"{weights.name}: licence {weights.licence}; {weights.source}")
        progress = Progress("fetch")
        path = process.fetch(settings, weights, progress.show)
        progress.end()
        say(f"{weights.name} is whole, {path}")
    return 0


def _verify(arguments: argparse.Namespace, load: Load) -> int:
    weights_dir = load("weights").resources(settings_of(arguments)).weights_dir
    named = [find_weights(name) for name in arguments.names]
    return _verified(named or _here(weights_dir), weights_dir)


def _here(weights_dir: Path | None) -> Iterable[Weights]:
    # what a package should carry is looked at wherever it is; the rest need not be here
    return [
        weights
        for weights in all_weights()
        if weights.place is not None or weights.state(weights_dir) is not State.MISSING
    ]


def _verified(chosen: Iterable[Weights], weights_dir: Path | None) -> int:
    faults = 0
    for weights in chosen:
        try:
            sha256 = weights.record(weights_dir)
        except ModelsError as error:
            say(str(error), error=True)
            faults += 1
        else:
            origin = "as published" if weights.sha256 else "as recorded"
            place = weights.locate(weights_dir)
            say(f"{weights.name}: whole, SHA-256 {sha256} {origin}, {place}")
    return 1 if faults else 0


def _dump(arguments: argparse.Namespace, load: Load) -> int:
    for name in ("state.pt", "inputs.npz"):
        if not (arguments.case / name).is_file():
            raise WeightsMissing(name, arguments.case / name, "Give --case a folder that holds it")
    load("dump").dump(arguments.segmenter, arguments.case, arguments.out)
    say(f"the arrays are in {arguments.out}")
    return 0
