"""Small data sets on disk in every layout that is read, each with known shapes in known places."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from PIL import Image

SHAPE = (4, 12, 16)  # z, y, x
RAS = np.array([[-0.8, 0, 0, 5.0], [0, -0.9, 0, 6.0], [0, 0, 2.5, 7.0], [0, 0, 0, 1]])
"""NIfTI affine of a volume whose (z, y, x) rise to superior, posterior and left."""


def labelled(seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """An image (z, y, x) and its labels: 1 a block on the left half, 2 one that is smaller."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[1:3, 2:8, 3:9] = 1
    labels[2, 9:11, 11:14] = 2
    image = rng.normal(100, 5, SHAPE) + 50 * labels
    return image.astype(np.float32), labels


def write_nifti(path: Path, voxels: NDArray[Any], affine: NDArray[np.float64] = RAS) -> None:
    """Voxels (z, y, x) as NIfTI; parents are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(voxels.transpose(2, 1, 0), affine).to_filename(path)


def nnunet_folder(folder: Path, cases: int = 3, **index: Any) -> Path:
    """nnU-Net's layout: liver_000 and so on, labels liver and tumour; `index` replaces what
    dataset.json says.
    """
    for n in range(cases):
        image, labels = labelled(n)
        write_nifti(folder / "imagesTr" / f"liver_{n:03d}_0000.nii.gz", image)
        write_nifti(folder / "labelsTr" / f"liver_{n:03d}.nii.gz", labels)
    content = {
        "name": "toy",
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "liver": 1, "liver tumour": 2},
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(content | index))
    return folder


def totalsegmentator_folder(folder: Path, subjects: int = 3) -> Path:
    """TotalSegmentator's layout with meta.csv: s0000 and so on, one in each split."""
    rows = ["image_id;age;split"]
    for n in range(subjects):
        image, labels = labelled(n)
        subject = folder / f"s{n:04d}"
        write_nifti(subject / "ct.nii.gz", image)
        for value, name in ((1, "kidney_right"), (2, "spleen"), (3, "liver")):
            mask = (labels == value).astype(np.uint8)
            write_nifti(subject / "segmentations" / f"{name}.nii.gz", mask)
        rows.append(f"s{n:04d};50;{('train', 'val', 'test')[n % 3]}")
    (folder / "meta.csv").write_text("\n".join(rows) + "\n")
    return folder


def index_png_folder(folder: Path, **index: Any) -> Path:
    """Index masks with dataset.json: patients 1 and 2 for training, 3 for validation, two slices
    each.
    """
    for part in ("image", "label"):
        (folder / part).mkdir(parents=True)
    names = [f"P_{patient}_{n}.png" for patient in (1, 2, 3) for n in (0, 1)]
    for n, name in enumerate(names):
        image, labels = labelled(n)
        Image.fromarray(image[2].clip(0, 255).astype(np.uint8)).save(folder / "image" / name)
        Image.fromarray(labels[2] * (n != 1)).save(folder / "label" / name)
    content = {
        "labels": {"0": "background", "1": "kidney_right", "2": "spleen"},
        "image_dir": "image",
        "label_dir": "label",
        "file_name": "P_<patient>_<slice>.png",
        "training": names[:4],
        "validation": names[4:],
    }
    (folder / "dataset.json").write_text(json.dumps(content | index))
    return folder
