"""Corrections as cases: what a reader made of a mask, with that mask beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.case import Case
from agent.values import Target
from models.errors import UnusableData
from models.training.datasets.dataset import Dataset
from models.training.datasets.layouts import corrections
from models.training.datasets.opening import open_dataset
from tests.support.dataset_folders import RAS, SHAPE, labelled, write_nifti


def corrections_folder(
    folder: Path,
    drawn: NDArray[np.uint8],
    corrected: NDArray[np.uint8],
    **index: Any,
) -> Path:
    """One case "a" of patient "p1" with the structures liver and tumour."""
    write_nifti(folder / "a" / "image.nii.gz", labelled()[0])
    write_nifti(folder / "a" / "drawn.nii.gz", drawn)
    write_nifti(folder / "a" / "corrected.nii.gz", corrected)
    case = {name: f"a/{name}.nii.gz" for name in ("image", "drawn", "corrected")}
    content = {
        "labels": {"1": "liver", "2": "liver tumour"},
        "modality": "CT",
        "cases": [{"case": "a", "patient": "p1", **case}],
    }
    (folder / corrections.INDEX).write_text(json.dumps(content | index))
    return folder


def opened(folder: Path) -> tuple[Dataset, list[Case]]:
    dataset = open_dataset(folder)
    return dataset, list(dataset.cases())


def test_a_correction_has_the_readers_mask_and_ours(tmp_path: Path) -> None:
    labels = labelled()[1]
    drawn = labels.copy()
    drawn[1] = 0
    dataset, (case,) = opened(corrections_folder(tmp_path, drawn, labels))

    assert dataset.layout == "corrections"
    assert (case.case_id, case.patient, case.volume.modality) == ("a", "p1", "CT")
    liver, tumour = case.truths
    assert liver.target == Target("liver", liver.target.structure)
    assert liver.corrected_from is not None
    assert tumour.corrected_from is not None
    np.testing.assert_array_equal(liver.voxels, labels == 1)
    np.testing.assert_array_equal(liver.corrected_from, drawn == 1)
    np.testing.assert_array_equal(tumour.corrected_from, tumour.voxels)


def test_a_structure_that_neither_drew_is_no_truth(tmp_path: Path) -> None:
    """Nobody was asked for it: to call it absent would be a guess."""
    liver = (labelled()[1] == 1).astype(np.uint8)
    _, (case,) = opened(corrections_folder(tmp_path, liver, liver))
    assert [truth.target.text for truth in case.truths] == ["liver"]


def test_a_structure_that_the_reader_took_out_is_absent(tmp_path: Path) -> None:
    labels = labelled()[1]
    _, (case,) = opened(corrections_folder(tmp_path, labels, (labels == 1).astype(np.uint8)))
    tumour = case.truths[1]
    assert tumour.absent
    assert tumour.corrected_from is not None
    assert tumour.corrected_from.any()


def test_a_mask_on_another_grid_is_named_and_left_out(tmp_path: Path) -> None:
    labels = labelled()[1]
    folder = corrections_folder(tmp_path, labels, labels)
    moved = RAS.copy()
    moved[0, 3] += 4
    write_nifti(folder / "a" / "corrected.nii.gz", labels, moved)
    dataset, cases = opened(folder)
    assert not cases
    (skipped,) = dataset.skipped
    assert skipped.file == "a/corrected.nii.gz"
    assert "affine is another" in skipped.reason


def test_two_empty_label_maps_are_no_case(tmp_path: Path) -> None:
    empty = np.zeros(SHAPE, np.uint8)
    dataset, cases = opened(corrections_folder(tmp_path, empty, empty))
    assert not cases
    assert "neither label map" in dataset.skipped[0].reason


def test_a_case_without_its_patient_is_named(tmp_path: Path) -> None:
    labels = labelled()[1]
    folder = corrections_folder(tmp_path, labels, labels)
    content = json.loads((folder / corrections.INDEX).read_text())
    whole = content["cases"][0]
    lacking = {key: value for key, value in whole.items() if key != "patient"}
    content["cases"] = [lacking, whole]
    (folder / corrections.INDEX).write_text(json.dumps(content))
    dataset, cases = opened(folder)
    assert [case.case_id for case in cases] == ["a"]
    assert "case number 0 must have case, patient" in dataset.skipped[0].reason


@pytest.mark.parametrize("index", [{"labels": None}, {"labels": {"x": "liver"}}, {"cases": 3}])
def test_an_index_of_another_form_is_refused(tmp_path: Path, index: dict[str, Any]) -> None:
    labels = labelled()[1]
    with pytest.raises(UnusableData, match=r"corrections\.json must name labels"):
        open_dataset(corrections_folder(tmp_path, labels, labels, **index))
