"""Volumes as HDF5 with image and label (x, y, z), as the left atrium challenge's crops are passed
on.
"""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.values import Target
from models.errors import UnreadableFile, UnusableData
from models.images.label_maps import whole_numbers
from models.images.readers import MOST_VOXELS, UPRIGHT, as_volume
from models.training.datasets.dataset import Contents, Entry, Listing, Tell
from models.training.datasets.layout import DataLayout
from models.training.datasets.paths import files_below, inside, stem_of
from models.training.datasets.registry import KnownDataset, find_dataset
from models.training.datasets.truths import truths_of_labels

_ENDINGS = (".h5", ".hdf5")
_IMAGE, _LABEL = "image", "label"
_MOST_RATIO = 1100  # deflate makes 1032 bytes of one at most


def _fits(folder: Path) -> bool:
    return folder.is_dir() and any(files_below(folder, _ENDINGS))


def _listing(folder: Path) -> Listing:
    _require_h5py(folder)
    names = list(files_below(folder, _ENDINGS))
    registered = find_dataset(folder.name, stem_of(names[0]) if names else "")
    target = registered.target(registered.only_label or "lesion")
    entries = []
    for name in names:
        # UA-MT keeps each case in a folder of its own, under one and the same file name
        case_id = name.rsplit(".", 1)[0].removesuffix("/mri_norm2")
        read = partial(_read, folder, name, target, registered)
        entries.append(Entry(case_id, registered.patient_of(case_id) or case_id, (name,), read))
    patients_known = all(registered.patient_of(entry.case_id) is not None for entry in entries)
    return Listing(registered.key, entries, (), patients_known)


def _read(
    folder: Path, name: str, target: Target, registered: KnownDataset, tell: Tell
) -> Contents:
    path = inside(folder, name)
    image, label = _read_arrays(path)
    if image.shape != label.shape or image.ndim != 3:
        reason = f"{_IMAGE} {image.shape} and {_LABEL} {label.shape} must be alike, with 3 axes."
        raise UnreadableFile(path, reason)
    modality = registered.modalities[0] if len(registered.modalities) == 1 else None
    try:
        volume = as_volume(image.transpose(2, 1, 0), UPRIGHT, modality)
        labels = whole_numbers(label.transpose(2, 1, 0))
    except ValueError as fault:
        raise UnreadableFile(path, f"{fault}.") from fault
    truths = truths_of_labels(labels, {1: target}, name, tell)
    return Contents(volume, truths, spacing_known=False)


def _read_arrays(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return _array(path, file, _IMAGE), _array(path, file, _LABEL)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as fault:
        raise UnreadableFile(path, f"it is damaged or no HDF5 ({fault}).") from fault


def _array(path: Path, file: Any, name: str) -> NDArray[Any]:
    """The array `name`; refused where it lies in another file, or is larger than its bytes."""
    import h5py

    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise UnreadableFile(path, f"it holds no array {name} of its own.")
    array = file[name]
    if not isinstance(array, h5py.Dataset) or array.external or array.is_virtual:
        raise UnreadableFile(path, f"{name} is no array, or lies in another file.")
    size = math.prod(array.shape)
    if size > MOST_VOXELS or array.nbytes > max(1, array.id.get_storage_size()) * _MOST_RATIO:
        raise UnreadableFile(path, f"{name} announces more values than its bytes can hold.")
    return np.asarray(array[()])


def _require_h5py(folder: Path) -> None:
    try:
        import h5py  # noqa: F401  # whether it is there
    except ImportError as fault:
        raise UnusableData(folder, "HDF5 needs h5py: install segnode[train]") from fault


LAYOUT = DataLayout("h5", "HDF5 files with image (x, y, z) and label", _fits, _listing)
