"""Frames that are packed while they are read are the bits of the masks, at any offset."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.results.packed_frames import PackedFrames
from dicom_node.voxels import Voxels


@given(
    matrix=st.tuples(st.integers(1, 9), st.integers(1, 19)),
    depth=st.integers(1, 4),
    frames=st.integers(0, 19),
    size=st.integers(1, 50),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_matrix_is_read_in_any_pieces(
    matrix: tuple[int, int], depth: int, frames: int, size: int, seed: int
) -> None:
    # Arrange: slices without a voxel and outside of a structure's box, too
    rng = np.random.default_rng(seed)
    masks = [rng.random((depth, *matrix)) < share for share in (0.0, 0.05, 0.6)]
    chosen = [(int(rng.integers(3)), int(rng.integers(depth))) for _ in range(frames)]
    packed = PackedFrames(matrix, [(Voxels.of(masks[mask]), z) for mask, z in chosen])
    bits = [masks[mask][z].ravel() for mask, z in chosen]
    expected = np.packbits(np.concatenate(bits or [[]]).astype(bool), bitorder="little").tobytes()
    expected += b"\0" * (len(expected) % 2)

    # Act
    pieces = []
    while piece := packed.read(size):
        pieces.append(piece)

    # Assert
    assert b"".join(pieces) == expected
    assert max(map(len, pieces), default=0) <= size
    assert packed.seek(0, os.SEEK_END) == packed.tell() == len(expected)
    place = int(rng.integers(len(expected) + 1))
    packed.seek(place)
    assert packed.read() == expected[place:]


def test_ten_thousand_frames_take_no_memory_of_their_own() -> None:
    voxels = Voxels.of(np.ones((1, 512, 512), dtype=np.bool_))
    packed = PackedFrames((512, 512), [(voxels, 0)] * 200_000)

    assert packed.seek(0, os.SEEK_END) == 6_553_600_000
    packed.seek(-1, os.SEEK_END)
    assert packed.read() == b"\xff"
    assert (packed.readable(), packed.seekable()) == (True, True)


def test_what_it_is_not_opened_for_is_refused() -> None:
    packed = PackedFrames((2, 2), [])

    with pytest.raises(KeyError):
        packed.seek(0, 7)
