"""Slices of ellipses, written and read as any data set of that layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from models.training.datasets.opening import open_dataset
from server.demo.toy_slices import LABELS, copy_slices, write_toy_slices


def test_they_are_opened_with_their_patients_in_one_split_each(tmp_path: Path) -> None:
    folder = write_toy_slices(tmp_path, patients=3, slices=3, validation=1)
    training = list(open_dataset(folder, split="training").cases())
    validation = list(open_dataset(folder, split="validation").cases())
    assert {case.patient for case in training} == {"000", "001"}
    assert {case.patient for case in validation} == {"002"}
    assert [truth.target.text for truth in training[0].truths] == list(LABELS.values())
    assert [case.truths[1].absent for case in training[:3]] == [False, False, True]


def test_what_is_true_can_be_seen(tmp_path: Path) -> None:
    folder = write_toy_slices(tmp_path, patients=1, slices=1, validation=0)
    (case,) = open_dataset(folder).cases()
    means = [float(case.volume.intensities[t.voxels].mean()) for t in case.truths]
    assert np.all(np.diff(means) > 20)


def test_a_copy_has_the_structures_that_are_wanted_and_no_other(tmp_path: Path) -> None:
    source = write_toy_slices(tmp_path / "all", patients=2, slices=1, validation=1)
    folder = copy_slices(source, tmp_path / "some", ("aorta",))
    dataset = open_dataset(folder)
    copies = list(dataset.cases())
    assert dataset.skipped == []  # the others are background, not values that nothing names
    assert [[truth.target.text for truth in case.truths] for case in copies] == [["aorta"]] * 2
    originals = list(open_dataset(source).cases())
    np.testing.assert_array_equal(copies[0].truths[0].voxels, originals[0].truths[2].voxels)
