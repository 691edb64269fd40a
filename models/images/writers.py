"""Masks as files where the source was no DICOM: one NIfTI label map with a side-car, or one picture
a structure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from agent.geometry import Geometry
from agent.values import Mask

SIDECAR_VERSION = 1
MOST_LABELS = 255  # label values are uint8


def write_label_map(path: Path, grid: Geometry, masks: Iterable[tuple[str, Mask]]) -> Path:
    """Write masks (text and mask on `grid`, one at a time) as `path` (.nii.gz) and `path` with
    .json beside it.

    Label values are 1, 2, … in the order given; where structures overlap the earlier one keeps the
    voxel, and the side-car says how many voxels the later one lost. The map has the axes and affine
    of a NIfTI source. ValueError for no masks, more than 255, or one on another grid.
    """
    import nibabel

    label_map = np.zeros(grid.shape, dtype=np.uint8)
    structures = []
    for value, (text, mask) in enumerate(masks, start=1):
        if value > MOST_LABELS:
            raise ValueError(f"a label map holds {MOST_LABELS} structures at most")
        if not mask.geometry.matches(grid):
            raise ValueError(f"the mask of {text} is on another grid")
        free = mask.voxels & (label_map == 0)
        label_map[free] = value
        lost = int(np.count_nonzero(mask.voxels) - np.count_nonzero(free))
        structures.append(
            {"value": value, "text": text, "volume_ml": mask.volume_ml, "overlapped_voxels": lost}
        )
    if not structures:
        raise ValueError("a label map holds at least one structure")
    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ grid.affine_zyx_to_lps[:, [2, 1, 0, 3]]
    stored = label_map.transpose(2, 1, 0)
    image = nibabel.Nifti1Image(stored, ras)  # type: ignore[no-untyped-call]  # nibabel's hints are partial
    image.to_filename(path)
    sidecar = path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".json")
    content = {"version": SIDECAR_VERSION, "label_map": path.name, "structures": structures}
    sidecar.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return sidecar


def write_pictures(folder: Path, masks: Iterable[tuple[str, Mask]]) -> list[Path]:
    """Write each mask of a single image as a 0/255 PNG at source size, "left kidney" as
    left_kidney.png.

    Names that fall together get a number. ValueError for a mask of more than one slice.
    """
    from PIL import Image

    paths: list[Path] = []
    for text, mask in masks:
        if mask.geometry.shape[0] != 1:
            raise ValueError(f"the mask of {text} has {mask.geometry.shape[0]} slices, not one")
        path = _unused(folder, file_stem(text), paths)
        Image.fromarray(np.where(mask.voxels[0], 255, 0).astype(np.uint8)).save(path)
        paths.append(path)
    return paths


def file_stem(text: str) -> str:
    """A structure's text as a file name without its ending: lower case, all but letters and digits
    as _.
    """
    return re.sub(r"\W+", "_", text.lower()).strip("_")[:80] or "structure"


def _unused(folder: Path, stem: str, paths: list[Path]) -> Path:
    """`stem`.png, or with the first free number, so that no structure of one run overwrites
    another's.
    """
    path, number = folder / f"{stem}.png", 2
    while path in paths:
        path, number = folder / f"{stem}_{number}.png", number + 1
    return path
