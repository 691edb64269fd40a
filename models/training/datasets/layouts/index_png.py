"""Slices as PNG with index masks, and a dataset.json that names splits, patients and labels."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from agent.values import Target
from models.errors import UnreadableFile, UnusableData
from models.images.label_maps import read_labels
from models.images.readers import read_volume
from models.training.datasets.dataset import Contents, Entry, Listing, Skipped, Tell
from models.training.datasets.layout import DataLayout
from models.training.datasets.paths import inside, read_index, stem_of
from models.training.datasets.registry import KnownDataset, find_dataset
from models.training.datasets.splits import SPLITS
from models.training.datasets.truths import grid_fault, truths_of_labels

_INDEX = "dataset.json"


def _fits(folder: Path) -> bool:
    if not (folder / _INDEX).is_file():
        return False
    index = read_index(folder, _INDEX)
    return isinstance(index, dict) and {"image_dir", "label_dir", "labels"} <= index.keys()


def _listing(folder: Path) -> Listing:
    index = read_index(folder, _INDEX)
    slices = {split: index.get(split, []) for split in SPLITS}
    are_lists = all(isinstance(own, list) for own in slices.values())
    names = [(name, split) for split, own in slices.items() if are_lists for name in own]
    if not names or not all(isinstance(name, str) for name, _ in names):
        raise UnusableData(folder, f"{_INDEX} names no slices under {', '.join(SPLITS)}")
    registered = find_dataset(str(index.get("name", folder.name)), stem_of(names[0][0]))
    targets = _targets(folder, index, registered)
    pattern = _patient_pattern(index)
    entries, faults = [], []
    for name, split in names:
        image, label = f"{index['image_dir']}/{name}", f"{index['label_dir']}/{name}"
        match = pattern.fullmatch(stem_of(name)) if pattern else None
        patient = match["patient"] if match else registered.patient_of(stem_of(name))
        if patient is None and pattern:
            reason = f"its name does not tell the patient as {index['file_name']} says."
            faults.append(Skipped(image, reason))
            continue
        read = partial(_read, folder, image, label, targets, registered)
        case_id = stem_of(name)
        entries.append(Entry(case_id, patient or case_id, (image, label), read, split))
    patients_known = pattern is not None or registered.patient_of(stem_of(names[0][0])) is not None
    return Listing(registered.key, entries, tuple(faults), patients_known, (_INDEX,))


def _targets(folder: Path, index: Mapping[str, Any], registered: KnownDataset) -> dict[int, Target]:
    try:
        return {
            int(v): registered.target(str(name)) for v, name in index["labels"].items() if int(v)
        }
    except (ValueError, AttributeError) as fault:
        raise UnusableData(folder, f"labels of {_INDEX} must be names by whole number") from fault


def _patient_pattern(index: Mapping[str, Any]) -> re.Pattern[str] | None:
    """The pattern of file stems that "ABD_<patient>_<slice>.png" under file_name describes."""
    template = index.get("file_name")
    if not isinstance(template, str) or template.count("<patient>") != 1:
        return None
    parts = re.split(r"(<[^>]*>)", stem_of(template))
    return re.compile("".join(_part(part) for part in parts))


def _part(part: str) -> str:
    if part == "<patient>":
        return "(?P<patient>[^_]+)"
    return "[^_]+" if part.startswith("<") else re.escape(part)


def _read(
    folder: Path,
    image_name: str,
    label_name: str,
    targets: Mapping[int, Target],
    registered: KnownDataset,
    tell: Tell,
) -> Contents:
    volume = read_volume(inside(folder, image_name))
    if len(registered.modalities) == 1:
        volume = replace(volume, modality=registered.modalities[0])
    label_path = inside(folder, label_name)
    labels, grid = read_labels(label_path)
    fault = grid_fault(grid, volume.geometry)
    if fault:
        raise UnreadableFile(label_path, fault)
    return Contents(volume, truths_of_labels(labels, targets, label_name, tell), False)


LAYOUT = DataLayout(
    "index-png",
    "dataset.json with image_dir, label_dir and labels, and pictures with index masks",
    _fits,
    _listing,
)
