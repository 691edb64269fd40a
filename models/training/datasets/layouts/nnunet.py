"""NIfTI folders as nnU-Net and the Medical Segmentation Decathlon lay them out.

imagesTr, labelsTr (and imagesTs, labelsTs) with a dataset.json that names labels and channels. A
case of several channels (four MR sequences) becomes a case a channel, each with the truth.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from agent.values import Target
from models.errors import UnusableData
from models.training.datasets.dataset import Entry, Listing, Skipped
from models.training.datasets.layout import DataLayout
from models.training.datasets.paths import files_below, read_index, stem_of
from models.training.datasets.registry import KnownDataset, find_dataset
from models.training.datasets.splits import TEST, TRAINING
from models.training.datasets.volume_files import ENDINGS, read_image_and_labels

_INDEX = "dataset.json"
_CHANNEL = re.compile(r"_(\d{4})$")  # nnU-Net: case_0000.nii.gz is the first channel of case


@dataclass(frozen=True)
class _Index:
    """What dataset.json says: labels by value, the modality by channel."""

    registered: KnownDataset
    targets: Mapping[int, Target]
    channels: Mapping[int, str]


def _fits(folder: Path) -> bool:
    return all((folder / name).is_dir() for name in ("imagesTr", "labelsTr"))


def _listing(folder: Path) -> Listing:
    first = stem_of(next(files_below(folder / "labelsTr", ENDINGS, depth=1), ""))
    index = _read_index(folder, first)
    # a data set without labels for its test has no split of its own
    has_test = (folder / "labelsTs").is_dir()
    entries: list[Entry] = []
    faults: list[Skipped] = []
    for part, split in (("Tr", TRAINING if has_test else None), ("Ts", TEST)):
        if (folder / f"labels{part}").is_dir():
            pairs = _pairs(folder, part, faults)
            for case in pairs:
                entries += _entries(folder, case, index, split)
    patients_known = index.registered.patient_of(first) is not None
    return Listing(index.registered.key, entries, tuple(faults), patients_known, (_INDEX,))


def _read_index(folder: Path, first: str) -> _Index:
    content: Any = read_index(folder, _INDEX)
    try:
        registered = find_dataset(str(content.get("name", folder.name)), first)
        names = content.get("channel_names") or content.get("modality") or {"0": ""}
        channels = {int(number): _modality(str(name)) for number, name in names.items()}
        targets = dict(_targets(content["labels"], registered))
    except (AttributeError, KeyError, TypeError, ValueError) as fault:
        reason = f"{_INDEX} does not name labels and channels as nnU-Net or MSD do ({fault})"
        raise UnusableData(folder, reason) from fault
    return _Index(registered, targets, channels)


def _targets(labels: Mapping[str, Any], registered: KnownDataset) -> Iterator[tuple[int, Target]]:
    """Targets by value: MSD writes value -> name, nnU-Net name -> value; a region of several
    values is made of structures that have a value each.
    """
    for name, value in labels.items():
        if str(name).isdigit() and isinstance(value, str):
            name, value = value, int(name)
        if isinstance(value, int) and value != 0 and name != "ignore":
            yield value, registered.target(name)


def _modality(channel: str) -> str:
    """DICOM's word for a channel's name; empty where the name tells none."""
    folded = channel.lower()
    if folded in {"ct", "rescale_to_0_1_ct"}:
        return "CT"
    return "MR" if re.search(r"mri?\b|t1|t2|flair|adc|dwi", folded) else ""


def _pairs(folder: Path, part: str, faults: list[Skipped]) -> Iterator[tuple[str, str, str, int]]:
    """Case, image, label and channel; a label without an image and an image without a label are
    faults.
    """
    images: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
    labels = {
        stem_of(name): name for name in files_below(folder / f"labels{part}", ENDINGS, depth=1)
    }
    for name in files_below(folder / f"images{part}", ENDINGS, depth=1):
        stem = stem_of(name)
        channel = _CHANNEL.search(stem)
        if channel and stem not in labels:
            images[stem[: channel.start()]].append((int(channel[1]), name))
        else:
            images[stem].append((0, name))
    for stem in sorted(images.keys() | labels.keys()):
        for channel_number, name in sorted(images.get(stem, ())):
            if stem in labels:
                image, label = f"images{part}/{name}", f"labels{part}/{labels[stem]}"
                yield stem, image, label, channel_number
            else:
                faults.append(Skipped(f"images{part}/{name}", f"labels{part} has no label of it."))
        if stem not in images:
            file = f"labels{part}/{labels[stem]}"
            faults.append(Skipped(file, f"images{part} has no image of it."))


def _entries(
    folder: Path, case: tuple[str, str, str, int], index: _Index, split: str | None
) -> Iterator[Entry]:
    """The case, or one for each channel where one file holds all (the Decathlon's 4-D images)."""
    stem, image, label, number = case
    several = len(index.channels) > 1
    in_one_file = several and stem_of(image) == stem
    patient = index.registered.patient_of(stem) or stem
    for channel in index.channels if in_one_file else (number,):
        read = partial(
            read_image_and_labels,
            folder,
            (image, label),
            index.targets,
            index.channels.get(channel) or None,
            channel=channel if in_one_file else None,
        )
        case_id = f"{stem}/{channel}" if several else stem
        yield Entry(case_id, patient, (image, label), read, split)


LAYOUT = DataLayout(
    "nnunet", "imagesTr, labelsTr and dataset.json, as nnU-Net and MSD have", _fits, _listing
)
