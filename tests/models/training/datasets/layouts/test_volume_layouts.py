"""NIfTI and NRRD folders: what a case holds, and what of a folder is named and left out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from agent.case import Case
from agent.values import Target
from models.training.datasets.dataset import Dataset
from models.training.datasets.layouts import image_label_pairs, nnunet, totalsegmentator
from models.training.datasets.opening import open_dataset
from tests.support.dataset_folders import (
    RAS,
    SHAPE,
    labelled,
    nnunet_folder,
    totalsegmentator_folder,
    write_nifti,
)


def opened(folder: Path) -> tuple[Dataset, dict[str, Case]]:
    dataset = open_dataset(folder)
    return dataset, {case.case_id: case for case in dataset.cases()}


def test_a_volume_and_its_label_map_become_a_case(tmp_path: Path) -> None:
    dataset, cases = opened(nnunet_folder(tmp_path))
    image, labels = labelled(1)
    assert dataset.layout == nnunet.LAYOUT.name

    case = cases["liver_001"]
    assert (case.patient, case.dataset, case.volume.modality) == ("liver_001", "toy", "CT")
    assert case.spacing_known
    assert case.volume.geometry.spacing_mm == pytest.approx((2.5, 0.9, 0.8))
    np.testing.assert_allclose(case.volume.intensities, image)
    assert [truth.target for truth in case.truths] == [Target("liver"), Target("liver tumour")]
    np.testing.assert_array_equal(case.truths[1].voxels, labels == 2)


def test_labels_as_the_decathlon_writes_them(tmp_path: Path) -> None:
    labels = {"0": "background", "1": "liver", "2": "cancer"}
    nnunet_folder(tmp_path, labels=labels, modality={"0": "CT"})
    _, cases = opened(tmp_path)

    assert [truth.target.text for truth in cases["liver_000"].truths] == ["liver", "cancer"]


def test_each_channel_is_a_case_of_the_same_patient(tmp_path: Path) -> None:
    nnunet_folder(tmp_path, cases=1, channel_names={"0": "T1", "1": "FLAIR"})
    write_nifti(tmp_path / "imagesTr" / "liver_000_0001.nii.gz", labelled(9)[0])

    _, cases = opened(tmp_path)

    assert list(cases) == ["liver_000/0", "liver_000/1"]
    assert {case.patient for case in cases.values()} == {"liver_000"}
    assert {case.volume.modality for case in cases.values()} == {"MR"}


def test_several_sequences_in_one_file_are_a_case_each(tmp_path: Path) -> None:
    nnunet_folder(tmp_path, cases=2, modality={"0": "FLAIR", "1": "T1w"}, channel_names={})
    image, labels = labelled()
    stack = np.stack([image, image + 7], axis=-1)
    (tmp_path / "imagesTr" / "liver_000_0000.nii.gz").unlink()
    volumes = nibabel.Nifti1Image(stack.transpose(2, 1, 0, 3), RAS)
    volumes.to_filename(tmp_path / "imagesTr" / "liver_000.nii.gz")

    dataset, cases = opened(tmp_path)

    assert list(cases) == ["liver_000/0", "liver_000/1", "liver_001/0"]
    np.testing.assert_allclose(cases["liver_000/1"].volume.intensities, image + 7)
    assert cases["liver_000/1"].volume.geometry.matches(cases["liver_001/0"].volume.geometry)
    np.testing.assert_array_equal(cases["liver_000/0"].truths[0].voxels, labels == 1)
    assert dataset.skipped == []


def test_a_sequence_that_the_file_does_not_hold_is_named(tmp_path: Path) -> None:
    nnunet_folder(tmp_path, cases=1, modality={"0": "FLAIR", "1": "T1w"}, channel_names={})
    source = tmp_path / "imagesTr" / "liver_000_0000.nii.gz"
    source.rename(tmp_path / "imagesTr" / "liver_000.nii.gz")

    dataset, cases = opened(tmp_path)

    assert cases == {}
    assert [s.case_id for s in dataset.skipped] == ["liver_000/0", "liver_000/1"]
    assert "it has no volume 1" in dataset.skipped[1].reason


def moved() -> NDArray[np.float64]:
    shifted = RAS.copy()
    shifted[0, 3] += 3.0
    return shifted


@pytest.mark.parametrize(
    ("labels", "affine", "sentence"),
    [
        (labelled()[1][:3], RAS, "its shape .* is .3, 12, 16. and that of its image"),
        (labelled()[1], moved(), "its affine is another than that of its image"),
        (np.full(SHAPE, np.nan, np.float32), RAS, "no finite numbers"),
        (np.full(SHAPE, 0.5, np.float32), RAS, "no whole numbers"),
        (np.full(SHAPE, -1, np.int16), RAS, "negative"),
    ],
)
def test_a_truth_that_does_not_fit_is_named_and_counted(
    tmp_path: Path, labels: NDArray[Any], affine: NDArray[np.float64], sentence: str
) -> None:
    nnunet_folder(tmp_path)
    write_nifti(tmp_path / "labelsTr" / "liver_001.nii.gz", labels, affine)

    dataset, cases = opened(tmp_path)

    assert list(cases) == ["liver_000", "liver_002"]
    (skipped,) = dataset.skipped
    assert (skipped.file, skipped.case_id) == ("labelsTr/liver_001.nii.gz", "liver_001")
    assert re.search(sentence, skipped.reason)


def test_an_image_without_label_and_a_label_without_image_are_named(tmp_path: Path) -> None:
    nnunet_folder(tmp_path)
    (tmp_path / "labelsTr" / "liver_000.nii.gz").unlink()
    (tmp_path / "imagesTr" / "liver_001_0000.nii.gz").unlink()

    dataset, cases = opened(tmp_path)

    assert list(cases) == ["liver_002"]
    assert [s.file for s in dataset.skipped] == [
        "imagesTr/liver_000_0000.nii.gz",
        "labelsTr/liver_001.nii.gz",
    ]


def test_a_mask_a_structure_becomes_a_truth_each(tmp_path: Path) -> None:
    dataset, cases = opened(totalsegmentator_folder(tmp_path))

    assert dataset.layout == totalsegmentator.LAYOUT.name
    case = cases["s0001"]
    assert case.split == "validation"
    assert [t.target.text for t in case.truths] == ["right kidney", "liver", "spleen"]
    assert [t.absent for t in case.truths] == [False, True, False]
    np.testing.assert_array_equal(case.truths[0].voxels, labelled(1)[1] == 1)


def test_one_broken_mask_costs_its_structure_alone(tmp_path: Path) -> None:
    totalsegmentator_folder(tmp_path)
    broken = tmp_path / "s0000" / "segmentations" / "spleen.nii.gz"
    broken.write_bytes(broken.read_bytes()[:60])

    dataset, cases = opened(tmp_path)

    assert [t.target.text for t in cases["s0000"].truths] == ["right kidney", "liver"]
    assert [(s.file, s.case_id) for s in dataset.skipped] == [
        ("s0000/segmentations/spleen.nii.gz", None)
    ]


def test_the_real_pair_is_a_case(shared_data: Path) -> None:
    dataset, cases = opened(shared_data / "mr_nrrd_brain_tumour_pyradiomics")

    assert dataset.layout == image_label_pairs.LAYOUT.name
    case = cases["brain1"]
    assert (case.patient, case.volume.modality) == ("brain1", "MR")
    (truth,) = case.truths
    assert truth.target == Target("brain tumour", "brain_tumour")
    assert case.volume.geometry.spacing_mm == pytest.approx((6.5, 0.781, 0.781), abs=1e-3)
    assert 0 < truth.voxels.sum() < truth.voxels.size / 20
