"""One image file and one label map of it: what every layout of volumes reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from agent.geometry import Geometry
from agent.values import Target, Volume
from models.errors import UnreadableFile
from models.images.label_maps import read_labels
from models.images.readers import read_volume
from models.training.datasets.dataset import Contents, Tell
from models.training.datasets.paths import inside
from models.training.datasets.truths import grid_fault, truths_of_labels

ENDINGS = (".nii", ".nii.gz", ".nrrd", ".mha")
"""Volumes in one file: a header with its voxels elsewhere could name any file."""


def read_image(folder: Path, name: str, modality: str | None, channel: int | None = None) -> Volume:
    """The image `name` of `folder`; `modality` where the data set says it, else guessed; `channel`
    of a file that holds several.
    """
    volume = read_volume(inside(folder, name), channel=channel)
    return volume if modality is None else replace(volume, modality=modality)


def read_image_and_labels(
    folder: Path,
    files: tuple[str, str],
    targets: Mapping[int, Target],
    modality: str | None,
    tell: Tell,
    *,
    channel: int | None = None,
) -> Contents:
    """The image and the label map that `files` name; UnreadableFile where they do not belong
    together.
    """
    image_name, label_name = files
    volume = read_image(folder, image_name, modality, channel)
    label_path = inside(folder, label_name)
    labels, grid = read_labels(label_path)
    require_same_grid(label_path, grid, volume.geometry)
    return Contents(volume, truths_of_labels(labels, targets, label_name, tell))


def require_same_grid(path: Path, truth: Geometry, image: Geometry) -> None:
    """UnreadableFile for a truth at `path` that lies on another grid than its image."""
    fault = grid_fault(truth, image)
    if fault:
        raise UnreadableFile(path, fault)
