"""Every case that a data set lists ends as a case or is named, in the same order each time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from agent.case import Truth
from agent.geometry import Geometry
from agent.values import Target, Volume
from models.errors import UnreadableFile
from models.training.datasets.dataset import Contents, Dataset, Entry, Skipped, Tell
from models.training.datasets.manifest import Manifest
from models.training.datasets.truths import (
    grid_fault,
    nowhere,
    same_grid,
    truth_of_mask,
    truths_of_labels,
)
from models.training.datasets.volume_files import require_same_grid

GRID = Geometry((2, 3, 4), np.diag([2.0, 1.0, 1.0, 1.0]))
LIVER, SPLEEN = Target("liver", "liver"), Target("spleen", "spleen")


def contents(*truths: Truth) -> Contents:
    return Contents(Volume(np.zeros(GRID.shape, np.float32), GRID, "CT"), truths)


def entry(name: str, read: Callable[[Tell], Contents]) -> Entry:
    return Entry(name, f"patient of {name}", (f"image/{name}", f"label/{name}"), read, "training")


def whole(tell: Tell) -> Contents:
    return contents(Truth(LIVER, nowhere(GRID.shape)))


def torn_label(tell: Tell) -> Contents:
    raise UnreadableFile(Path("/data/label/torn"), "it is torn.")


def without_truth(tell: Tell) -> Contents:
    tell("label/bare", "it fits nothing.")
    return contents()


def twice(tell: Tell) -> Contents:
    return contents(Truth(LIVER, nowhere(GRID.shape)), Truth(LIVER, nowhere(GRID.shape)))


def with_one_truth(tell: Tell) -> Contents:
    tell("label/half", "one of two is torn.")
    return whole(tell)


@pytest.fixture
def dataset() -> Dataset:
    entries = [
        entry("torn", torn_label),
        entry("a", whole),
        entry("bare", without_truth),
        entry("half", with_one_truth),
        entry("twice", twice),
    ]
    fault = Skipped("stray", "it belongs to no image.")
    return Dataset("toy", Path("/data"), "hand-made", entries, Manifest("toy", ""), (fault,))


def test_each_entry_is_a_case_or_is_named(dataset: Dataset) -> None:
    for _ in range(2):
        cases = list(dataset.cases())

        assert [case.case_id for case in cases] == ["a", "half"]
        assert len(dataset) == 5
        assert dataset.skipped == [
            Skipped("stray", "it belongs to no image."),
            Skipped("label/torn", "it is torn.", "torn"),
            Skipped("label/bare", "it fits nothing."),
            Skipped("image/bare", "no truth of it can be used.", "bare"),
            Skipped("label/half", "one of two is torn."),
            Skipped(
                "image/twice",
                "twice: a structure has two truths among ['liver', 'liver'].",
                "twice",
            ),
        ]


def test_nothing_is_read_before_it_is_asked_for(dataset: Dataset) -> None:
    reads = []

    def late(tell: Tell) -> Contents:
        reads.append("late")
        return whole(tell)

    dataset.entries = [*dataset.entries, entry("late", late)]
    cases = dataset.cases()

    next(cases)

    assert reads == []


def test_a_label_map_gives_a_truth_for_every_structure_it_could_hold() -> None:
    labels = np.zeros(GRID.shape, np.int64)
    labels[0, 1, 2] = 1
    labels[1, 1, 1] = 9
    faults = []

    truths = truths_of_labels(labels, {1: LIVER, 2: SPLEEN}, "l", lambda *f: faults.append(f))

    assert [(t.target, int(t.voxels.sum()), t.absent) for t in truths] == [
        (LIVER, 1, False),
        (SPLEEN, 0, True),
    ]
    assert faults == [("l", "its values [9] stand for no structure; they are left out.")]


def test_a_mask_that_fills_its_image_is_none() -> None:
    faults = []

    assert truth_of_mask(np.ones((1, 2, 2), bool), LIVER, "m", lambda *f: faults.append(f)) == ()
    assert faults == [("m", "the truth of liver fills the whole image.")]
    (absent,) = truth_of_mask(np.zeros((1, 2, 2), bool), LIVER, "m", lambda *f: faults.append(f))
    assert absent.absent


def moved(mm: float) -> Geometry:
    affine = GRID.affine_zyx_to_lps.copy()
    affine[0, 3] += mm
    return Geometry(GRID.shape, affine)


def test_a_truth_lies_on_its_images_grid_to_a_twentieth_of_a_step() -> None:
    assert same_grid(moved(0.04), GRID)
    assert grid_fault(moved(0.04), GRID) == ""
    assert "affine" in grid_fault(moved(0.06), GRID)
    assert "shape" in grid_fault(Geometry((2, 3, 5), GRID.affine_zyx_to_lps), GRID)
    with pytest.raises(UnreadableFile, match="affine"):
        require_same_grid(Path("l"), moved(0.06), GRID)
