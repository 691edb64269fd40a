"""A slice unlike those that were learnt is told by its embedding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.fakes import ArraySlices
from agent.ports import Localisation
from agent.values import Target
from models.images.normalise import normalise
from models.policies.locator.augment import hounsfield, windowed
from models.policies.locator.btcv import LabelledSlice, read_btcv
from models.policies.locator.learnt_views import (
    FARTHEST,
    UNLIKE,
    LearntViews,
    pooled_of,
    unlike_learnt,
)
from models.policies.locator.policy import VIEWS, LocatorPolicy
from models.segmenters.litemedsam import LiteMedSam


def pooled(count: int, seed: int) -> NDArray[np.float32]:
    """Slices of one kind: 8 channels, two of which go together."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 0.1, (count, 8))
    values[:, 1] = values[:, 0] + rng.normal(0, 0.01, count)
    return values.astype(np.float32)


def test_the_distance_grows_with_what_no_learnt_slice_shows() -> None:
    # Arrange
    views, alike = LearntViews(pooled(60, seed=0)), pooled(20, seed=1)
    # both channels lie in their range either way, and went up and down together
    together = np.array([0.15, 0.15, 0, 0, 0, 0, 0, 0], dtype=np.float32)
    apart = np.array([0.15, -0.15, 0, 0, 0, 0, 0, 0], dtype=np.float32)

    # Act
    near = [views.distance(values) for values in alike]
    far = [views.distance(values * 5) for values in alike]

    # Assert
    assert np.median(near) == pytest.approx(1, abs=0.3)
    assert np.median(far) == pytest.approx(5 * np.median(near), rel=0.1)
    assert views.distance(apart) > 1.5 * views.distance(together)


def test_only_the_body_is_pooled() -> None:
    embedding = np.zeros((3, 8, 8), dtype=np.float32)
    embedding[:, 1:7, 2:6] = 2.0
    square = np.zeros((32, 32), dtype=np.float32)
    square[4:28, 8:24] = 0.3

    np.testing.assert_allclose(pooled_of(embedding, square), 2.0)


def test_a_picture_without_a_body_is_pooled_as_a_whole() -> None:
    embedding = np.zeros((3, 8, 8), dtype=np.float32)
    embedding[:, :4] = 2.0

    np.testing.assert_allclose(pooled_of(embedding, np.zeros((32, 32), dtype=np.float32)), 1.0)


def test_the_views_come_back_from_their_file(tmp_path: Path) -> None:
    views = LearntViews(pooled(10, seed=0))

    views.save(tmp_path / "weights" / "views.safetensors")
    again = LearntViews.load(tmp_path / "weights" / "views.safetensors")

    np.testing.assert_allclose(again.pooled, views.pooled, atol=1e-3)


@pytest.mark.parametrize(
    ("distances", "sentence"),
    [((), ""), ((FARTHEST,), ""), ((9.0, 0.7), ""), ((FARTHEST + 0.1, 9.0), UNLIKE)],
)
def test_a_view_is_unlike_where_no_slice_is_like(
    distances: tuple[float, ...], sentence: str
) -> None:
    assert unlike_learnt(distances) == sentence


# --- the shipped views, with LiteMedSAM's own embeddings ---


@pytest.fixture(scope="module")
def planner() -> LocatorPolicy:
    """The planner as it is shipped."""
    return LocatorPolicy()


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> LiteMedSam:
    """LiteMedSAM, left to torch: an export takes longer than these few slices."""
    return LiteMedSam(cache_dir=tmp_path_factory.mktemp("cache"), eager=True)


@pytest.fixture(scope="module")
def left_out(shared_data: Path) -> LabelledSlice:
    """A slice of a patient that the planner was not trained on, with a liver, or a skip."""
    folder = shared_data / "btcv"
    if not folder.is_dir():
        pytest.skip(f"no BTCV slices at {folder}")
    return max(read_btcv(folder, "validation"), key=lambda one: np.count_nonzero(one.labels == 6))


def surveyed(
    planner: LocatorPolicy, segmenter: LiteMedSam, image: NDArray[np.float32], structure: str
) -> Localisation:
    """What the planner says of a structure on one windowed slice."""
    slices = ArraySlices(image[None], segmenter, spacing_mm=(5.0, 1.0, 1.0))
    return planner.localise(Target(structure, structure), slices)


def test_the_shipped_views_are_all_like_each_other() -> None:
    views = LearntViews.load(VIEWS)

    assert views.pooled.shape == (153, 256)
    assert max(map(views.distance, views.pooled)) < 0.7 * FARTHEST


def test_a_patient_who_was_not_learnt_is_like_those_who_were(
    planner: LocatorPolicy, segmenter: LiteMedSam, left_out: LabelledSlice
) -> None:
    survey = surveyed(planner, segmenter, windowed(hounsfield(left_out.pixels)), "liver")

    assert not survey.absent
    assert survey.unlike == ""


@pytest.mark.parametrize("structure", ["liver", "pancreas"])
def test_noise_is_unlike_anything_learnt(
    planner: LocatorPolicy, segmenter: LiteMedSam, structure: str
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (256, 256)).astype(np.uint8)

    assert surveyed(planner, segmenter, normalise(noise), structure).unlike == UNLIKE


def test_a_small_part_of_a_body_is_unlike_it(
    planner: LocatorPolicy, segmenter: LiteMedSam, left_out: LabelledSlice
) -> None:
    part = hounsfield(left_out.pixels)[200:300, 120:220]

    assert surveyed(planner, segmenter, windowed(part), "liver").unlike == UNLIKE


def test_the_lungs_rule_has_learnt_nothing_and_is_not_judged_by_it(
    planner: LocatorPolicy, segmenter: LiteMedSam
) -> None:
    noise = np.random.default_rng(0).random((128, 128)).astype(np.float32)

    assert surveyed(planner, segmenter, noise, "right_lung").unlike == ""
