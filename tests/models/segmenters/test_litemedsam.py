"""LiteMedSAM: box to mask at the slice's own size, on any shape, on the real CT; refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.ports import PromptedSlice
from agent.values import Box, Point, PromptKind, Prompts
from models.errors import PromptNotUnderstood, WeightsChanged, WeightsMissing
from models.segmenters.litemedsam import Fit, LiteMedSam, model_input
from models.weights.manifest import LITEMEDSAM
from tests.models.conftest import SampleCt


def ellipse(shape: tuple[int, ...], centre_xy: Any, radii_xy: Any) -> Any:
    """A filled ellipse (rows, columns) bool; centre and radii in pixels."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    return ((x - centre_xy[0]) / radii_xy[0]) ** 2 + ((y - centre_xy[1]) / radii_xy[1]) ** 2 <= 1


def dice(a: Any, b: Any) -> Any:
    """Overlap of two masks, 0..1."""
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


@pytest.mark.parametrize(
    "shape",
    [
        (512, 512),  # common CT, exact half
        (256, 256),  # the model's own size
        (300, 200),  # upright
        (180, 411),  # lying, odd
        (90, 64),  # smaller than the model: enlarged
    ],
)
def test_a_box_gives_the_ellipse_inside_it_at_source_size(
    litemedsam: LiteMedSam, shape: tuple[int, int]
) -> None:
    # Arrange
    rows, columns = shape
    truth = ellipse(shape, (columns * 0.45, rows * 0.4), (columns * 0.2, rows * 0.15))
    image = np.where(truth, 0.7, 0.3).astype(np.float32)
    box = Box.around(truth).grown(2, shape)

    # Act
    encoding = litemedsam.encode(image)
    answer = litemedsam.segment(encoding, Prompts(box=box))

    # Assert
    assert encoding.embedding.shape == (256, 64, 64)
    assert encoding.embedding.dtype == np.float32
    assert encoding.source_shape == shape
    assert answer.mask.shape == shape
    assert answer.mask.dtype == np.bool_
    assert answer.logits.shape == (256, 256)
    assert 0.0 <= answer.predicted_iou <= 1.0
    assert dice(answer.mask, truth) > 0.95


def test_where_the_structure_lies_does_not_drift(litemedsam: LiteMedSam) -> None:
    """The mask's centre is the structure's, to half a pixel: no half-pixel error in box or
    resize.
    """
    # Arrange
    truth = ellipse((512, 400), (120, 390), (50, 40))

    # Act
    answer = litemedsam.segment(
        litemedsam.encode(np.where(truth, 0.8, 0.2).astype(np.float32)),
        Prompts(box=Box.around(truth)),
    )

    # Assert
    y, x = (axis.mean() for axis in np.nonzero(answer.mask))
    assert (x, y) == pytest.approx((120, 390), abs=0.5)


@pytest.mark.parametrize(
    ("structure", "least"),
    [("liver", 0.9), ("spleen", 0.9), ("stomach", 0.85), ("aorta", 0.8)],
)
def test_a_box_round_the_reference_finds_the_organ_on_real_ct(
    litemedsam: LiteMedSam, sample_ct: SampleCt, structure: str, least: float
) -> None:
    # Arrange
    truth = sample_ct.labels[structure]
    z = int(truth.sum(axis=(1, 2)).argmax())
    image = np.clip((sample_ct.volume.intensities[z] + 160) / 400, 0, 1)

    # Act
    answer = litemedsam.segment(
        litemedsam.encode(image), Prompts(box=Box.around(truth[z]).grown(3, truth[z].shape))
    )

    # Assert
    assert dice(answer.mask, truth[z]) > least


def test_many_boxes_at_once_give_what_each_gives_alone(litemedsam: LiteMedSam) -> None:
    # Arrange
    image = np.random.default_rng(3).random((120, 160), dtype=np.float32)
    encoding = litemedsam.encode(image)
    boxes = [Box(10, 10, 60, 60), Box(80, 30, 150, 110), Box(0, 0, 159, 119)]

    # Act
    together = litemedsam.segment_many([PromptedSlice(encoding, Prompts(box=box)) for box in boxes])

    # Assert
    assert litemedsam.segment_many([]) == []
    for box, answer in zip(boxes, together, strict=True):
        alone = litemedsam.segment(encoding, Prompts(box=box))
        np.testing.assert_allclose(answer.logits, alone.logits, atol=1e-4)
        assert answer.predicted_iou == pytest.approx(alone.predicted_iou, abs=1e-5)


@pytest.mark.parametrize(
    "prompts",
    [
        Prompts(),
        Prompts(points=(Point(5, 5),)),
        Prompts(box=Box(0, 0, 9, 9), points=(Point(5, 5, positive=False),)),
    ],
    ids=["nothing", "a click", "a click beside the box"],
)
def test_what_it_does_not_understand_is_refused(litemedsam: LiteMedSam, prompts: Prompts) -> None:
    encoding = litemedsam.encode(np.zeros((16, 16), dtype=np.float32))

    with pytest.raises(PromptNotUnderstood, match=r"litemedsam needs .*: box"):
        litemedsam.segment(encoding, prompts)


def test_it_says_what_it_understands_and_which_weights_it_has(litemedsam: LiteMedSam) -> None:
    assert litemedsam.name == "litemedsam"
    assert litemedsam.supported_prompts == {PromptKind.BOX}
    assert litemedsam.weights_sha256.startswith("79d8c9dca6db4d69d3f905579e5250af")


def test_changed_weights_are_not_loaded(tmp_path: Path) -> None:
    # Arrange
    changed = tmp_path / "lite_medsam.pth"
    changed.write_bytes(LITEMEDSAM.locate().read_bytes() + b"one more")
    weights = replace(LITEMEDSAM, place=lambda: changed)

    # Act, Assert
    with pytest.raises(WeightsChanged, match="not the known LiteMedSAM"):
        LiteMedSam(weights=weights, eager=True)


def test_missing_weights_name_the_place(tmp_path: Path) -> None:
    weights = replace(LITEMEDSAM, place=lambda: tmp_path / "gone.pth")

    with pytest.raises(WeightsMissing, match=r"gone\.pth"):
        LiteMedSam(weights=weights, eager=True)


def test_the_slice_lies_at_the_top_left_of_the_square_and_the_rest_is_zero() -> None:
    # Arrange, Act
    square = model_input(np.ones((100, 50), dtype=np.float32))

    # Assert
    assert square.shape == (1, 3, 256, 256)
    assert square.dtype == np.float32
    np.testing.assert_array_equal(square[0, :, :, :128], 1.0)
    np.testing.assert_array_equal(square[0, :, :, 128:], 0.0)


def test_a_box_in_source_pixels_becomes_a_box_in_model_pixels() -> None:
    """Half the size: pixel centre 0 lies at -0.25, 511 at 255.25 (edges -0.5 and 255.5 stay
    edges).
    """
    fit = Fit.of((512, 512))

    assert fit.inner_shape == (256, 256)
    assert fit.box(Box(0, 0, 511, 511)) == pytest.approx([-0.25, -0.25, 255.25, 255.25])
    assert Fit.of((1, 2000)).inner_shape == (1, 256)
