"""The training script learns: a short run on a few real slices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.policies.locator import train
from models.policies.locator.augment import augmented, hounsfield, windowed
from models.policies.locator.btcv import read_btcv
from models.policies.locator.examples import make_examples, quick_encoder, rounds_of
from models.policies.locator.folds import ANSWERS_NAME
from models.policies.locator.net import EMBEDDING_SHAPE, load_locator
from models.policies.locator.structures import ORGANS
from models.policies.locator.train import (
    WEIGHTS_NAME,
    Batches,
    Schedule,
    cross_validate,
    fit,
    locator_loss,
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
    examples = make_examples(slices, encode, rounds_of(1, 0), SHORT.seed, tmp_path / "work")
    locator, losses = fit(examples, SHORT)
    save(locator, tmp_path / WEIGHTS_NAME)

    # Assert
    assert len(examples) == 9
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])
    loaded = load_locator(tmp_path / WEIGHTS_NAME)
    for name, value in loaded.state_dict().items():
        torch.testing.assert_close(value, locator.state_dict()[name], atol=2e-3, rtol=1e-2)


@pytest.mark.slow
def test_folds_are_measured_on_patients_they_never_saw(
    btcv: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Arrange: two slices of each of two patients, with embeddings that say nothing
    every = list(read_btcv(btcv, "training"))
    patients = list(dict.fromkeys(one.patient for one in every))[:2]
    slices = [s for p in patients for s in [one for one in every if one.patient == p][:2]]
    schedule = Schedule(variants=1, parts=1, steps=2, batch=3)
    chance = np.random.default_rng(0)

    def encode(image: np.ndarray) -> np.ndarray:
        return chance.normal(0, 0.1, EMBEDDING_SHAPE).astype(np.float32)

    examples = make_examples(slices, encode, rounds_of(1, 1), 0, tmp_path / "work")
    learnt: list[list[int]] = []

    def watched_fit(*arguments: Any, slices: list[int]) -> Any:
        learnt.append(slices)
        return fit(*arguments, slices=slices)

    monkeypatch.setattr(train, "fit", watched_fit)

    # Act
    with caplog.at_level("INFO"):
        answers = cross_validate(slices, examples, schedule, 2, tmp_path)

    # Assert
    assert learnt == [[2, 3], [0, 1]]
    assert {(one.fold, one.patient) for one in answers} == {(0, patients[0]), (1, patients[1])}
    assert {one.row for one in answers} == set(range(8))
    assert {one.part for one in answers} == {False, True}
    assert len((tmp_path / ANSWERS_NAME).read_text().splitlines()) == 1 + len(answers)
    assert "whole slices, all folds: Dice" in caplog.text


def test_a_batch_holds_parts_and_only_the_slices_of_the_fold(btcv: Path, tmp_path: Path) -> None:
    # Arrange: an embedding that names its row
    slices, rows = list(read_btcv(btcv, "training"))[:3], iter(range(100))

    def encode(image: np.ndarray) -> np.ndarray:
        return np.full(EMBEDDING_SHAPE, next(rows), dtype=np.float32)

    examples = make_examples(slices, encode, rounds_of(1, 1), 0, tmp_path)
    batches = Batches(examples, [0, 2], Schedule(parts=4))

    # Act: the network reads embeddings threefold
    drawn = [round(float(row[0, 0, 0]) / 3) for _ in range(40) for row in batches.draw()[0]]

    # Assert: rounds of whole slices, parts, changed slices, changed parts
    assert {row % 3 for row in drawn} == {0, 2}
    shares = np.bincount([row // 3 for row in drawn]) / len(drawn)
    np.testing.assert_allclose(shares, (1 / 8, 1 / 8, 3 / 8, 3 / 8))


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
