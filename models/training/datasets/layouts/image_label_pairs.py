"""Pairs of volumes in one folder: NAME_image.nrrd and NAME_label.nrrd (or NIfTI, MetaImage)."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from models.training.datasets.dataset import Entry, Listing, Skipped
from models.training.datasets.layout import DataLayout
from models.training.datasets.paths import files_below, stem_of
from models.training.datasets.registry import find_dataset
from models.training.datasets.volume_files import ENDINGS, read_image_and_labels

_IMAGE, _LABEL = "_image", "_label"


def _fits(folder: Path) -> bool:
    return folder.is_dir() and any(
        stem_of(name).endswith(_LABEL) for name in files_below(folder, ENDINGS, depth=1)
    )


def _listing(folder: Path) -> Listing:
    files = {stem_of(name): name for name in files_below(folder, ENDINGS, depth=1)}
    cases = sorted({stem.removesuffix(_IMAGE).removesuffix(_LABEL) for stem in files})
    registered = find_dataset(folder.name, f"{cases[0]}{_IMAGE}")
    target = registered.target(registered.only_label or "lesion")
    modality = registered.modalities[0] if len(registered.modalities) == 1 else None
    entries, faults = [], []
    for case in cases:
        image, label = files.get(f"{case}{_IMAGE}"), files.get(f"{case}{_LABEL}")
        if image is None or label is None:
            reason = f"{case}{_IMAGE} and {case}{_LABEL} must lie side by side."
            faults.append(Skipped(image or label or files.get(case, case), reason, case))
            continue
        read = partial(read_image_and_labels, folder, (image, label), {1: target}, modality)
        patient = registered.patient_of(f"{case}{_IMAGE}") or case
        entries.append(Entry(case, patient, (image, label), read))
    patients_known = registered.patient_of(f"{cases[0]}{_IMAGE}") is not None
    return Listing(registered.key, entries, tuple(faults), patients_known)


LAYOUT = DataLayout(
    "image-label-pairs",
    "volumes NAME_image and NAME_label side by side",
    _fits,
    _listing,
)
