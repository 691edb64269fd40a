"""A view that cuts the body is told from one that shows it whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.torch import save_file

from agent.fakes import ArraySlices, FakeSegmenter
from agent.values import Target
from models.policies.locator.augment import CROP, cropped
from models.policies.locator.field_of_view import doubt_of_view, share_at_edge
from models.policies.locator.net import Locator
from models.policies.locator.policy import LocatorPolicy


def torso() -> NDArray[np.float32]:
    """A windowed cross-section: a body in air."""
    y, x = np.mgrid[:120, :120]
    return np.where(((y - 60) / 35) ** 2 + ((x - 60) / 50) ** 2 < 1, 0.5, 0).astype(np.float32)


def test_a_whole_cross_section_has_air_at_its_edge_and_a_part_of_it_has_not() -> None:
    assert share_at_edge(torso()) == 0
    assert share_at_edge(torso()[40:80, 40:80]) == 1
    # the upper row and a half of both sides
    assert share_at_edge(torso()[60:140, 40:80]) == pytest.approx(
        (40 + 2 * 34 - 2) / (2 * 40 + 2 * 58), abs=0.03
    )


def test_a_view_is_doubted_by_most_of_its_slices() -> None:
    part = torso()[40:80, 40:80]

    assert doubt_of_view([torso(), torso(), part]) == ""
    assert "100% of its edge" in doubt_of_view([torso(), part, part])
    assert doubt_of_view([]) == ""


def test_the_planner_doubts_its_absent_on_a_part(tmp_path: Path) -> None:
    save_file(Locator().state_dict(), tmp_path / "random.safetensors")
    policy, lung = (
        LocatorPolicy(tmp_path / "random.safetensors", views=None),
        Target("lung", "right_lung"),
    )

    def survey(image: NDArray[np.float32]) -> tuple[str, ...]:
        stack = ArraySlices(np.stack([image] * 3), FakeSegmenter(), spacing_mm=(3.0, 1.0, 1.0))
        localisation = policy.localise(lung, stack)
        assert localisation.absent
        return localisation.doubts

    assert survey(torso()) == ()
    (doubt,) = survey(torso()[40:80, 40:80])
    assert doubt.startswith("the view is unlike those that were learnt")


def test_a_part_and_its_labels_are_cut_alike() -> None:
    hu = np.arange(200 * 180, dtype=np.float32).reshape(200, 180)
    labels = (hu % 14).astype(np.uint8)

    part, part_labels = cropped(hu, labels, np.random.default_rng(1))

    assert part.shape == part_labels.shape
    assert CROP[0] * 180 - 1 <= len(part) <= CROP[1] * 180 + 1
    np.testing.assert_array_equal(part_labels, (part % 14).astype(np.uint8))
