"""A folder is opened as what lies there, or refused with the layouts there are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.errors import LeakedPatients, UnusableData
from models.training.datasets.layouts import index_png
from models.training.datasets.opening import LAYOUTS, open_dataset
from tests.support.dataset_folders import (
    index_png_folder,
    nnunet_folder,
    totalsegmentator_folder,
)


@pytest.mark.parametrize(
    ("layout", "make"),
    [
        (index_png.LAYOUT.name, index_png_folder),
        ("nnunet", nnunet_folder),
        ("totalsegmentator", totalsegmentator_folder),
    ],
)
def test_the_layout_is_recognised(
    tmp_path: Path, layout: str, make: Callable[[Path], Path]
) -> None:
    dataset = open_dataset(make(tmp_path / "data"))

    assert dataset.layout == dataset.manifest.layout == layout
    assert len(list(dataset.cases())) == len(dataset) > 0
    assert dataset.skipped == []


def test_a_folder_of_no_layout_is_refused_with_the_layouts_there_are(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")

    with pytest.raises(UnusableData, match="no known layout fits it") as refusal:
        open_dataset(tmp_path)
    for name in LAYOUTS:
        assert name in str(refusal.value)


def test_a_folder_of_two_layouts_is_refused_until_one_is_named(tmp_path: Path) -> None:
    index_png_folder(tmp_path)
    nnunet_folder(tmp_path, labels={"0": "background", "1": "liver"}, image_dir="x", label_dir="y")

    with pytest.raises(UnusableData, match="it fits index-png and nnunet, name one of them"):
        open_dataset(tmp_path)
    assert len(open_dataset(tmp_path, layout="nnunet")) == 3


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"layout": "dicom"}, "there is no layout 'dicom'"),
        ({"split": "holdout"}, "there is no split called 'holdout'"),
        ({"split": "test"}, "it has no case in the split test"),
    ],
)
def test_what_cannot_be_asked_for_is_said(
    tmp_path: Path, arguments: dict[str, Any], sentence: str
) -> None:
    index_png_folder(tmp_path)

    with pytest.raises(UnusableData, match=sentence):
        open_dataset(tmp_path, **arguments)


def test_nothing_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnusableData, match="there is no such folder or file"):
        open_dataset(tmp_path / "none")


def test_a_patient_in_two_splits_is_refused_by_name(tmp_path: Path) -> None:
    training = ["P_1_0.png", "P_1_1.png", "P_2_0.png"]
    index_png_folder(tmp_path, training=training, validation=["P_2_1.png", "P_3_0.png"])

    with pytest.raises(LeakedPatients, match=r"2 \(training and validation\)") as refusal:
        open_dataset(tmp_path)
    assert set(refusal.value.patients) == {"2"}


def test_a_data_set_without_splits_is_split_by_patient_and_alike_each_time(tmp_path: Path) -> None:
    nnunet_folder(tmp_path, cases=5)

    splits = {case.patient: case.split for case in open_dataset(tmp_path).cases()}
    again = {case.patient: case.split for case in open_dataset(tmp_path).cases()}
    parts = [len(open_dataset(tmp_path, split=s)) for s in ("training", "validation", "test")]

    assert splits == again
    assert parts == [3, 1, 1]
    assert open_dataset(tmp_path).manifest.seed == 0


def test_the_real_slices_are_a_data_set(shared_data: Path) -> None:
    dataset = open_dataset(shared_data / "btcv", split="validation")
    cases = list(dataset.cases())

    assert (len(cases), dataset.skipped) == (27, [])
    assert {case.patient for case in cases} == {"003", "010", "027", "037"}
    assert {case.volume.modality for case in cases} == {"CT"}
    assert not any(case.spacing_known for case in cases)
    assert all(len(case.truths) == 13 for case in cases)
    keys = {truth.target.structure for case in cases for truth in case.truths}
    assert {"right_kidney", "portal_and_splenic_vein", "left_adrenal_gland"} < keys
    assert len(open_dataset(shared_data / "btcv", split="train")) == 121
