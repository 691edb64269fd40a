"""What the circle of corrections goes through: radiographs in DICOM, what a reader drew in them,
and a planner that begins badly.

Imported within a test: transformers takes seconds to load.
"""

from __future__ import annotations

import uuid
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray

from dicom_node.results.segmentation import SegmentationWriter
from dicom_node.results.writers import write_result
from dicom_node.series.header import read_header
from dicom_node.values import Algorithm, ResultContent, ResultIdentity, ResultSegment
from dicom_node.volume.volume import load_volume
from dicom_node.voxels import Voxels
from server.rules.catalogue import load_catalogue
from tests.support import pictures
from tests.support.phantoms import uid
from tests.support.planners.toy_planner import (
    CORNER,
    SIDE,
    STOP,
    load_toy,
    save_toy,
    scripted_rollouts,
    teach,
    toy_settings,
    toy_squares,
    write_prompts,
)

STRUCTURE = "liver"


def radiograph(folder: Path, patient: str) -> pictures.Picture:
    """A CR of 64 x 64 pixels with one bright ellipse, of a patient of its own."""
    return pictures.picture(
        folder,
        shape=(SIDE, SIDE),
        name=f"image-{patient}",
        PatientID=patient,
        StudyInstanceUID=uid("circle", patient),
    )


def write_readers_segmentation(path: Path, image: Path, mask: NDArray[np.bool_]) -> None:
    """A SEG of the structure on one image, as another program writes it for a reader."""
    entry = load_catalogue().structures[STRUCTURE]
    segment = ResultSegment(
        entry.label,
        entry.category,
        entry.type,
        entry.laterality,
        (50.0, 0.0, 0.0),
        STRUCTURE,
        Voxels.of(mask[None]),
    )
    identity = ResultIdentity(str(uuid.uuid5(uuid.NAMESPACE_OID, str(path))), 1)
    source = load_volume([read_header(image)])
    content = ResultContent(source, [segment], (), Algorithm("reader", "1"), identity)
    write_result(SegmentationWriter(), content, path)
    ds = pydicom.dcmread(path)
    ds.Manufacturer = "A Reader"
    ds.save_as(path)


def save_beginner(folder: Path, prompts: Path) -> None:
    """A planner that draws a box in the corner, beside everything, and stops; `prompts` are made
    its own.
    """
    write_prompts(prompts)
    (prompts / "review.txt").write_text((prompts / "first.txt").read_text())
    raw = folder.with_name(f"{folder.name}-raw")
    save_toy(raw)
    loaded = load_toy(raw)
    settings = toy_settings(prompts)
    cases = toy_squares(4, seed=1)
    teach(loaded, scripted_rollouts(loaded, settings, [CORNER], cases, {CORNER: STOP}), 30)
    loaded.model.save_pretrained(folder)
    loaded.processor.save_pretrained(folder)
