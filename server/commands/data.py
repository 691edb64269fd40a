"""`segnode data`: the data sets that the papers used, and what a folder of training data holds."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from models.training.datasets.counting import Inventory
from models.training.datasets.splits import SPLITS
from server.commands.console import Progress, say, table
from server.commands.options import Load

_HEADER = ("data set", "modalities", "layouts", "used by", "licence", "where")
_MOST_SKIPPED = 20  # lines; the rest is counted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `data list` and `check` take."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    sentence = "which data sets are known: modality, licence, layout, where to ask for them"
    actions.add_parser("list", help=sentence, description=sentence).set_defaults(run=_list)
    sentence = (
        "read a folder of training data: cases, patients, structures, splits, what is unusable"
    )
    check = actions.add_parser("check", help=sentence, description=sentence)
    check.set_defaults(run=_check)
    check.add_argument("path", metavar="DIR", type=Path, help="the data set, or a parquet file")
    check.add_argument(
        "--layout", metavar="NAME", help="how it lies there, where more than one layout fits"
    )
    check.add_argument(
        "--split-anew",
        metavar="SEED",
        type=int,
        nargs="?",
        const=0,
        help="split the patients anew whatever the data set says, alike for the same SEED (0)",
    )
    check.add_argument(
        "--write-manifest",
        action="store_true",
        help="leave manifest.json in DIR: source, licence, splits, counts, every file's SHA-256; "
        "from then on a file that changes is named and not used",
    )


def _list(_: argparse.Namespace, load: Load) -> int:
    rows = [
        (
            entry.key,
            " ".join(entry.modalities),
            " ".join(entry.layouts),
            ", ".join(entry.papers),
            entry.licence,
            entry.where,
        )
        for entry in load("training.data").known_datasets().values()
    ]
    table(_HEADER, rows)
    return 0


def _check(arguments: argparse.Namespace, load: Load) -> int:
    progress = Progress("reading")
    inventory, manifest_path = load("training.data").check(
        arguments.path,
        layout=arguments.layout,
        seed=arguments.split_anew,
        write=arguments.write_manifest,
        on_case=lambda read, listed: progress.show(f"{read} of {listed} cases"),
    )
    progress.end()
    _show(inventory)
    if manifest_path is not None:
        say(f"wrote {manifest_path}")
    return 0 if inventory.cases else 1


def _show(inventory: Inventory) -> None:
    manifest = inventory.manifest
    patients = sum(manifest.patients.values())
    say(
        f"{manifest.dataset}: {inventory.cases} cases of {patients} patients, "
        f"layout {manifest.layout}"
    )
    say(f"licence: {manifest.licence or 'not known'}")
    say(f"source: {manifest.source or 'not known'}")
    if not manifest.patients_known:
        say("no name tells the patients, so each image counts as one: a leak would not be seen")
    if manifest.seed is not None:
        say(f"split here by patient, with seed {manifest.seed}")
    splits = [split for split in SPLITS if split in manifest.cases]
    figures = {"cases": manifest.cases, "patients": manifest.patients}
    table(
        ("", *splits),
        [(name, *(str(own.get(s, 0)) for s in splits)) for name, own in figures.items()],
    )
    _show_counts("modality", manifest.modalities, splits)
    _show_counts("structure", manifest.structures, splits)
    _show_counts("absent", manifest.absent, splits)
    if inventory.only_in_test:
        names = ", ".join(inventory.only_in_test)
        say(f"only in the test split, so nobody can learn them: {names}")
    for skipped in inventory.skipped[:_MOST_SKIPPED]:
        what = "skipped" if skipped.case_id else "left out"
        say(f"{what}: {skipped.file}: {skipped.reason}")
    rest = len(inventory.skipped) - _MOST_SKIPPED
    if rest > 0:
        say(f"and {rest} more")
    cases = len({skipped.case_id for skipped in inventory.skipped if skipped.case_id})
    if inventory.skipped:
        say(f"{cases} cases skipped, {len(inventory.skipped)} files or parts named")


def _show_counts(title: str, counts: Mapping[str, Mapping[str, int]], splits: list[str]) -> None:
    names = sorted({name for own in counts.values() for name in own})
    if names:
        say("")
        rows = [(name, *(str(counts.get(s, {}).get(name, 0)) for s in splits)) for name in names]
        table((title, *splits), rows)
