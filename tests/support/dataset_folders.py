"""Small data sets on disk in every layout that is read, each with known shapes in known places."""

from __future__ import annotations

import io
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


def picture_bytes(pixels: NDArray[np.uint8]) -> bytes:
    """Pixels (rows, columns) or (rows, columns, 3) as PNG."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def biomedparse_folder(folder: Path, **lines: list[dict[str, Any]]) -> Path:
    """BiomedParse's layout: two patients' CT for training and a fundus photograph for the test.

    `lines` replace the annotations of a split.
    """
    image, labels = labelled()
    grey = image[2].clip(0, 255).astype(np.uint8)
    colour = np.stack([grey, grey // 2, grey // 3], axis=-1)
    annotations: dict[str, list[dict[str, Any]]] = {"train": [], "test": []}
    pictures = [
        ("train", "LIDC-IDRI-0001_1_CT_chest", grey, (("lung+nodule", 1), ("lung", 2))),
        ("train", "LIDC-IDRI-0002_7_CT_chest", grey, (("lung+nodule", 1),)),
        ("test", "drive_21_fundus_retinal", colour, (("optic+disc", 2),)),
    ]
    for split, stem, pixels, masks in pictures:
        for part in (split, f"{split}_mask"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        stored = np.stack([pixels] * 3, axis=-1) if pixels.ndim == 2 else pixels
        (folder / split / f"{stem}.png").write_bytes(picture_bytes(stored))
        for target, value in masks:
            mask = f"{stem}_{target}.png"
            drawn = np.where(labels[2] == value, 255, 0).astype(np.uint8)
            (folder / f"{split}_mask" / mask).write_bytes(picture_bytes(drawn))
            sentences = [{"sent": f"{target.replace('+', ' ')} in {stem.split('_')[-2]}"}]
            line = {"file_name": f"{stem}.png", "mask_file": mask, "sentences": sentences}
            annotations[split].append(line)
    for split, own in (annotations | lines).items():
        (folder / f"{split}.json").write_text(json.dumps({"annotations": own}))
    return folder


def parquet_rows(count: int = 3) -> list[dict[str, Any]]:
    """Rows as MedSAM-Agent's reinforcement learning data has them."""
    rows = []
    for n in range(count):
        image, labels = labelled(n)
        mask = picture_bytes(np.where(labels[2] == 1, 255, 0).astype(np.uint8))
        rows.append(
            {
                "prompt": [{"role": "user", "content": "segment"}],
                "data_source": "btcv",
                "images": [{"bytes": picture_bytes(image[2].clip(0, 255).astype(np.uint8))}],
                "reward_model": {"ground_truth": {"bytes": mask}},
                "extra_info": {"id": f"case-{n}", "target_description": "liver"},
            }
        )
    return rows


def npz_folder(folder: Path, files: int = 2, **arrays: Any) -> Path:
    """MedSAM2's layout: CT_Lesion_000001 and so on; `arrays` replace those of the first file."""
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(files):
        image, labels = labelled(n)
        own = {
            "imgs": image.clip(0, 255).astype(np.uint8),
            "gts": (labels == 1).astype(np.uint8),
            "spacing": np.array([0.8, 0.9, 2.5]),
        }
        np.savez_compressed(
            folder / f"CT_Lesion_{n + 1:06d}_01_01_001-004.npz",
            **(own | (arrays if n == 0 else {})),
        )
    return folder
