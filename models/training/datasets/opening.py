"""A folder or file as a data set: its layout by what lies there, its splits by patient."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from models.errors import LeakedPatients, UnreadableFile, UnusableData
from models.training.datasets.dataset import Dataset, Entry, Listing, placed
from models.training.datasets.layout import DataLayout
from models.training.datasets.layouts import (
    biomedparse,
    h5,
    image_label_pairs,
    index_png,
    nnunet,
    npz,
    rl_parquet,
    totalsegmentator,
)
from models.training.datasets.manifest import Manifest, read_manifest
from models.training.datasets.registry import known_datasets
from models.training.datasets.splits import leaks, split_name, split_patients

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
    )
}

SEED = 0
"""Of the splits of data sets that have none."""


def open_dataset(path: Path, *, split: str | None = None, layout: str | None = None) -> Dataset:
    """The data set at `path`, of one `split` ("training", "validation", "test") or whole; no pixel
    is read yet.

    Its `layout` is recognised where none is named. Splits are those of its manifest.json, else its
    own, else made by patient. UnusableData where nothing fits, and LeakedPatients where a patient
    is in two splits.
    """
    chosen = _chosen(path, layout)
    try:
        listing = chosen.listing(path)
        wanted = split_name(split) if split is not None else None
    except UnreadableFile as fault:
        raise UnusableData(fault.path, fault.reason.rstrip(".")) from fault
    except ValueError as fault:
        raise UnusableData(path, str(fault)) from fault
    return dataset_of(path, listing, chosen.name, wanted)


def dataset_of(path: Path, listing: Listing, layout: str, split: str | None) -> Dataset:
    """What is listed at `path` as a data set, of one split or whole, as `open_dataset` does."""
    root = path if path.is_dir() else path.parent
    if not listing.entries:
        skipped = f"; {listing.faults[0].reason.rstrip('.')}" if listing.faults else ""
        raise UnusableData(path, f"it has no case of the layout {layout}{skipped}")
    on_disk = read_manifest(root)
    entries, seed = _in_splits(listing, on_disk.splits if on_disk else {})
    leaked = leaks((entry.patient, entry.split or "") for entry in entries)
    if leaked:
        raise LeakedPatients(path, leaked)
    manifest = on_disk or _manifest(listing, layout, entries, seed)
    chosen = [entry for entry in entries if split in (None, entry.split)]
    if not chosen:
        raise UnusableData(path, f"it has no case in the split {split}")
    return Dataset(
        listing.dataset, root, layout, chosen, manifest, listing.faults, listing.patients_known
    )


def _chosen(path: Path, layout: str | None) -> DataLayout:
    if not path.exists():
        raise UnusableData(path, "there is no such folder or file")
    if layout is not None:
        if layout not in LAYOUTS:
            raise UnusableData(path, f"there is no layout '{layout}': {_known_layouts()}")
        return LAYOUTS[layout]
    try:
        fitting = [candidate for candidate in LAYOUTS.values() if candidate.fits(path)]
    except UnreadableFile as fault:
        raise UnusableData(fault.path, fault.reason.rstrip(".")) from fault
    if len(fitting) != 1:
        names = " and ".join(candidate.name for candidate in fitting)
        reason = f"it fits {names}, name one of them" if fitting else "no known layout fits it"
        raise UnusableData(path, f"{reason}: {_known_layouts()}")
    return fitting[0]


def _known_layouts() -> str:
    return "; ".join(f"{layout.name} ({layout.looks})" for layout in LAYOUTS.values())


def _in_splits(listing: Listing, on_disk: Mapping[str, str]) -> tuple[list[Entry], int | None]:
    """The entries in their splits, and the seed where the splits are ours."""
    if on_disk:
        return [
            placed(entry, on_disk.get(entry.patient, entry.split or ""))
            for entry in listing.entries
        ], None
    if all(entry.split for entry in listing.entries):
        return list(listing.entries), None
    splits = split_patients((entry.patient for entry in listing.entries), SEED)
    return [placed(entry, splits[entry.patient]) for entry in listing.entries], SEED


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
