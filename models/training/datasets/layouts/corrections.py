"""Corrections: an image, the label map that was drawn in it, and what a reader made of that.

corrections.json names them, with the patient of each, since no file name does:

    {"labels": {"1": "liver"},
     "cases": [{"case": "a", "patient": "p1", "image": "a/image.nii.gz",
                "drawn": "a/drawn.nii.gz", "corrected": "a/corrected.nii.gz"}]}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from agent.case import Truth
from agent.values import Target
from models.errors import UnreadableFile, UnusableData
from models.images.label_maps import read_labels
from models.images.readers import read_volume
from models.training.datasets.dataset import Contents, Entry, Listing, Skipped, Tell
from models.training.datasets.layout import DataLayout
from models.training.datasets.paths import inside, read_index
from models.training.datasets.registry import KnownDataset, find_dataset
from models.training.datasets.truths import truths_of_labels
from models.training.datasets.volume_files import require_same_grid

INDEX = "corrections.json"
_FILES = ("image", "drawn", "corrected")
_UNSIZED = (".png", ".jpg", ".jpeg")  # a picture tells no millimetres that can be relied on


def _fits(folder: Path) -> bool:
    return (folder / INDEX).is_file()


def _listing(folder: Path) -> Listing:
    index = read_index(folder, INDEX)
    try:
        modality = str(index["modality"]) if "modality" in index else None
        registered = find_dataset(str(index.get("name", folder.name)), "")
        targets = _targets(index["labels"], registered)
        cases = list(index["cases"])
    except (AttributeError, KeyError, TypeError, ValueError) as fault:
        reason = f"{INDEX} must name labels by whole number and a list of cases ({fault!r})"
        raise UnusableData(folder, reason) from fault
    entries, faults = [], []
    for number, case in enumerate(cases):
        try:
            case_id, patient = str(case["case"]), str(case["patient"])
            image, drawn, corrected = (str(case[name]) for name in _FILES)
        except (KeyError, TypeError):
            wanted = ", ".join(("case", "patient", *_FILES))
            faults.append(Skipped(INDEX, f"its case number {number} must have {wanted}."))
            continue
        files = (image, drawn, corrected)
        read = partial(_read, folder, files, targets, modality)
        entries.append(Entry(case_id, patient, files, read))
    return Listing(registered.key, entries, tuple(faults))


def _targets(labels: Mapping[str, Any], registered: KnownDataset) -> dict[int, Target]:
    return {int(v): registered.target(str(name)) for v, name in labels.items() if int(v)}


def _read(
    folder: Path,
    files: tuple[str, str, str],
    targets: Mapping[int, Target],
    modality: str | None,
    tell: Tell,
) -> Contents:
    image, drawn, corrected = files
    volume = read_volume(inside(folder, image))
    if modality is not None:
        volume = replace(volume, modality=modality)
    label_maps = []
    for name in (drawn, corrected):
        path = inside(folder, name)
        labels, grid = read_labels(path)
        require_same_grid(path, grid, volume.geometry)
        label_maps.append(labels)
    before, after = label_maps
    truths = tuple(
        Truth(truth.target, truth.voxels, corrected_from=before == value)
        for truth, value in _with_values(truths_of_labels(after, targets, corrected, tell), targets)
        if truth.voxels.any() or (before == value).any()
    )
    if not truths:
        raise UnreadableFile(folder / corrected, "neither label map holds one of the structures.")
    return Contents(volume, truths, not image.lower().endswith(_UNSIZED))


def _with_values(
    truths: tuple[Truth, ...], targets: Mapping[int, Target]
) -> list[tuple[Truth, int]]:
    """Each truth with its value in the label maps."""
    value_of = {target: value for value, target in targets.items()}
    return [(truth, value_of[truth.target]) for truth in truths]


LAYOUT = DataLayout(
    "corrections",
    "corrections.json that names images, what was drawn in them, and what a reader corrected",
    _fits,
    _listing,
)
