"""A data set on its way into its file: in memory up to a block, and the same bytes whatever its
length.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dicom_node.arrivals import StoreRequest
from dicom_node.errors import StorageFull
from dicom_node.receive import incoming as module
from dicom_node.receive.disk import FreeSpace
from dicom_node.receive.incoming import BLOCK_BYTES, BlockPool, IncomingDataset
from dicom_node.receive.part10 import read_meta

SENT = StoreRequest(
    "1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2.840.10008.1.2.1", "PEER", "192.0.2.1", "US"
)
HEAD_BYTES = 400  # and some: what the file has before the data set


@pytest.fixture
def begin(tmp_path: Path) -> Callable[..., IncomingDataset]:
    """Begins a data set at `tmp_path / "file"`."""

    def make(reserve: Callable[[int], None] = lambda _: None) -> IncomingDataset:
        return IncomingDataset(SENT, tmp_path / "file", reserve, BlockPool())

    return make


@pytest.mark.parametrize(
    "size",
    [
        0,
        1,
        4096,
        (1 << 17) - HEAD_BYTES,
        (1 << 17) + 1,  # past the page cache from here on
        BLOCK_BYTES - HEAD_BYTES - 100,
        BLOCK_BYTES,
        3 * BLOCK_BYTES + 4097,
    ],
)
@pytest.mark.parametrize("direct", [True, False], ids=["past the cache", "through the cache"])
def test_the_file_has_the_very_bytes_and_their_digest(
    begin: Callable[..., IncomingDataset],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
    direct: bool,
) -> None:
    if not direct:
        monkeypatch.setattr(module, "_DIRECT", 0)
    data = os.urandom(size)
    arriving = begin()

    for start in range(0, size, 100_001):
        arriving.write(data[start : start + 100_001])
    with arriving.dataset() as view:
        as_seen = bytes(view)
    path = arriving.written()

    assert as_seen == data
    assert arriving.size_bytes == size
    assert path.read_bytes()[-size or len(path.read_bytes()) :] == data
    assert path.read_bytes()[128:132] == b"DICM"
    assert read_meta(path).sha256 == arriving.sha256() == hashlib.sha256(data).hexdigest()
    arriving.discard()
    assert not (tmp_path / "file").exists()


def test_a_file_system_that_only_writes_through_its_cache_is_used_so(
    begin: Callable[..., IncomingDataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, write, refused = os.open, os.write, []

    def refuse_to_open(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & module._DIRECT:
            refused.append("open")
            raise OSError(errno.EINVAL, "no")
        return opened(path, flags, mode)

    monkeypatch.setattr(os, "open", refuse_to_open)
    arriving = begin()
    arriving.write(data := os.urandom(2 * BLOCK_BYTES))
    assert arriving.written().read_bytes().endswith(data)
    arriving.discard()
    assert refused == ["open"]

    def refuse_once(descriptor: int, view: memoryview) -> int:
        if "write" not in refused:
            refused.append("write")
            raise OSError(errno.EINVAL, "no")
        return write(descriptor, view)

    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(os, "write", refuse_once)
    arriving = begin()
    arriving.write(data)
    assert arriving.written().read_bytes().endswith(data)
    arriving.discard()
    assert refused == ["open", "write"]


def test_nothing_is_written_before_it_is_long_or_whole(
    begin: Callable[..., IncomingDataset], tmp_path: Path
) -> None:
    arriving = begin()

    arriving.write(bytes(BLOCK_BYTES // 2))
    small = (tmp_path / "file").exists()
    arriving.write(bytes(BLOCK_BYTES))

    assert (small, (tmp_path / "file").exists()) == (False, True)
    arriving.discard()
    arriving.discard()  # twice is harmless
    assert not (tmp_path / "file").exists()


def test_room_is_asked_for_before_anything_is_written(
    begin: Callable[..., IncomingDataset], tmp_path: Path
) -> None:
    room = FreeSpace(tmp_path, minimum_free_bytes=1 << 60)
    arriving = begin(room.reserve)

    with pytest.raises(StorageFull, match="no room"):
        arriving.write(bytes(2 * BLOCK_BYTES))

    arriving.discard()
    assert list(tmp_path.iterdir()) == []


def test_blocks_are_used_again() -> None:
    blocks = BlockPool()
    first = blocks.borrow()
    blocks.give_back(first)

    assert blocks.borrow() is first
    assert blocks.borrow() is not first


def test_free_room_is_asked_for_now_and_then_and_counted_in_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    room = FreeSpace(tmp_path, minimum_free_bytes=1000)

    def free_bytes() -> int:
        asked.append(1)
        return 1100

    monkeypatch.setattr(room, "free_bytes", free_bytes)

    room.reserve(60)
    with pytest.raises(StorageFull):  # 40 are left, also when the file system is asked again
        room.reserve(101)

    assert len(asked) == 2
