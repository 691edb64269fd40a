"""The tables of SOP classes, against UIDs written out from PS3.6 table A-1."""

from __future__ import annotations

import pytest

from dicom_node.sop_classes import (
    CONE_BEAM,
    FOR_PROCESSING,
    IMAGES,
    MODALITY_OF_CLASS,
    MODALITY_RANK,
    MULTIFRAME_VOLUMES,
    RADIOGRAPHS,
    SINGLE_FRAME_VOLUMES,
    SINGLE_IMAGES,
    VOLUMES,
    class_name,
    uid_name,
)

CT, MR, PET = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("2", "4", "128"))
ENHANCED_CT, ENHANCED_MR, ENHANCED_PET = f"{CT}.1", f"{MR}.1", "1.2.840.10008.5.1.4.1.1.130"
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
DIGITAL_X_RAY_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"


@pytest.mark.parametrize(
    ("uid", "modality"),
    [
        (CT, "CT"),
        (ENHANCED_CT, "CT"),
        (f"{CT}.2", "CT"),  # legacy converted
        (MR, "MR"),
        (ENHANCED_MR, "MR"),
        (f"{MR}.4", "MR"),  # legacy converted
        (PET, "PT"),
        (ENHANCED_PET, "PT"),
        (f"{PET}.1", "PT"),  # legacy converted
    ],
)
def test_each_class_of_volumes_has_its_modality(uid: str, modality: str) -> None:
    assert uid in VOLUMES
    assert MODALITY_OF_CLASS[uid] == modality


def test_no_other_class_is_a_volume() -> None:
    assert MODALITY_OF_CLASS.keys() == VOLUMES
    assert {CT, MR, PET} == SINGLE_FRAME_VOLUMES
    assert SEGMENTATION not in IMAGES


def test_a_class_is_read_in_one_way_only() -> None:
    ways = (SINGLE_FRAME_VOLUMES, MULTIFRAME_VOLUMES, SINGLE_IMAGES, CONE_BEAM)

    assert sum(map(len, ways)) == len(IMAGES)


def test_images_for_processing_are_radiographs() -> None:
    assert DIGITAL_X_RAY_FOR_PROCESSING in FOR_PROCESSING < RADIOGRAPHS < SINGLE_IMAGES


def test_ct_comes_before_mr_and_mr_before_pet() -> None:
    assert sorted(MODALITY_RANK, key=lambda modality: MODALITY_RANK[modality]) == ["CT", "MR", "PT"]


@pytest.mark.parametrize(
    ("uid", "name"),
    [
        (CT, "CT Image"),
        (ENHANCED_MR, "Enhanced MR Image"),
        ("1.2.3", "1.2.3"),
        ("", "no SOP class"),
    ],
)
def test_a_class_is_named_as_in_the_standard(uid: str, name: str) -> None:
    assert class_name(uid) == name


def test_a_damaged_uid_is_shown_with_its_damage() -> None:
    assert uid_name("1.2\n3") == "'1.2\\n3'"
