"""Frames made of a few are, byte by byte, those that highdicom arranges one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dicom_node.results import segmentation
from dicom_node.results.frame_groups import covering
from dicom_node.results.segmentation import SegmentationWriter
from dicom_node.results.writers import write_result
from dicom_node.values import Algorithm, ResultContent, ResultIdentity, ResultSegment, SourceVolume
from tests.support import phantoms


@pytest.fixture(scope="module")
def volume(
    tmp_path_factory: pytest.TempPathFactory, volume_of: Callable[[Any], SourceVolume]
) -> SourceVolume:
    folder = tmp_path_factory.mktemp("frames")
    return volume_of(
        phantoms.torso_ct(folder / "ct", shape=(6, 5, 7), orientation="oblique", shuffle=3)
    )


@given(
    segments=st.integers(1, 7),
    share=st.sampled_from([0.02, 0.1, 0.5]),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=20, deadline=None)
def test_the_file_is_the_one_that_highdicom_arranges_in_full(
    segments: int,
    share: float,
    seed: int,
    volume: SourceVolume,
    segment: Callable[..., ResultSegment],
    algorithm: Algorithm,
    identity: ResultIdentity,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    # Arrange: structures on some of the slices, which may overlap
    folder = tmp_path_factory.mktemp("written")
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(segments):
        voxels = rng.random(volume.intensities.shape) < share / 5
        voxels[rng.integers(6), 2, 3] = True
        drawn.append(segment("liver", voxels))
    content = ResultContent(volume, drawn, (), algorithm, identity)

    # Act
    ours = write_result(SegmentationWriter(), content, folder / "ours.dcm").path
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(segmentation, covering.__name__, every_frame)
        full = write_result(SegmentationWriter(), content, folder / "full.dcm").path

    # Assert
    assert ours.read_bytes() == full.read_bytes()


def every_frame(present: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Nothing is left to be made of other frames."""
    return present


@given(present=st.integers(1, 2**20 - 1), segments=st.integers(1, 5))
def test_a_cover_has_every_slice_and_segment_and_few_frames(present: int, segments: int) -> None:
    bits = [bool(present >> bit & 1) for bit in range(20)]
    frames = np.array(bits[: 20 // segments * segments]).reshape(-1, segments)

    cover = covering(frames)

    assert not (cover & ~frames).any()
    for axis in (0, 1):
        assert np.array_equal(cover.any(axis=axis), frames.any(axis=axis))
    assert cover.sum() <= sum(frames.shape)
    if 1 in frames.shape:
        assert np.array_equal(cover, frames)
