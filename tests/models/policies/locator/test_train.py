"""The training script learns: a short run on a few real slices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from models.policies.locator.augment import augmented, hounsfield, windowed
from models.policies.locator.btcv import read_btcv
from models.policies.locator.net import load_locator
from models.policies.locator.structures import ORGANS
from models.policies.locator.train import (
    WEIGHTS_NAME,
    Schedule,
    fit,
    locator_loss,
    make_examples,
    quick_encoder,
    save,
)

SHORT = Schedule(variants=1, steps=20, batch=4)


@pytest.fixture(scope="module")
def btcv(shared_data: Path) -> Path:
    """The BTCV slices, or a skip."""
    folder = shared_data / "btcv"
    if not folder.is_dir():
        pytest.skip(f"no BTCV slices at {folder}")
    return folder


@pytest.mark.slow
def test_the_loss_falls_and_the_weights_are_kept(btcv: Path, tmp_path: Path) -> None:
    # Arrange
    slices = list(read_btcv(btcv, "training"))[:3]
    encode = quick_encoder()

    # Act
    examples = make_examples(slices, encode, SHORT, tmp_path / "work")
    locator, losses = fit(examples, SHORT)
    save(locator, tmp_path / WEIGHTS_NAME)

    # Assert
    assert len(examples) == 6
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])
    loaded = load_locator(tmp_path / WEIGHTS_NAME)
    for name, value in loaded.state_dict().items():
        torch.testing.assert_close(value, locator.state_dict()[name], atol=2e-3, rtol=1e-2)


def test_examples_of_an_earlier_run_are_used_again(btcv: Path, tmp_path: Path) -> None:
    slices = list(read_btcv(btcv, "training"))[:1]
    calls = []

    def encode(image: np.ndarray) -> np.ndarray:
        calls.append(image.shape)
        return np.full((256, 64, 64), len(calls), dtype=np.float32)

    make_examples(slices, encode, SHORT, tmp_path)
    again = make_examples(slices, encode, SHORT, tmp_path)

    assert len(calls) == 2
    assert again.embedding[1, 0, 0, 0] == 2


def test_the_labels_are_the_catalogues(btcv: Path) -> None:
    present = {int(o) for one in read_btcv(btcv, "validation") for o in np.unique(one.labels)}

    assert present == set(range(len(ORGANS) + 1))


def test_training_and_validation_share_no_patient(btcv: Path) -> None:
    training = {one.patient for one in read_btcv(btcv, "training")}
    validation = {one.patient for one in read_btcv(btcv, "validation")}

    assert len(training) == 17
    assert len(validation) == 4
    assert not training & validation


def test_a_perfect_answer_costs_next_to_nothing() -> None:
    labels = torch.zeros(1, 8, 8, dtype=torch.long)
    labels[0, 2:5, 2:5] = 6
    right = torch.nn.functional.one_hot(labels, 14).permute(0, 3, 1, 2) * 40.0

    assert locator_loss(right, labels) < 0.01
    assert locator_loss(-right, labels) > 1


def test_variants_differ_and_keep_the_labels_on_the_organ() -> None:
    # Arrange: a bright organ on darker tissue, brightness moved by at most a few deviations
    hu = np.full((128, 128), -1000, dtype=np.float32)
    hu[20:110, 14:114] = 0
    labels = np.zeros((128, 128), dtype=np.uint8)
    labels[50:80, 30:60] = 6
    hu[labels == 6] = 200

    # Act
    one, one_labels = augmented(hu, labels, np.random.default_rng(0))
    other, _ = augmented(hu, labels, np.random.default_rng(1))

    # Assert
    assert one.shape == one_labels.shape == (128, 128)
    assert one.dtype == np.float32
    assert 0 <= one.min() <= one.max() <= 1
    assert np.abs(one - other).max() > 0.2
    assert one[one_labels == 6].mean() > one[one_labels == 0].mean() + 0.3


def test_the_window_is_the_one_the_models_see() -> None:
    hu = np.array([[-1000, -160, 40, 240, 900]], dtype=np.float32)

    np.testing.assert_allclose(windowed(hu), [[0, 0, 0.5, 1, 1]], atol=1e-6)


def test_hounsfield_units_stay_what_they_are() -> None:
    hu = np.full((96, 96), -1000, dtype=np.float32)
    hu[20:80, 10:86] = -100
    hu[28:72, 18:78] = 70

    np.testing.assert_allclose(hounsfield(hu), hu, atol=30)
