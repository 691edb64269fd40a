"""Slices of ellipses with their truth, as PNG: training data for where no real ones are at hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from server.files import write_json

SIDE = 256
LABELS = {1: "liver", 2: "spleen", 3: "aorta"}
_GREY = {1: 150, 2: 185, 3: 215}
_BODY_RADII = (0.27, 0.33)  # (y, x) as parts of the side
_CENTRES = {1: (-0.04, -0.15), 2: (0.0, 0.17), 3: (0.09, 0.02)}  # (y, x) from the body's centre
_RADII = {1: (0.13, 0.115), 2: (0.09, 0.07), 3: (0.045, 0.045)}
_SHIFT = 0.16  # of the body: what does not look at the picture cannot know where organs lie
_SCALE = (0.75, 1.15)  # of the body with all in it
_JITTER, _STRETCH = 0.025, (0.8, 1.2)  # of each organ in its body: its place, each of its radii
_NOISE = 4.0


def write_toy_slices(folder: Path, patients: int, slices: int, validation: int) -> Path:
    """Write `patients` patients of `slices` slices each, the last `validation` of them for
    validation, and return `folder`. Each third slice lacks the spleen.
    """
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    names: dict[str, list[str]] = {"training": [], "validation": []}
    for patient in range(patients):
        split = "validation" if patient >= patients - validation else "training"
        for index in range(slices):
            image, labels = _slice(np.random.default_rng([patient, index]), without=index % 3 == 2)
            name = f"TOY_{patient:03d}_{index:02d}.png"
            Image.fromarray(image).save(folder / "images" / name)
            Image.fromarray(labels).save(folder / "labels" / name)
            names[split].append(name)
    write_json(
        folder / "dataset.json",
        {
            "name": "toy",
            "modality": "CT",
            "image_dir": "images",
            "label_dir": "labels",
            "file_name": "TOY_<patient>_<slice>.png",
            "labels": {"0": "background", **{str(value): name for value, name in LABELS.items()}},
            **names,
        },
    )
    return folder


def copy_slices(source: Path, folder: Path, structures: tuple[str, ...]) -> Path:
    """Copy a data set of that layout with the labels of `structures` alone, and return `folder`."""
    index = json.loads((source / "dataset.json").read_text(encoding="utf-8"))
    wanted = {v: n for v, n in index["labels"].items() if n in structures or v == "0"}
    images, labels = index["image_dir"], index["label_dir"]
    for part in (images, labels):
        (folder / part).mkdir(parents=True, exist_ok=True)
    values = [int(value) for value in wanted]
    for name in (*index["training"], *index["validation"]):
        (folder / images / name).write_bytes((source / images / name).read_bytes())
        with Image.open(source / labels / name) as stored:
            label_map = np.asarray(stored)
        kept = np.where(np.isin(label_map, values), label_map, 0).astype(label_map.dtype)
        Image.fromarray(kept).save(folder / labels / name)
    write_json(folder / "dataset.json", index | {"labels": wanted})
    return folder


def _slice(
    rng: np.random.Generator, *, without: bool
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A slice (SIDE, SIDE) uint8 and its labels; `without` the spleen."""
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE
    image = np.full((SIDE, SIDE), 8.0)
    body, scale = 0.5 + rng.uniform(-_SHIFT, _SHIFT, 2), rng.uniform(*_SCALE)
    image[_inside(rows, columns, body, scale * np.array(_BODY_RADII))] = 90.0
    labels = np.zeros((SIDE, SIDE), np.uint8)
    for value, radii in _RADII.items():
        place = np.add(_CENTRES[value], rng.uniform(-_JITTER, _JITTER, 2))
        size = scale * np.multiply(radii, rng.uniform(*_STRETCH, 2))
        if without and LABELS[value] == "spleen":
            continue
        inside = _inside(rows, columns, body + scale * place, size)
        image[inside], labels[inside] = _GREY[value], value
    noisy = image + rng.normal(0, _NOISE, image.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8), labels


def _inside(
    rows: NDArray[np.float64],
    columns: NDArray[np.float64],
    centre: NDArray[np.float64],
    radii: NDArray[np.float64],
) -> NDArray[np.bool_]:
    across = ((columns - centre[1]) / radii[1]) ** 2
    return np.asarray(((rows - centre[0]) / radii[0]) ** 2 + across <= 1)
