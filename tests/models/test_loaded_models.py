"""The workbench: a volume in any orientation in, a mask on its own grid out, the encoder once a
slice.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.fakes import FakeSegmenter, ThresholdPolicy
from agent.geometry import Geometry
from agent.ports import VolumeSegmenter
from agent.values import Box, Prompts, Target, Volume
from models.errors import UnknownModel
from models.images.windows import ABDOMEN
from models.loaded_models import LoadedModels, open_workbench
from models.runtime.resources import LanguageOptions, Precision, Resources
from models.segmenters.litemedsam import LiteMedSam


@pytest.fixture
def torso() -> tuple[Volume, NDArray[np.bool_]]:
    """A coronal series (z runs front to back), 40 × 60 × 60 at 1 mm: air, a body, a bright ball;
    and the ball.
    """
    affine = np.zeros((4, 4))
    affine[1, 0], affine[2, 1], affine[0, 2], affine[3, 3] = 1.0, -1.0, 1.0, 1.0
    z, y, x = np.mgrid[:40, :60, :60]
    body = ((z - 20) / 18) ** 2 + ((x - 30) / 27) ** 2 <= 1
    ball = (z - 18) ** 2 + (y - 33) ** 2 + (x - 22) ** 2 <= 64
    noise = np.random.default_rng(0).normal(0, 5, body.shape)
    hounsfield = np.where(ball, 180, np.where(body, 60, -1000)) + noise
    geometry = Geometry((40, 60, 60), affine)
    return Volume(hounsfield.astype(np.float32), geometry, "CT"), ball


def test_a_mask_drawn_on_the_working_grid_comes_back_on_the_volumes_own(
    torso: tuple[Volume, NDArray[np.bool_]], tmp_path: Path
) -> None:
    # Arrange
    volume, ball = torso
    bench = open_workbench("threshold", "fake")

    # Act
    prepared = bench.prepare(volume, tmp_path)
    drawn = np.zeros(prepared.slices.shape, dtype=bool)
    for z in range(drawn.shape[0]):
        drawn[z] = prepared.slices.image(z) > 0.75
    mask = prepared.to_source(drawn)

    # Assert
    assert prepared.slices.shape == (60, 40, 60)
    assert mask.geometry is volume.geometry
    np.testing.assert_array_equal(mask.voxels, ball)


def test_the_fakes_encodings_are_made_once_and_not_kept(
    torso: tuple[Volume, NDArray[np.bool_]], tmp_path: Path
) -> None:
    # Arrange
    bench = open_workbench("threshold", "fake")
    prepared = bench.prepare(torso[0], tmp_path)

    # Act
    for z in (3, 4, 3):
        bench.segmenter.segment(prepared.slices.encoding(z), Prompts(box=Box(2, 2, 9, 9)))

    # Assert
    assert prepared.encoder_passes == 2
    assert list(tmp_path.iterdir()) == []
    assert bench.weights_sha256 == ()


def test_litemedsams_encodings_are_kept_for_the_next_process(
    litemedsam: LiteMedSam, torso: tuple[Volume, NDArray[np.bool_]], tmp_path: Path
) -> None:
    # Arrange
    bench = LoadedModels(ThresholdPolicy(), litemedsam, encoder="litemedsam+hash")
    bench.prepare(torso[0], tmp_path).slices.encoding(30)

    # Act
    again = bench.prepare(torso[0], tmp_path)
    again.slices.encoding(30)

    # Assert
    assert again.encoder_passes == 0
    assert [path.name[:11] for path in tmp_path.iterdir()] == ["slice-0030-"]


def test_in_int8_litemedsam_draws_the_same_and_its_encodings_are_told_apart(
    litemedsam: LiteMedSam, torso: tuple[Volume, NDArray[np.bool_]], tmp_path: Path
) -> None:
    # Arrange
    volume, ball = torso
    resources = Resources(cache_dir=tmp_path / "onnx", precision=Precision.INT8)
    bench = open_workbench("threshold", "litemedsam", resources=resources)
    exact = LoadedModels(bench.policy, litemedsam, encoder=bench.encoder[:-5])
    truth = bench.prepare(volume, None).grid.to_working(
        Volume(ball.astype(np.float32), volume.geometry, "CT")
    )
    prompts = Prompts(box=Box.around(truth.intensities[33]).grown(2, truth.intensities[33].shape))

    # Act
    drawn = []
    for models in (exact, bench):
        prepared = models.prepare(volume, tmp_path / "kept")
        (tmp_path / "kept").mkdir(exist_ok=True)
        drawn.append(models.segmenter.segment(prepared.slices.encoding(33), prompts).mask)
        assert prepared.encoder_passes == 1

    # Assert
    assert bench.encoder.startswith("litemedsam+")
    assert bench.encoder.endswith("+int8")
    same = 2 * np.count_nonzero(drawn[0] & drawn[1]) / sum(map(np.count_nonzero, drawn))
    assert same > 0.95


def test_a_volume_that_is_no_ct_is_shown_by_its_own_percentiles(
    torso: tuple[Volume, NDArray[np.bool_]],
) -> None:
    volume, _ = torso
    magnitudes = Volume(np.abs(volume.intensities) * 7, volume.geometry, "MR")

    slices = open_workbench("threshold", "fake").prepare(magnitudes, None).slices

    assert slices.image(30).min() >= 0
    assert slices.image(30).max() == 1
    assert slices.window.startswith("MR ")
    assert slices.window.endswith("(percentiles)")


def test_a_picture_in_colour_is_shown_and_encoded_as_it_is() -> None:
    # Arrange: a dark picture, which percentiles would stretch
    class Recording(FakeSegmenter):
        def encode(self, image: np.ndarray) -> Any:
            self.seen = image
            return super().encode(image)

    colour = np.random.default_rng(0).integers(0, 90, (1, 30, 40, 3), dtype=np.uint8)
    geometry = Geometry((1, 30, 40), np.eye(4)[:, [2, 1, 0, 3]])
    volume = Volume(colour[..., 1].astype(np.float32), geometry, "XC", colour)
    segmenter = Recording()
    bench = LoadedModels(ThresholdPolicy(), segmenter)

    # Act
    slices = bench.prepare(volume, None).slices_for("polyp")
    slices.encoding(0)

    # Assert
    np.testing.assert_allclose(slices.image(0), colour[0, ..., 1] / 255, atol=1e-6)
    np.testing.assert_allclose(slices.picture(0), colour[0] / 255, atol=1e-6)
    np.testing.assert_allclose(segmenter.seen, colour[0] / 255, atol=1e-6)
    assert slices.window == "XC in colour, as it is"


def test_a_grey_picture_is_ct_only_to_a_policy_that_knows_nothing_else(
    torso: tuple[Volume, NDArray[np.bool_]],
) -> None:
    """Half of a radiograph would be black or white through a CT's window."""
    # Arrange: grey levels that a radiograph may have, all over the range
    levels = np.tile(np.linspace(0, 255, 80, dtype=np.float32), (60, 1))[None]
    geometry = Geometry((1, 60, 80), np.eye(4)[:, [2, 1, 0, 3]])
    picture = Volume(levels, geometry, "OT")
    free = LoadedModels(ThresholdPolicy(), FakeSegmenter())
    bound = LoadedModels(ThresholdPolicy(), FakeSegmenter(), window=ABDOMEN)

    # Act
    openly, through_window = (bench.prepare(picture, None).slices for bench in (free, bound))

    # Assert
    assert openly.window.endswith("(percentiles)")
    assert through_window.window.startswith("abdomen -160..240 HU")
    shown = openly.image(0)
    assert ((shown > 0) & (shown < 1)).mean() > 0.9
    np.testing.assert_array_equal(
        bound.prepare(Volume(levels, geometry, "DX"), None).slices.image(0), shown
    )


def test_the_locator_looks_through_its_own_encoder_beside_another_segmenter(
    litemedsam: LiteMedSam,
) -> None:
    # Arrange: beside a segmenter whose embedding has one channel
    resources = Resources(cache_dir=litemedsam.cache_dir)
    bench = open_workbench("locator", "fake", resources=resources)
    geometry = Geometry((2, 40, 60), np.diag([-5.0, 1, 1, 1])[:, [2, 1, 0, 3]])
    ct = Volume(np.zeros((2, 40, 60), dtype=np.float32), geometry, "CT")
    prepared = bench.prepare(ct, None)

    # Act
    survey = bench.policy.localise(Target("spleen", "spleen"), prepared.slices)

    # Assert
    assert len(survey.presence) == 2
    assert prepared.encoder_passes == 0


def test_a_lung_is_seen_in_its_own_window_unless_the_policy_knows_only_one(
    torso: tuple[Volume, NDArray[np.bool_]],
) -> None:
    # Arrange
    free = LoadedModels(ThresholdPolicy(), FakeSegmenter())
    bound = LoadedModels(ThresholdPolicy(), FakeSegmenter(), window=ABDOMEN)

    # Act
    prepared = free.prepare(torso[0], None)
    lung, liver = prepared.slices_for("left_lung"), prepared.slices_for("liver")

    # Assert
    assert lung.window.startswith("lung -1350..150 HU, measured as ")
    assert liver.window.startswith("abdomen -160..240 HU, measured as ")
    assert prepared.slices_for("spleen") is liver is prepared.slices
    assert lung.image(30).mean() > liver.image(30).mean()  # air is no longer black
    only = bound.prepare(torso[0], None)
    assert only.slices_for("left_lung") is only.slices_for("liver")


def test_structures_of_one_window_share_the_encoder(
    torso: tuple[Volume, NDArray[np.bool_]],
) -> None:
    # Arrange
    prepared = LoadedModels(ThresholdPolicy(), FakeSegmenter()).prepare(torso[0], None)

    # Act
    for structure in ("liver", "spleen", "aorta", "left_lung", "right_lung"):
        prepared.slices_for(structure).encoding(30)

    # Assert
    assert prepared.encoder_passes == 2


@pytest.mark.parametrize(("policy", "segmenter"), [("nobody", "fake"), ("threshold", "nobody")])
def test_unknown_names_are_refused_before_anything_is_loaded(policy: str, segmenter: str) -> None:
    with pytest.raises(UnknownModel, match="called 'nobody'"):
        open_workbench(policy, segmenter)


@pytest.mark.parametrize(
    ("policy", "every_slice", "follows"),
    [("openai", False, True), ("openai", True, False), ("threshold", False, False)],
)
def test_a_planner_that_is_dear_to_ask_gets_a_segmenter_that_follows(
    policy: str, every_slice: bool, follows: bool
) -> None:
    language = LanguageOptions(
        model="scripted",
        endpoints=("http://127.0.0.1:9/v1",),
        allowed_hosts=("127.0.0.1",),
        every_slice=every_slice,
    )

    bench = open_workbench(policy, "fake", resources=Resources(language=language))

    assert isinstance(bench.segmenter, VolumeSegmenter) is follows
    assert bench.segmenter.name == "fake"


def test_what_was_windowed_before_is_shown_as_it_is_whatever_is_looked_for(torso: Any) -> None:
    """Training reads such files by their registry's CT, serving by --modality CT."""
    volume = torso[0]
    shown = np.clip((volume.intensities + 100) / 150, 0, 1)  # narrow: there is no bone in it
    windowed = replace(volume, intensities=np.round(shown * 255).astype(np.float32))
    prepared = LoadedModels(ThresholdPolicy(), FakeSegmenter()).prepare(windowed, None)

    lung, liver = prepared.slices_for("left_lung"), prepared.slices_for("liver")

    assert lung is liver
    assert liver.window == "CT as it was windowed before, 0..255"
    np.testing.assert_allclose(liver.image(30), prepared.working.intensities[30] / 255, atol=1e-6)
