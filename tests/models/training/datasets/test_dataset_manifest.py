"""A manifest counts a data set once; what changes after that is named and not used."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from models.errors import UnusableData
from models.training.datasets.counting import Inventory, take_inventory, with_hashes
from models.training.datasets.manifest import MANIFEST, read_manifest, write_manifest
from models.training.datasets.opening import open_dataset
from tests.support.dataset_folders import index_png_folder, nnunet_folder


def nobody(read_cases: int, listed: int) -> None:
    """Nobody looks on."""


def write(folder: Path, **options: Any) -> Inventory:
    dataset = open_dataset(folder, compare=False, **options)
    inventory = take_inventory(dataset, nobody)
    write_manifest(folder, with_hashes(dataset, inventory.manifest))
    return inventory


def test_a_manifest_says_what_there_is(tmp_path: Path) -> None:
    write(index_png_folder(tmp_path))

    content = json.loads((tmp_path / MANIFEST).read_text())

    assert content["kind"] == "segnode-dataset"
    assert content["splits"] == {"1": "training", "2": "training", "3": "validation"}
    assert content["cases"] == {"training": 4, "validation": 2}
    assert content["patients"] == {"training": 2, "validation": 1}
    # the second slice is empty
    assert content["structures"]["training"] == {"right kidney": 3, "spleen": 3}
    assert content["absent"]["training"] == {"right kidney": 1, "spleen": 1}
    assert content["modalities"] == {"training": {"OT": 4}, "validation": {"OT": 2}}
    digest = hashlib.sha256((tmp_path / "image" / "P_1_0.png").read_bytes()).hexdigest()
    assert content["files"]["image/P_1_0.png"] == digest
    assert len(content["files"]) == 13  # six images, six labels, dataset.json
    assert list(tmp_path.glob(".*")) == []


def test_an_unchanged_data_set_is_opened_as_it_was(tmp_path: Path) -> None:
    write(nnunet_folder(tmp_path, cases=5), seed=7)

    dataset = open_dataset(tmp_path)

    assert (len(list(dataset.cases())), dataset.skipped) == (5, [])
    assert dataset.manifest.seed == 7
    assert {e.patient: e.split for e in dataset.entries} == dict(dataset.manifest.splits)


def test_a_changed_file_costs_its_case_by_name(tmp_path: Path) -> None:
    write(index_png_folder(tmp_path))
    label = tmp_path / "label" / "P_1_1.png"
    label.write_bytes((tmp_path / "label" / "P_1_0.png").read_bytes())

    dataset = open_dataset(tmp_path)
    cases = [case.case_id for case in dataset.cases()]

    assert "P_1_1" not in cases
    assert len(cases) == 5
    (skipped,) = dataset.skipped
    assert (skipped.file, skipped.case_id) == ("label/P_1_1.png", "P_1_1")
    assert "it was changed" in skipped.reason


def test_a_file_that_is_gone_and_one_that_is_new_are_named(tmp_path: Path) -> None:
    write(nnunet_folder(tmp_path))
    for part, name in (("imagesTr", "liver_000_0000"), ("labelsTr", "liver_000")):
        path = tmp_path / part / f"{name}.nii.gz"
        path.rename(path.with_name(path.name.replace("000", "009", 1)))

    dataset = open_dataset(tmp_path)
    list(dataset.cases())

    reasons = {skipped.file: skipped.reason for skipped in dataset.skipped}
    assert "not here any more" in reasons["labelsTr/liver_000.nii.gz"]
    assert "does not know it" in reasons["imagesTr/liver_009_0000.nii.gz"]


def test_a_changed_index_is_refused(tmp_path: Path) -> None:
    write(index_png_folder(tmp_path))
    index = json.loads((tmp_path / "dataset.json").read_text())
    index["labels"]["1"], index["labels"]["2"] = index["labels"]["2"], index["labels"]["1"]
    (tmp_path / "dataset.json").write_text(json.dumps(index))

    with pytest.raises(UnusableData, match="it was changed"):
        open_dataset(tmp_path)
    assert len(open_dataset(tmp_path, compare=False)) == 6


def test_another_programs_manifest_is_left_alone(tmp_path: Path) -> None:
    index_png_folder(tmp_path)
    (tmp_path / MANIFEST).write_text('{"version": 3, "name": "theirs"}')

    assert read_manifest(tmp_path) is None
    assert len(open_dataset(tmp_path)) == 6


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('{"kind": "segnode-dataset", "version": 9}', "of version 9"),
        ('{"kind": "segnode-dataset"', "damaged"),
        ('{"kind": "segnode-dataset", "version": 1, "wrong": 2}', "damaged"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_refused(
    tmp_path: Path, content: str, sentence: str
) -> None:
    index_png_folder(tmp_path)
    (tmp_path / MANIFEST).write_text(content)

    with pytest.raises(UnusableData, match=sentence):
        open_dataset(tmp_path)


def test_a_structure_that_only_the_test_has_is_told(tmp_path: Path) -> None:
    names = [f"P_{patient}_{n}.png" for patient in (1, 2, 3) for n in (0, 1)]
    folder = index_png_folder(tmp_path, training=names[:4], validation=[], test=names[4:])
    for name in names[:4]:
        from PIL import Image

        label = Image.open(folder / "label" / name).point(lambda value: 1 if value == 1 else 0)
        label.save(folder / "label" / name)

    inventory = take_inventory(open_dataset(folder), nobody)

    assert inventory.only_in_test == ("spleen",)


def test_cases_of_one_name_are_no_more_than_one(tmp_path: Path) -> None:
    names = ["P_1_0.png", "P_1_0.png"]
    dataset = open_dataset(index_png_folder(tmp_path, training=names, validation=[]))
    (tmp_path / "image" / "P_1_0.png").write_bytes(b"broken")

    with pytest.raises(UnusableData, match="its names are not unique"):
        take_inventory(dataset, nobody)
