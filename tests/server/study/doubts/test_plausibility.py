"""What cannot be what was asked for is doubted; true masks of real patients are not."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.values import TargetStatus
from dicom_node.datasets.intensity_units import HOUNSFIELD_UNIT
from dicom_node.series.header import read_header
from dicom_node.values import SourceFrame, SourceVolume
from dicom_node.voxels import Voxels
from models.policies.locator.augment import hounsfield
from models.policies.locator.btcv import read_btcv
from models.policies.locator.structures import ORGANS
from server.pipeline import read_series
from server.rules.catalogue import load_catalogue
from server.rules.expectations import Expectation, Span, load_expectations
from server.study.doubts.plausibility import (
    REVIEW,
    DrawnStructure,
    cut_off_in_plane,
    implausible,
    in_doubt,
)
from server.values import TargetSummary
from tests.support import phantoms

EXPECTATIONS = load_expectations(load_catalogue())
GRID = phantoms.Grid()
NO_FILE = SourceFrame(Path("gone"), "1.2", "1.2.3", 1)


@pytest.fixture(scope="module")
def torso() -> tuple[SourceVolume, dict[str, NDArray[np.bool_]]]:
    hu, masks = phantoms.anatomy(GRID)
    return ct(hu.astype(np.float32)), masks


def ct(hu: NDArray[np.float32], **changes: Any) -> SourceVolume:
    plain = SourceVolume(hu, GRID.affine(), (NO_FILE,), "1", "2", "3", "CT", unit=HOUNSFIELD_UNIT)
    return replace(plain, **changes)


def drawn(
    mask: NDArray[np.bool_], volume: SourceVolume, age_years: float | None = 60.0
) -> DrawnStructure:
    return DrawnStructure(Voxels.of(np.ascontiguousarray(mask)), volume, age_years)


def doubts(key: str, structure: DrawnStructure) -> str:
    return "; ".join(implausible(structure, EXPECTATIONS[key]))


@pytest.mark.parametrize("organ", ["liver", "spleen", "left kidney", "right kidney"])
def test_true_organs_are_not_doubted_and_mirrored_ones_are(torso: Any, organ: str) -> None:
    volume, masks = torso
    key = organ.replace(" ", "_")

    assert doubts(key, drawn(masks[organ], volume)) == ""
    mirrored = doubts(key, drawn(masks[organ][:, :, ::-1], volume))
    assert "half of the body" in mirrored
    assert "sides may be mistaken" in mirrored


def test_half_an_organ_is_too_small_in_a_known_adult_alone(torso: Any) -> None:
    volume, masks = torso
    slices = np.arange(GRID.shape[0])[:, None, None]
    half = masks["liver"] & (slices < 11)
    assert 300 < doubts_ml(half, volume) < 600

    assert "ml is less than the 600 to 4000 ml" in doubts("liver", drawn(half, volume))
    assert doubts("liver", drawn(half, volume, age_years=None)) == ""
    assert doubts("liver", drawn(half, volume, age_years=6.0)) == ""
    cut_off = half.copy()
    cut_off[0, 40:50, 20:30] = True
    assert "is less than" not in doubts("liver", drawn(cut_off, volume))


def doubts_ml(mask: NDArray[np.bool_], volume: SourceVolume) -> float:
    return float(mask.sum() * abs(np.linalg.det(volume.affine_zyx_to_lps[:3, :3])) / 1000)


@pytest.mark.parametrize(("age_years", "doubted"), [(60.0, True), (None, True), (12.0, False)])
def test_what_is_too_large_is_so_at_any_age_but_a_childs(
    torso: Any, age_years: float | None, doubted: bool
) -> None:
    volume, masks = torso
    kidney = drawn(masks["liver"], volume, age_years)

    assert ("is more than the 50 to 500 ml" in doubts("right_kidney", kidney)) == doubted


def test_a_part_of_more_than_a_tenth_is_doubted_and_a_crumb_is_not() -> None:
    grid = phantoms.Grid((40, 96, 96))
    hu, masks = phantoms.anatomy(grid)
    volume = ct(hu.astype(np.float32), affine_zyx_to_lps=grid.affine())
    organ = masks["spleen"].copy()
    z, _y, _x = (int(c.mean()) for c in organ.nonzero())
    crumb = organ.copy()
    crumb[z, 5:7, 5:7] = True
    whole = drawn(masks["spleen"], volume)
    organ[z - 1 : z + 2] = False  # two halves with a gap of three slices

    assert doubts("spleen", whole) == ""
    assert doubts("spleen", drawn(crumb, volume)) == ""
    assert "it is in 2 large parts" in doubts("spleen", drawn(organ, volume))


def test_a_mean_far_from_the_expected_is_doubted_on_ct_in_hounsfield_units_alone(
    torso: Any,
) -> None:
    volume, masks = torso
    bone = drawn(masks["spine"], volume)

    assert "mean of 300 HU is outside the -30 to 250 HU" in doubts("gallbladder", bone)
    for other in (replace(volume, modality="MR"), replace(volume, unit=None)):
        assert "HU" not in doubts("gallbladder", drawn(masks["spine"], other))
    windowed = replace(
        volume, frames=(), unit=None, intensities=np.clip(volume.intensities, 0, 255)
    )
    assert "HU" not in doubts("liver", drawn(masks["spine"], windowed))


def test_the_middle_of_a_part_of_the_body_says_nothing_of_sides(torso: Any) -> None:
    volume, masks = torso
    # the right half of the torso alone: the right kidney lies left of its middle
    part = replace(volume, intensities=volume.intensities[:, :, 10:46])
    inside = masks["right kidney"][:, :, 10:46]

    assert "half of the body" not in doubts("right_kidney", drawn(inside[:, :, ::-1], part))


@pytest.mark.parametrize("orientation", ["axial", "coronal", "sagittal", "prone", "oblique"])
def test_sides_are_told_in_every_orientation(orientation: str) -> None:
    grid = phantoms.Grid((96, 96, 96), (5.0, 5.0, 5.0), phantoms.ORIENTATIONS[orientation])
    hu, masks = phantoms.anatomy(grid)
    volume = ct(hu.astype(np.float32), affine_zyx_to_lps=grid.affine())

    assert "half" not in doubts("left_kidney", drawn(masks["left kidney"], volume))
    assert "half" in doubts("left_kidney", drawn(masks["right kidney"], volume))


def test_each_side_of_the_slices_that_cuts_is_named(torso: Any) -> None:
    volume, _ = torso
    mask = np.zeros(GRID.shape, dtype=np.bool_)
    mask[3:5, :6, 90:] = True

    assert cut_off_in_plane(drawn(mask, volume)) == (
        "the structure is cut off by the front edge of the view",
        "the structure is cut off by the left edge of the view",
    )


def test_single_images_are_not_judged(torso: Any) -> None:
    volume, masks = torso
    picture = replace(volume, single_image=True)
    edge = np.ones(GRID.shape, dtype=np.bool_)

    assert doubts("left_kidney", drawn(masks["right kidney"], picture)) == ""
    assert cut_off_in_plane(drawn(edge, picture)) == ()


def summary(key: str | None, confidence: float) -> TargetSummary:
    status = TargetStatus.SEGMENTED
    return TargetSummary(0, "it", key, status, "", 1.0, 1, confidence, warnings=("as before",))


def test_doubts_come_after_what_was_said_and_end_with_the_mark(torso: Any) -> None:
    volume, masks = torso
    mistaken = drawn(masks["right kidney"], volume)

    judged = in_doubt(summary("left_kidney", 0.9), mistaken, EXPECTATIONS, ("a rival",))
    assert judged.for_review
    first, second, third, last = judged.warnings
    assert (first, second, last) == ("as before", "a rival", REVIEW)
    assert "half of the body" in third


@pytest.mark.parametrize(("confidence", "for_review"), [(0.9, False), (0.3, True)])
def test_what_no_table_knows_is_for_review_when_the_planner_is_unsure(
    torso: Any, confidence: float, for_review: bool
) -> None:
    volume, masks = torso

    judged = in_doubt(summary(None, confidence), drawn(masks["spine"], volume), EXPECTATIONS)

    assert judged.for_review == for_review
    assert judged.warnings[1:] == ((REVIEW,) if for_review else ())


def test_the_true_masks_of_a_real_ct_are_not_doubted_and_faults_are(shared_data: Path) -> None:
    """Eight structures of the TotalSegmentator example: no false alarm; mirrored, all three that
    have a side are doubted; taken for a lung, all but the colon, which is full of gas.
    """
    volume, masks = totalsegmentator_example(shared_data / "ct_dicom_totalseg")
    faults: dict[str, str] = {}
    for key, mask in masks.items():
        assert doubts(key, drawn(mask, volume)) == "", key
        faults[key] = doubts(key, drawn(mask[:, :, ::-1], volume))
        as_lung = doubts("left_lung", drawn(mask, volume))
        assert ("HU" in as_lung) == (key != "colon"), key  # gas

    mirrored = {key for key, fault in faults.items() if "half of the body" in fault}
    assert mirrored == {"spleen", "liver", "right_adrenal_gland"}
    assert len(masks) == 8


def totalsegmentator_example(folder: Path) -> tuple[SourceVolume, dict[str, NDArray[np.bool_]]]:
    """The volume and its masks by our keys, of those that something is expected of."""
    nibabel = pytest.importorskip("nibabel")
    paths = sorted((folder / "dicom").iterdir())
    volume = read_series([read_header(path) for path in paths])
    image = nibabel.load(folder / "example_seg_dicom.nii.gz")
    labels = np.asarray(image.dataobj)
    to_index = np.linalg.inv(image.affine) @ np.diag([-1.0, -1.0, 1.0, 1.0])
    to_index = to_index @ volume.affine_zyx_to_lps
    places = np.indices(volume.intensities.shape).reshape(3, -1)
    i, j, k = np.rint(to_index[:3, :3] @ places + to_index[:3, 3:]).astype(int)
    on_volume = labels[i, j, k].reshape(volume.intensities.shape)
    masks = {}
    for number, name in json.loads((folder / "labels.json").read_text("utf-8")).items():
        organ, _, side = name.rpartition("_")
        key = f"{side}_{organ}" if side in ("left", "right") else name
        mask = on_volume == int(number)
        if key in EXPECTATIONS and mask.any():
            masks[key] = mask
    return volume, masks


def test_the_sides_of_btcvs_organs_are_never_mistaken(shared_data: Path) -> None:
    """359 masks on 148 slices of 21 patients that have a side: no false alarm, and of the mirrored
    ones 267 are doubted; the rest are on slices that cut the body at its sides.
    """
    counts: Counter[str] = Counter()
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, :3] = [[0, 0, 0.8], [0, 0.8, 0], [5, 0, 0]]
    for split in ("training", "validation"):
        for labelled in read_btcv(shared_data / "btcv", split):
            hu = hounsfield(labelled.pixels).astype(np.float32)[None]
            volume = ct(hu, affine_zyx_to_lps=affine, unit=None, frames=())
            for number, key in enumerate(ORGANS, start=1):
                mask = (labelled.labels == number)[None]
                sided = replace(EXPECTATIONS[key], mean_hu=None, volume_ml=None)
                if not sided.side or mask.sum() < 30:
                    continue
                counts["masks"] += 1
                counts["false"] += bool(implausible(drawn(mask, volume), sided))
                mirrored = drawn(mask[:, :, ::-1], volume)
                counts["true"] += bool(implausible(mirrored, sided))

    assert counts["masks"] == 359
    assert counts["false"] == 0
    assert counts["true"] >= 260


def test_a_span_holds_its_ends() -> None:
    structure = Expectation(mean_hu=Span(-10.0, 10.0))

    assert structure.mean_hu is not None
    assert -10.0 in structure.mean_hu
    assert 10.0 in structure.mean_hu
    assert 10.1 not in structure.mean_hu
