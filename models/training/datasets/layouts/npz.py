"""Arrays as npz: MedSAM2's volumes (imgs, gts) and MedScribble's slices (img, seg)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.values import Target
from models.errors import UnreadableFile
from models.images.label_maps import whole_numbers
from models.images.readers import UPRIGHT, as_volume
from models.training.datasets.dataset import Contents, Entry, Listing, Tell
from models.training.datasets.layout import DataLayout
from models.training.datasets.npz_arrays import array_names, read_array
from models.training.datasets.paths import files_below, inside, stem_of
from models.training.datasets.registry import KnownDataset, dataset_of_file, find_dataset
from models.training.datasets.truths import truths_of_labels

_ENDINGS = (".npz",)


@dataclass(frozen=True)
class _Arrays:
    """How a kind of npz calls its image and its labels, and how many axes they have."""

    image: str
    labels: str
    axes: int

    def lie_in(self, path: Path) -> bool:
        return {self.image, self.labels} <= set(array_names(path))


_VOLUMES, _SLICES = _Arrays("imgs", "gts", 3), _Arrays("img", "seg", 2)


def _fits(folder: Path, arrays: _Arrays) -> bool:
    """Whether the first file that can be read is of this kind."""
    if not folder.is_dir():
        return False
    for name in files_below(folder, _ENDINGS):
        try:
            return arrays.lie_in(inside(folder, name))
        except UnreadableFile:
            continue
    return False


def _listing(folder: Path, arrays: _Arrays) -> Listing:
    """A folder may hold slices of several data sets, each with its own names and structures."""
    files = {
        name: dataset_of_file(stem_of(name)) or find_dataset(folder.name, "")
        for name in files_below(folder, _ENDINGS)
    }
    keys = {registered.key for registered in files.values()}
    entries = []
    patients_known = True
    for name, registered in files.items():
        patient = registered.patient_of(stem_of(name))
        patients_known &= patient is not None
        unit = patient or stem_of(name)
        read = partial(_read, folder, name, arrays, registered)
        entries.append(
            Entry(
                name.removesuffix(".npz"),
                unit if len(keys) == 1 else f"{registered.key}/{unit}",
                (name,),
                read,
                dataset=registered.key,
            )
        )
    dataset = keys.pop() if len(keys) == 1 else find_dataset(folder.name, "").key
    return Listing(dataset, entries, patients_known=patients_known)


def _read(
    folder: Path, name: str, arrays: _Arrays, registered: KnownDataset, tell: Tell
) -> Contents:
    path = inside(folder, name)
    pixels, values = read_array(path, arrays.image), read_array(path, arrays.labels)
    if pixels.shape != values.shape or pixels.ndim != arrays.axes:
        reason = f"{arrays.image} {pixels.shape} and {arrays.labels} {values.shape} must be alike"
        raise UnreadableFile(path, f"{reason}, with {arrays.axes} axes.")
    try:
        labels = whole_numbers(values).reshape((-1, *values.shape[-2:]))
        affine = _affine(path) if arrays is _VOLUMES else None
        modality = registered.modalities[0] if len(registered.modalities) == 1 else None
        stack = pixels.reshape(labels.shape)
        volume = as_volume(stack, UPRIGHT if affine is None else affine, modality)
    except ValueError as fault:
        raise UnreadableFile(path, f"{fault}.") from fault
    return Contents(
        volume,
        truths_of_labels(labels, _targets(labels, registered), name, tell),
        spacing_known=affine is not None,
    )


def _targets(labels: NDArray[np.int64], registered: KnownDataset) -> dict[int, Target]:
    """MedSAM2 numbers the lesions of a scan, MedScribble draws one structure; nothing names them
    but the registry.
    """
    target = registered.target(registered.only_label or "lesion")
    values = [int(value) for value in np.unique(labels) if value] or [1]
    if len(values) == 1:
        return {values[0]: target}
    return {value: Target(f"{target.text} {n}", None) for n, value in enumerate(values, start=1)}


def _affine(path: Path) -> NDArray[np.float64] | None:
    """The affine (z, y, x) to LPS mm of spacing (x, y, z), direction and origin as ITK has them;
    None without a spacing.
    """
    names = array_names(path)
    if "spacing" not in names:
        return None
    spacing = np.asarray(read_array(path, "spacing"), dtype=np.float64).ravel()
    direction: Any = read_array(path, "direction") if "direction" in names else np.eye(3)
    origin: Any = read_array(path, "origin") if "origin" in names else np.zeros(3)
    if spacing.shape != (3,) or direction.size != 9 or origin.size != 3:
        raise ValueError("spacing, direction and origin must be 3, 9 and 3 numbers")
    affine = np.eye(4)
    affine[:3, :3] = direction.reshape(3, 3) * spacing
    affine[:3, 3] = origin.ravel()
    return affine[:, [2, 1, 0, 3]]


def _layout(name: str, looks: str, arrays: _Arrays) -> DataLayout:
    return DataLayout(name, looks, partial(_fits, arrays=arrays), partial(_listing, arrays=arrays))


MEDSAM2 = _layout("medsam2-npz", "npz files with imgs (z, y, x), gts and spacing", _VOLUMES)
MEDSCRIBBLE = _layout("medscribble-npz", "npz files with img (y, x) and seg", _SLICES)
