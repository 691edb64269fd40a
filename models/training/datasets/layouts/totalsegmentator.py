"""TotalSegmentator's folders: one a subject, its image beside a folder with a mask a structure."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from agent.case import Truth
from models.errors import UnreadableFile
from models.images.label_maps import read_labels
from models.training.datasets.dataset import Contents, Entry, Listing, Skipped, Tell
from models.training.datasets.layout import DataLayout
from models.training.datasets.paths import files_below, inside, stem_of
from models.training.datasets.registry import KnownDataset, find_dataset
from models.training.datasets.splits import split_name
from models.training.datasets.truths import truth_of_mask
from models.training.datasets.volume_files import ENDINGS, read_image, require_same_grid

_IMAGES = {"ct": "CT", "mri": "MR"}
_MASKS, _META = "segmentations", "meta.csv"


def _fits(folder: Path) -> bool:
    return folder.is_dir() and any(folder.glob(f"*/{_MASKS}/"))


def _listing(folder: Path) -> Listing:
    registered = find_dataset(folder.name, next(iter(folder.glob(f"*/{_MASKS}"))).parent.name)
    splits = _splits(folder)
    entries, faults = [], []
    for subject in sorted(path.parent.name for path in folder.glob(f"*/{_MASKS}")):
        images = [
            name
            for name in files_below(folder / subject, ENDINGS, depth=1)
            if stem_of(name) in _IMAGES
        ]
        masks = [f"{subject}/{_MASKS}/{m}" for m in files_below(folder / subject / _MASKS, ENDINGS)]
        if len(images) != 1 or not masks:
            reason = "it needs one image, ct or mri, and at least one mask."
            faults.append(Skipped(subject, reason, subject))
            continue
        files = (f"{subject}/{images[0]}", *masks)
        read = partial(_read, folder, files, registered)
        entries.append(Entry(subject, subject, files, read, splits.get(subject)))
    indices = (_META,) if (folder / _META).is_file() else ()
    return Listing(registered.key, entries, tuple(faults), indices=indices)


def _splits(folder: Path) -> Mapping[str, str]:
    """The split of every subject that meta.csv tells of (columns image_id and split)."""
    if not (folder / _META).is_file():
        return {}
    path = inside(folder, _META)
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            dialect = csv.Sniffer().sniff(stream.readline(), ";,\t")
            stream.seek(0)
            rows = list(csv.DictReader(stream, dialect=dialect))
        return {row["image_id"]: split_name(row["split"]) for row in rows if row.get("split")}
    except (OSError, KeyError, ValueError, csv.Error) as fault:
        raise UnreadableFile(
            path, f"its columns image_id and split cannot be read ({fault})."
        ) from fault


def _read(folder: Path, files: tuple[str, ...], registered: KnownDataset, tell: Tell) -> Contents:
    volume = read_image(folder, files[0], _IMAGES[stem_of(files[0])])
    truths: list[Truth] = []
    for name in files[1:]:
        try:
            path = inside(folder, name)
            labels, grid = read_labels(path)
            require_same_grid(path, grid, volume.geometry)
        except UnreadableFile as fault:
            tell(name, fault.reason)
            continue
        truths += truth_of_mask(labels != 0, registered.target(stem_of(name)), name, tell)
    return Contents(volume, tuple(truths))


LAYOUT = DataLayout(
    "totalsegmentator",
    "a folder a subject with ct.nii.gz or mri.nii.gz and segmentations/, meta.csv beside them",
    _fits,
    _listing,
)
