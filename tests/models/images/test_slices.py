"""Encoded slices: the encoder runs once a slice, survives a restart, never serves another image's
encoding.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.fakes import FakeSegmenter
from agent.geometry import Geometry
from agent.ports import Encoding, PromptedSlice
from agent.values import Box, PromptKind, Prompts, Segmentation, Volume
from models.images.slices import EncodedSlices
from models.runtime.encoding import Features
from models.segmenters.litemedsam import LiteMedSam
from tests.models.conftest import SampleCt


class CountingSegmenter:
    """Encodes a slice as its mean and its spread, and counts."""

    name = "counting"
    supported_prompts = frozenset({PromptKind.BOX})

    def __init__(self) -> None:
        self.seen: list[float] = []

    def encode(self, image: np.ndarray) -> Features:
        self.seen.append(float(image.mean()))
        embedding = np.full((2, 3, 3), image.mean(), dtype=np.float32)
        embedding[1] = image.std()
        return Features(embedding, image.shape)

    def segment_many(self, asks: Sequence[PromptedSlice]) -> list[Segmentation]:
        return [self.segment(ask.encoding, ask.prompts) for ask in asks]

    def segment(self, encoding: Encoding, prompts: Prompts) -> Segmentation:
        return Segmentation(np.zeros(encoding.source_shape, dtype=bool), encoding.embedding[0], 0.0)


def halved(image: np.ndarray) -> Any:
    """A stand-in normalisation."""
    return image / 2


@pytest.fixture
def volume() -> Volume:
    """Five slices 4 × 6, spacing (3, 1, 1) mm, values in 0..1."""
    values = np.random.default_rng(0).random((5, 4, 6), dtype=np.float32)
    return Volume(values, Geometry((5, 4, 6), np.diag([1.0, 1, 3, 1])[:, [2, 1, 0, 3]]), "CT")


def test_a_slice_is_encoded_once_however_often_it_is_asked_for(volume: Volume) -> None:
    # Arrange
    segmenter = CountingSegmenter()
    slices = EncodedSlices(volume, segmenter, halved, encoder="e")

    # Act
    encodings = [slices.encoding(z) for z in (0, 3, 0, 3, 3, 0)]

    # Assert
    assert slices.encoder_passes == len(segmenter.seen) == 2
    assert encodings[0].source_shape == (4, 6)
    assert encodings[0].embedding.dtype == np.float32
    assert encodings[0].embedding[0, 0, 0] == pytest.approx(
        volume.intensities[0].mean() / 2, abs=1e-3
    )


def test_without_a_folder_the_segmenters_own_encodings_stay_in_memory(volume: Volume) -> None:
    """FakeSegmenter accepts only what it made itself."""
    # Arrange
    segmenter = FakeSegmenter()
    slices = EncodedSlices(volume, segmenter, halved, in_memory=1)

    # Act
    for z in (0, 1, 2, 0, 1, 2):
        segmenter.segment(slices.encoding(z), Prompts(box=Box(0, 0, 3, 3)))

    # Assert
    assert slices.encoder_passes == 3


def test_it_says_its_grid_and_shows_normalised_images(volume: Volume) -> None:
    slices = EncodedSlices(volume, CountingSegmenter(), halved, encoder="e")

    assert slices.shape == (5, 4, 6)
    assert slices.spacing_mm == (3.0, 1.0, 1.0)
    np.testing.assert_array_equal(slices.image(2), volume.intensities[2] / 2)
    np.testing.assert_array_equal(slices.intensities(2), volume.intensities[2])


@pytest.mark.parametrize("z", [-1, 5])
def test_there_is_no_slice_outside_the_volume(volume: Volume, z: int) -> None:
    slices = EncodedSlices(volume, CountingSegmenter(), halved, encoder="e")

    with pytest.raises(IndexError, match="the volume has 5"):
        slices.image(z)
    with pytest.raises(IndexError):
        slices.encoding(z)


def test_another_process_goes_on_with_the_same_numbers(volume: Volume, tmp_path: Path) -> None:
    # Arrange
    first = EncodedSlices(volume, CountingSegmenter(), halved, encoder="e", folder=tmp_path)
    before = [first.encoding(z).embedding for z in range(5)]
    again = CountingSegmenter()

    # Act
    second = EncodedSlices(volume, again, halved, encoder="e", folder=tmp_path)
    after = [second.encoding(z).embedding for z in range(5)]

    # Assert
    assert again.seen == []
    assert second.encoder_passes == 0
    np.testing.assert_array_equal(before, after)


def test_what_falls_out_of_memory_comes_back_from_disk(volume: Volume, tmp_path: Path) -> None:
    # Arrange
    segmenter = CountingSegmenter()
    slices = EncodedSlices(volume, segmenter, halved, encoder="e", folder=tmp_path, in_memory=1)

    # Act
    for z in (0, 1, 2, 0, 1, 2):
        slices.encoding(z)

    # Assert
    assert slices.encoder_passes == 3


@pytest.mark.parametrize(
    "stale",
    ["another encoder", "another image", "another normalisation"],
)
def test_a_stale_folder_is_not_believed(volume: Volume, tmp_path: Path, stale: str) -> None:
    # Arrange
    EncodedSlices(volume, CountingSegmenter(), halved, encoder="e", folder=tmp_path).encoding(1)
    other = Volume(volume.intensities + 1, volume.geometry, "CT")
    changed = {
        "another encoder": (volume, halved, "f"),
        "another image": (other, halved, "e"),
        "another normalisation": (volume, lambda image: image / 4, "e"),
    }[stale]

    # Act
    slices = EncodedSlices(
        changed[0], CountingSegmenter(), changed[1], encoder=changed[2], folder=tmp_path
    )
    slices.encoding(1)

    # Assert
    assert slices.encoder_passes == 1


@pytest.mark.parametrize("content", [b"", b"no array at all"])
def test_a_damaged_encoding_is_made_anew(
    volume: Volume, tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    # Arrange
    EncodedSlices(volume, CountingSegmenter(), halved, encoder="e", folder=tmp_path).encoding(1)
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(content)

    # Act
    slices = EncodedSlices(volume, CountingSegmenter(), halved, encoder="e", folder=tmp_path)
    encoding = slices.encoding(1)

    # Assert
    assert slices.encoder_passes == 1
    assert encoding.embedding.shape == (2, 3, 3)
    assert "made anew" in caplog.text
    assert np.load(kept)["arr_0"].shape == (2, 3, 3)


def test_what_cannot_be_kept_is_used_all_the_same(
    volume: Volume, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Arrange
    blocked = tmp_path / "file"
    blocked.write_text("in the way")

    # Act
    slices = EncodedSlices(volume, CountingSegmenter(), halved, encoder="e", folder=blocked)
    encoding = slices.encoding(1)

    # Assert
    assert encoding.embedding.shape == (2, 3, 3)
    assert slices.encoding(1) is encoding
    assert "could not be kept" in caplog.text


class LingeringSegmenter(CountingSegmenter):
    """Lets other threads run while it encodes, as a real encoder does."""

    def encode(self, image: np.ndarray) -> Any:
        time.sleep(0.05)
        return super().encode(image)


def test_threads_that_ask_at_once_share_one_pass(volume: Volume) -> None:
    # Arrange
    segmenter = LingeringSegmenter()
    slices = EncodedSlices(volume, segmenter, halved, encoder="e")
    together = threading.Barrier(8)

    def ask() -> None:
        together.wait()
        slices.encoding(4)

    # Act
    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    # Assert
    assert len(segmenter.seen) == 1


def test_half_precision_on_disk_does_not_move_the_mask(
    litemedsam: LiteMedSam, sample_ct: SampleCt, tmp_path: Path
) -> None:
    """float16 embeddings: the liver's mask differs from float32's in no more than 1 pixel in
    1000.
    """
    # Arrange
    truth = sample_ct.labels["liver"]
    z = int(truth.sum(axis=(1, 2)).argmax())
    prompts = Prompts(box=Box.around(truth[z]))
    slices = EncodedSlices(
        sample_ct.volume,
        litemedsam,
        lambda image: np.clip((image + 160) / 400, 0, 1),
        encoder=litemedsam.weights_sha256,
        folder=tmp_path,
    )

    # Act
    kept = litemedsam.segment(slices.encoding(z), prompts)
    exact = litemedsam.segment(litemedsam.encode(slices.image(z)), prompts)

    # Assert
    assert np.count_nonzero(kept.mask ^ exact.mask) <= np.count_nonzero(exact.mask) / 1000
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2_200_000


def test_without_a_folder_memory_is_bounded(volume: Volume) -> None:
    # Arrange: three encodings like these fit
    room_bytes = 3 * (2 * 3 * 3 * 4)
    slices = EncodedSlices(
        volume, CountingSegmenter(), halved, in_memory=1, memory_bytes=room_bytes
    )
    depth = volume.geometry.shape[0]

    # Act
    for z in (*range(depth), depth - 1, depth - 2, depth - 3):
        slices.encoding(z)
    passes = slices.encoder_passes
    slices.encoding(depth - 4)

    # Assert: the three latest are there, the one before is made anew
    assert passes == depth
    assert slices.encoder_passes == depth + 1
