"""Masks as files where the source was no DICOM: one NIfTI label map, or one picture a structure;
a side-car says what they show.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.geometry import Geometry
from agent.values import Mask
from models.images.label_names import (
    EXTENSION_CODE,
    LabelName,
    Rgb,
    label_descriptions,
    label_table,
)

SIDECAR_VERSION = 2
PICTURE_SIDECAR = "segmentation.json"
MOST_LABELS = 255  # label values are uint8
_UNKNOWN, _SCANNER = 0, 1  # the codes of qform and sform (nifti1.h)


@dataclass(frozen=True)
class LabelledStructure:
    """What the side-car says of a structure: its `text`, the colour to show it in, and `details`
    of whoever asked for it, by name.
    """

    text: str
    rgb: Rgb
    details: Mapping[str, object] = field(default_factory=dict)


def write_label_map(
    path: Path,
    grid: Geometry,
    masks: Iterable[tuple[LabelledStructure, Mask]],
    others: Sequence[LabelledStructure] = (),
) -> Path:
    """Write masks (each on `grid`, one at a time) as `path` (.nii.gz), with its side-car (.json)
    and its colours (_labels.txt, for ITK-SNAP) beside it.

    Label values are 1, 2, … in the order given; where structures overlap the earlier one keeps the
    voxel, and the side-car says how many voxels the later one lost, and which `others` were asked
    for and have no label. The map has the axes and affine of a NIfTI source, and the names of its
    values in its header. ValueError for no masks, more than 255, or one on another grid.
    """
    label_map = np.zeros(grid.shape, dtype=np.uint8)
    structures: list[dict[str, object]] = []
    names = []
    for value, (structure, mask) in enumerate(masks, start=1):
        if value > MOST_LABELS:
            raise ValueError(f"a label map holds {MOST_LABELS} structures at most")
        if not mask.geometry.matches(grid):
            raise ValueError(f"the mask of {structure.text} is on another grid")
        free = mask.voxels & (label_map == 0)
        label_map[free] = value
        lost = int(np.count_nonzero(mask.voxels) - np.count_nonzero(free))
        names.append(LabelName(value, structure.text, structure.rgb))
        figures = {"volume_ml": mask.volume_ml, "overlapped_voxels": lost}
        structures.append({"value": value, **_described(structure), **figures})
    if not structures:
        raise ValueError("a label map holds at least one structure")
    _write_nifti(path, label_map, grid, names)
    path.with_name(f"{_stem(path)}_labels.txt").write_text(label_descriptions(names), "utf-8")
    return write_sidecar(path, structures, others)


def write_sidecar(
    path: Path, structures: Sequence[Mapping[str, object]], others: Sequence[LabelledStructure]
) -> Path:
    """Write the side-car of a label map at `path`; without `structures` there is no such map."""
    sidecar = path.with_name(f"{_stem(path)}.json")
    return _write_sidecar(sidecar, path.name if structures else None, structures, others)


def _write_sidecar(
    path: Path,
    label_map: str | None,
    structures: Sequence[Mapping[str, object]],
    others: Sequence[LabelledStructure],
) -> Path:
    content = {
        "version": SIDECAR_VERSION,
        "label_map": label_map,
        "structures": structures,
        "without_label": [_described(structure) for structure in others],
    }
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def label_map_files(path: Path) -> tuple[Path, Path, Path]:
    """The label map at `path`, its side-car and its colours."""
    stem = _stem(path)
    return path, path.with_name(f"{stem}.json"), path.with_name(f"{stem}_labels.txt")


def earlier_pictures(folder: Path) -> list[Path]:
    """The pictures that the side-car in `folder` names; none where there is no readable one."""
    try:
        content = json.loads((folder / PICTURE_SIDECAR).read_text("utf-8"))
        names = [structure["picture"] for structure in content["structures"]]
    except (OSError, ValueError, KeyError, TypeError):  # absent, or of a label map, or not ours
        return []
    # the last part alone: a side-car written by others names nothing outside its folder
    return [folder / Path(name).name for name in names if str(name).endswith(".png")]


def _described(structure: LabelledStructure) -> dict[str, object]:
    return {"text": structure.text, "colour_rgb": list(structure.rgb), **structure.details}


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".nii")


def _write_nifti(
    path: Path, label_map: NDArray[np.uint8], grid: Geometry, names: Sequence[LabelName]
) -> None:
    """Write labels (z, y, x) with their names; qform and sform say the same wherever they can."""
    import nibabel

    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ grid.affine_zyx_to_lps[:, [2, 1, 0, 3]]
    image: Any = nibabel.Nifti1Image(label_map.transpose(2, 1, 0), ras)  # type: ignore[no-untyped-call]  # nibabel's hints are partial
    image.set_sform(ras, code=_SCANNER)
    image.set_qform(ras, code=_SCANNER)
    # a qform holds no shear, and readers that prefer it would lay the labels elsewhere
    if not np.allclose(image.get_qform(), ras, atol=1e-3):
        image.set_qform(None, code=_UNKNOWN)
    image.header.set_xyzt_units("mm")
    extension = nibabel.nifti1.Nifti1Extension(EXTENSION_CODE, label_table(names))
    image.header.extensions.append(extension)
    image.to_filename(path)


def write_pictures(
    folder: Path,
    masks: Iterable[tuple[LabelledStructure, Mask]],
    others: Sequence[LabelledStructure] = (),
) -> list[Path]:
    """Write each mask of a single image as a 0/255 PNG at source size, "left kidney" as
    left_kidney.png, and segmentation.json, which says what each shows and which `others` were asked
    for and have none.

    Names that fall together get a number. ValueError for a mask of more than one slice.
    """
    from PIL import Image

    paths: list[Path] = []
    structures: list[dict[str, object]] = []
    for structure, mask in masks:
        text = structure.text
        if mask.geometry.shape[0] != 1:
            raise ValueError(f"the mask of {text} has {mask.geometry.shape[0]} slices, not one")
        path = _unused(folder, file_stem(text), paths)
        Image.fromarray(np.where(mask.voxels[0], 255, 0).astype(np.uint8)).save(path)
        paths.append(path)
        area_px = int(np.count_nonzero(mask.voxels))
        structures.append({"picture": path.name, **_described(structure), "area_px": area_px})
    _write_sidecar(folder / PICTURE_SIDECAR, None, structures, others)
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
