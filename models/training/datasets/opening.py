"""A folder or file as a data set: its layout by what lies there, its splits by patient."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from models.errors import LeakedPatients, UnreadableFile, UnusableData
from models.training.datasets.dataset import Dataset, Entry, Listing, Skipped
from models.training.datasets.layout import DataLayout
from models.training.datasets.layouts import (
    biomedparse,
    corrections,
    h5,
    image_label_pairs,
    index_png,
    nnunet,
    npz,
    rl_parquet,
    totalsegmentator,
)
from models.training.datasets.manifest import MANIFEST, Manifest, read_manifest
from models.training.datasets.registry import known_datasets
from models.training.datasets.splits import TRAINING, leaks, split_name, split_patients

LAYOUTS: Mapping[str, DataLayout] = {
    layout.name: layout
    for layout in (
        index_png.LAYOUT,
        biomedparse.LAYOUT,
        rl_parquet.LAYOUT,
        npz.MEDSAM2,
        npz.MEDSCRIBBLE,
        nnunet.LAYOUT,
        totalsegmentator.LAYOUT,
        image_label_pairs.LAYOUT,
        h5.LAYOUT,
        corrections.LAYOUT,
    )
}

SEED = 0
"""Of the splits of data sets that have none."""


def open_dataset(
    path: Path,
    *,
    split: str | None = None,
    layout: str | None = None,
    seed: int | None = None,
    compare: bool = True,
    more: Sequence[DataLayout] = (),
) -> Dataset:
    """The data set at `path`, of one `split` ("training", "validation", "test") or whole; no pixel
    is read yet.

    Its `layout` is recognised where none is named, among ours and `more`. Splits are those of its
    manifest.json, else its own, else made by patient; with a `seed` they are made anew whatever
    there is. Files are compared with the manifest unless `compare` is off, as for one that is
    written anew. UnusableData where nothing fits, and LeakedPatients where a patient is in two
    splits.
    """
    layouts = {**LAYOUTS, **{candidate.name: candidate for candidate in more}}
    chosen = _chosen(path, layout, layouts)
    try:
        listing = chosen.listing(path)
        wanted_split = split_name(split) if split is not None else None
    except UnreadableFile as fault:
        raise UnusableData(fault.path, fault.reason.rstrip(".")) from fault
    except ValueError as fault:
        raise UnusableData(path, str(fault)) from fault
    if not listing.entries:
        reason = f"; {listing.faults[0].reason.rstrip('.')}" if listing.faults else ""
        raise UnusableData(path, f"it has no case of the layout {chosen.name}{reason}")
    dataset = _dataset(path, listing, chosen.name, wanted_split, seed)
    if not compare:
        return replace(dataset, manifest=replace(dataset.manifest, files={}), faults=listing.faults)
    _require_unchanged(dataset)
    return dataset


def _dataset(
    path: Path, listing: Listing, layout: str, split: str | None, seed: int | None
) -> Dataset:
    root = path if path.is_dir() else path.parent
    on_disk = None if seed is not None else read_manifest(root)
    entries, split_seed = _in_splits(listing, on_disk, seed)
    leaked = leaks((entry.patient, entry.split or "") for entry in entries)
    if leaked:
        raise LeakedPatients(path, leaked)
    chosen = [entry for entry in entries if split in (None, entry.split)]
    if not chosen:
        raise UnusableData(path, f"it has no case in the split {split}")
    return Dataset(
        listing.dataset,
        root,
        layout,
        chosen,
        on_disk or _manifest(listing, layout, entries, split_seed),
        (*listing.faults, *_gone(on_disk, listing)),
        listing.indices,
    )


def _require_unchanged(dataset: Dataset) -> None:
    """UnusableData where an index, which says what all files mean, is not the one of the manifest.

    Images and truths are compared as they are read.
    """
    try:
        dataset.manifest.verify(dataset.root, dataset.indices)
    except UnreadableFile as fault:
        raise UnusableData(fault.path, fault.reason.rstrip(".")) from fault


def _gone(on_disk: Manifest | None, listing: Listing) -> Iterator[Skipped]:
    """The files that a manifest counts and the folder has no more."""
    here = {file for entry in listing.entries for file in entry.files} | set(listing.indices)
    named = {fault.file for fault in listing.faults}
    for file in on_disk.files if on_disk else ():
        if file not in here and file not in named:
            yield Skipped(file, f"{MANIFEST} lists it, and it is not here any more.")


def _chosen(path: Path, layout: str | None, layouts: Mapping[str, DataLayout]) -> DataLayout:
    if not path.exists():
        raise UnusableData(path, "there is no such folder or file")
    words = "; ".join(f"{candidate.name} ({candidate.looks})" for candidate in layouts.values())
    if layout is not None:
        if layout not in layouts:
            raise UnusableData(path, f"there is no layout '{layout}': {words}")
        return layouts[layout]
    try:
        fitting = [candidate for candidate in layouts.values() if candidate.fits(path)]
    except UnreadableFile as fault:
        raise UnusableData(fault.path, fault.reason.rstrip(".")) from fault
    if len(fitting) != 1:
        names = " and ".join(candidate.name for candidate in fitting)
        reason = f"it fits {names}, name one of them" if fitting else "no known layout fits it"
        raise UnusableData(path, f"{reason}: {words}")
    return fitting[0]


def _in_splits(
    listing: Listing, on_disk: Manifest | None, seed: int | None
) -> tuple[list[Entry], int | None]:
    """The entries in their splits, and the seed where the splits are ours.

    A patient that the manifest does not know goes where the data set says, else to training: no
    case that was never counted is judged by.
    """
    if on_disk is not None:
        splits = on_disk.splits
        return [
            replace(entry, split=splits.get(entry.patient, entry.split or TRAINING))
            for entry in listing.entries
        ], on_disk.seed
    if seed is None and all(entry.split for entry in listing.entries):
        return list(listing.entries), None
    seed = SEED if seed is None else seed
    made = split_patients((entry.patient for entry in listing.entries), seed)
    return [replace(entry, split=made[entry.patient]) for entry in listing.entries], seed


def _manifest(listing: Listing, layout: str, entries: list[Entry], seed: int | None) -> Manifest:
    registered = known_datasets().get(listing.dataset)
    return Manifest(
        dataset=listing.dataset,
        layout=layout,
        source=registered.where if registered else "",
        licence=registered.licence if registered else "",
        patients_known=listing.patients_known,
        seed=seed,
        splits={entry.patient: entry.split or "" for entry in entries},
    )
