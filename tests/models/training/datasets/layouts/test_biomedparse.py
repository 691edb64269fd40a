"""BiomedParse's and UniBiomed's pictures: an image with all its masks is one case."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from agent.case import Case
from models.training.datasets.dataset import Dataset
from models.training.datasets.opening import open_dataset
from tests.support.dataset_folders import biomedparse_folder, labelled, picture_bytes


def opened(folder: Path) -> tuple[Dataset, dict[str, Case]]:
    dataset = open_dataset(folder)
    return dataset, {case.case_id: case for case in dataset.cases()}


def test_an_image_with_its_masks_is_a_case(tmp_path: Path) -> None:
    dataset, cases = opened(biomedparse_folder(tmp_path))

    case = cases["train/LIDC-IDRI-0001_1_CT_chest"]
    assert (dataset.layout, dataset.skipped) == ("biomedparse", [])
    assert (case.split, case.patient, case.volume.modality) == ("training", "0001", "CT")
    assert not case.spacing_known
    assert case.volume.colour is None
    assert [t.target.text for t in case.truths] == ["lung nodule in CT", "lung in CT"]
    np.testing.assert_array_equal(case.truths[0].voxels, labelled()[1][2:3] == 1)


def test_a_photograph_keeps_its_colours_and_its_split(tmp_path: Path) -> None:
    _, cases = opened(biomedparse_folder(tmp_path))

    case = cases["test/drive_21_fundus_retinal"]
    assert (case.split, case.volume.modality) == ("test", "OP")
    assert case.volume.colour is not None


def test_where_no_name_tells_the_patient_each_image_counts_as_one(tmp_path: Path) -> None:
    dataset, _ = opened(biomedparse_folder(tmp_path))

    assert not dataset.manifest.patients_known


def test_data_sets_one_level_deeper_are_found(tmp_path: Path) -> None:
    biomedparse_folder(tmp_path / "one")
    biomedparse_folder(tmp_path / "two")

    dataset, cases = opened(tmp_path)

    assert len(dataset) == len(cases) == 6
    assert "two/train/LIDC-IDRI-0002_7_CT_chest" in cases


def line(
    file: str = "LIDC-IDRI-0001_1_CT_chest.png",
    mask: str = "LIDC-IDRI-0001_1_CT_chest_lung.png",
    sent: str = "a",
) -> dict[str, Any]:
    return {"file_name": file, "mask_file": mask, "sentences": [{"sent": sent}]}


def reasons(folder: Path, *lines: dict[str, Any]) -> list[tuple[str, str]]:
    dataset, _ = opened(biomedparse_folder(folder, train=list(lines)))
    return [(s.file, s.reason) for s in dataset.skipped]


def test_a_line_that_is_none_is_named_with_its_number(tmp_path: Path) -> None:
    assert reasons(tmp_path, line(), {"file_name": "x.png"}) == [
        ("train.json", "its annotation 1 has no 'mask_file', or not as it should be.")
    ]


def test_a_second_mask_for_the_same_words_is_left_out(tmp_path: Path) -> None:
    other = "LIDC-IDRI-0001_1_CT_chest_lung+nodule.png"
    ((file, reason),) = reasons(tmp_path, line(), line(mask=other))

    assert file == f"train_mask/{other}"
    assert "another mask for 'a'" in reason


def test_names_that_lead_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(picture_bytes(labelled()[1][2]))

    named = reasons(tmp_path / "data", line(), line(file="../../secret.png"))

    assert [file for file, _ in named] == ["train/../../secret.png"]
    assert "outside the data set" in named[0][1]


def test_a_mask_of_another_size_is_left_out_and_an_image_without_any_is_skipped(
    tmp_path: Path,
) -> None:
    folder = biomedparse_folder(tmp_path)
    mask = folder / "train_mask" / "LIDC-IDRI-0002_7_CT_chest_lung+nodule.png"
    mask.write_bytes(picture_bytes(np.ones((3, 3), dtype=np.uint8)))

    dataset, cases = opened(folder)

    assert "train/LIDC-IDRI-0002_7_CT_chest" not in cases
    assert [s.case_id for s in dataset.skipped] == [None, "train/LIDC-IDRI-0002_7_CT_chest"]
    assert "pixels and its image" in dataset.skipped[0].reason


def test_an_index_may_name_the_split_folder_before_its_files(tmp_path: Path) -> None:
    folder = biomedparse_folder(tmp_path)
    index = json.loads((folder / "test.json").read_text())
    for annotation in index["annotations"]:
        annotation["file_name"] = f"test/{annotation['file_name']}"
        annotation["mask_file"] = f"test_mask/{annotation['mask_file']}"
    (folder / "test.json").write_text(json.dumps(index))

    assert "test/drive_21_fundus_retinal" in opened(folder)[1]
