"""Label maps that lie beside a DICOM series: labels.json names the values, NIfTI holds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from agent.values import Target
from dicom_node.errors import DicomNodeError
from dicom_node.series.header import read_header
from dicom_node.volume.volume import load_volume
from models.errors import UnreadableFile
from models.images.label_maps import read_labels
from models.training.datasets.dataset import Contents, Tell
from models.training.datasets.paths import files_below, inside, read_index
from models.training.datasets.registry import words_of
from models.training.datasets.truths import truths_of_labels
from models.training.datasets.turning import turned_onto
from models.training.datasets.volume_files import ENDINGS
from server.rules.catalogue import Catalogue
from server.study.source_files import agent_volume
from server.training.catalogue_targets import target_of_words

LABELS = "labels.json"


def label_maps(root: Path) -> Iterator[str]:
    """The label maps of `root`, relative: volumes in one file beside a labels.json."""
    for index in files_below(root, (LABELS,)):
        folder = index.removesuffix(LABELS)
        yield from (f"{folder}{name}" for name in files_below(root / folder, ENDINGS, depth=1))


def read_with_label_map(
    root: Path, images: Sequence[str], label_map: str, catalogue: Catalogue, tell: Tell
) -> Contents:
    """The series of `images` with the label map's structures; UnreadableFile where they do not
    belong together.
    """
    path = inside(root, label_map)
    targets = _targets(root, label_map, catalogue)
    labels, grid = read_labels(path)
    try:
        volume = agent_volume(load_volume([read_header(inside(root, name)) for name in images]))
        turned = turned_onto(labels, grid, volume.geometry)
    except (DicomNodeError, ValueError) as fault:
        raise UnreadableFile(path, f"{' '.join(str(fault).split()).rstrip('.')}.") from fault
    return Contents(volume, truths_of_labels(turned, targets, label_map, tell))


def _targets(root: Path, label_map: str, catalogue: Catalogue) -> Mapping[int, Target]:
    folder, _, _ = label_map.rpartition("/")
    name = f"{folder}/{LABELS}".lstrip("/")
    try:
        return {
            int(value): target_of_words(words_of(str(label)), catalogue)
            for value, label in read_index(root, name).items()
            if int(value)
        }
    except (AttributeError, ValueError) as fault:
        raise UnreadableFile(root / name, "it does not name structures by value.") from fault
