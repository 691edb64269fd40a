"""BiomedParse's and UniBiomed's pictures: train/, train_mask/ and train.json, the same for test.

Images are IMAGE_MODALITY_SITE.png, masks IMAGE_MODALITY_SITE_TARGET.png with spaces as +; the index
says which sentences ask for which mask, and the first is the target's text. Data sets that lie one
or two levels deeper are found by their index.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from agent.case import Truth
from agent.values import Target
from models.errors import UnreadableFile
from models.images.label_maps import read_foreground
from models.images.readers import read_volume
from models.training.datasets.dataset import Contents, Entry, Listing, Skipped, Tell
from models.training.datasets.layout import DataLayout
from models.training.datasets.paths import inside, read_index, stem_of
from models.training.datasets.registry import KnownDataset, find_dataset
from models.training.datasets.splits import split_name
from models.training.datasets.truths import truth_of_mask

_SPLITS = ("train", "val", "test")

# how image names begin the word for a modality -> DICOM's
_MODALITIES = {
    "ct": "CT",
    "mri": "MR",
    "mr": "MR",
    "xray": "DX",
    "ultrasound": "US",
    "us": "US",
    "endoscop": "ES",
    "fundus": "OP",
    "dermoscopy": "XC",
    "pathology": "SM",
    "oct": "OPT",
}


@dataclass(frozen=True)
class _Image:
    """An image of an index, and its masks with the target of each."""

    name: str
    masks: list[tuple[str, Target]] = field(default_factory=list)


def _fits(folder: Path) -> bool:
    return folder.is_dir() and next(_parts(folder), None) is not None


def _parts(folder: Path) -> Iterator[tuple[str, str]]:
    """The data sets of `folder`, relative, each with the splits that it has an index and images
    of.
    """
    for pattern in ("", "*/", "*/*/"):
        for split in _SPLITS:
            for index in sorted(folder.glob(f"{pattern}{split}.json")):
                if index.with_suffix("").is_dir():
                    yield index.parent.relative_to(folder).as_posix(), split


def _listing(folder: Path) -> Listing:
    entries: list[Entry] = []
    faults: list[Skipped] = []
    patients_known = True
    parts = list(_parts(folder))
    names = {part.split("/")[0] if part != "." else folder.name for part, _ in parts}
    for part, split in parts:
        name = part.split("/")[0] if part != "." else folder.name
        prefix = "" if part == "." else f"{part}/"
        for image in _images(folder, prefix, split, find_dataset(name, ""), faults):
            registered = find_dataset(name, stem_of(image.name))
            files = (image.name, *(mask for mask, _ in image.masks))
            patient = registered.patient_of(stem_of(image.name))
            patients_known &= patient is not None
            case_id = f"{prefix}{split}/{stem_of(image.name)}"
            read = partial(_read, folder, image, registered)
            own = patient or stem_of(image.name).rsplit("_", 2)[0]
            entries.append(Entry(case_id, f"{prefix}{own}", files, read, split_name(split)))
    dataset = names.pop() if len(names) == 1 else folder.name
    indices = tuple(f"{part}/{split}.json".removeprefix("./") for part, split in parts)
    key = find_dataset(dataset, "").key
    return Listing(key, entries, tuple(faults), patients_known, indices)


def _images(
    folder: Path, prefix: str, split: str, registered: KnownDataset, faults: list[Skipped]
) -> Iterator[_Image]:
    """The images of an index in its order, each once; a line that is none is a fault."""
    index_name = f"{prefix}{split}.json"
    content: Any = read_index(folder, index_name)
    lines = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(lines, list):
        raise UnreadableFile(folder / index_name, "it has no list of annotations.")
    images: dict[str, _Image] = {}
    for number, line in enumerate(lines):
        try:
            file, mask, target = _annotation(line, registered)
        except (KeyError, TypeError, IndexError, AttributeError) as fault:
            reason = f"its annotation {number} has no {fault}, or not as it should be."
            faults.append(Skipped(index_name, reason))
            continue
        name = _below(f"{prefix}{split}/", file)
        image = images.setdefault(name, _Image(name))
        image.masks.append((_below(f"{prefix}{split}_mask/", mask), target))
    yield from images.values()


def _annotation(line: Mapping[str, Any], registered: KnownDataset) -> tuple[str, str, Target]:
    """Image, mask and target of a line; the key by the target in the mask's name."""
    file, mask = str(line["file_name"]), str(line["mask_file"])
    sentence = str(line["sentences"][0]["sent"]).strip()
    target = registered.target(stem_of(mask).rsplit("_", 1)[-1].replace("+", " "))
    return file, mask, Target(sentence or target.text, target.structure)


def _below(place: str, name: str) -> str:
    """`name` in the folder `place`, which some indices write before it and others do not."""
    folder = place.rstrip("/").rsplit("/", 1)[-1]
    return f"{place}{name.removeprefix(f'{folder}/')}"


def _read(folder: Path, image: _Image, registered: KnownDataset, tell: Tell) -> Contents:
    volume = read_volume(inside(folder, image.name))
    modality = _modality(image.name) or (
        registered.modalities[0] if len(registered.modalities) == 1 else ""
    )
    volume = replace(volume, modality=modality or volume.modality)
    truths: dict[str, Truth] = {}
    for name, target in image.masks:
        try:
            mask = read_foreground(inside(folder, name))
            shape = volume.geometry.shape
            if mask.shape != shape:
                raise UnreadableFile(
                    folder / name, f"it has {mask.shape[1:]} pixels and its image {shape[1:]}."
                )
            if target.text in truths:
                raise UnreadableFile(
                    folder / name, f"its image has another mask for '{target.text}'."
                )
        except UnreadableFile as fault:
            tell(name, fault.reason)
            continue
        for truth in truth_of_mask(mask, target, name, tell):
            truths[target.text] = truth
    return Contents(volume, tuple(truths.values()), spacing_known=False)


def _modality(name: str) -> str:
    """DICOM's word for the modality in an image's name; empty where it tells none."""
    words = stem_of(name).split("_")
    folded = words[-2].lower().replace("-", "") if len(words) > 2 else ""
    return next((code for word, code in _MODALITIES.items() if folded.startswith(word)), "")


LAYOUT = DataLayout(
    "biomedparse",
    "train/, train_mask/ and train.json (or test, or val), as BiomedParse and UniBiomed have",
    _fits,
    _listing,
)
