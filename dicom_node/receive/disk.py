"""The file system of the inbox: its errors as ours, its free space, and fsync."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dicom_node.errors import InboxError, StorageFull

# A file system that is full, a user over quota, a file larger than the volume or the process may
# write
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FREE_ROOM_AGE_S = 0.05
_MOUNTS = Path("/proc/self/mountinfo")
# link(2) changes the folder and the inode (its number of names) in one transaction, and fsync of
# the file commits the one that holds the inode's last change: the jbd2 transaction i_sync_tid of
# ext4, the log up to ili_last_lsn of XFS
_JOURNALS_NAMES = frozenset({"ext4", "xfs"})


@contextmanager
def disk_errors() -> Iterator[None]:
    """Say what the operating system said in the inbox's own errors."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise no_room() from error
        raise InboxError(f"the storage volume failed: {error.strerror}") from error


def no_room() -> StorageFull:
    """The error of a volume that takes no more."""
    return StorageFull("no room left on the storage volume")


def sync_folder(folder: str | Path) -> None:
    """Put a folder's entries on disk."""
    _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def sync_file(path: str | Path) -> None:
    """Put a file's bytes on disk, whoever wrote them."""
    _sync(path, os.O_RDONLY)


def _sync(path: str | Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def names_go_with_files(folder: Path) -> bool:
    """Whether fsync of a file that has just been linked under `folder` also puts that name on disk.

    The standards promise it of no file system, so that False is the answer for all that are not
    known (see _JOURNALS_NAMES).
    """
    device = folder.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        mounts = _MOUNTS.read_text("utf-8", "replace").splitlines()
    except OSError:
        return False
    # proc(5), mountinfo: "36 35 98:0 /root /point options tags - type source options"
    parts = [line.partition(" - ") for line in mounts]
    kinds = {after.split(" ")[0] for before, _, after in parts if number in before.split(" ")[2:3]}
    return bool(kinds) and kinds <= _JOURNALS_NAMES


class FreeSpace:
    """How many bytes may be written to the file system of `folder`, keeping `minimum_free_bytes`.

    The file system is asked some twenty times a second at most; in between, what was reserved is
    counted.
    """

    def __init__(self, folder: Path, minimum_free_bytes: int) -> None:
        self._folder, self.minimum_free_bytes = folder, minimum_free_bytes
        self._lock = threading.Lock()
        self._room_bytes, self._asked_s = 0, float("-inf")

    def free_bytes(self) -> int:
        """Room left for users that are not root."""
        volume = os.statvfs(self._folder)
        return volume.f_bavail * volume.f_frsize

    def reserve(self, size_bytes: int) -> None:
        """Before `size_bytes` are written: StorageFull when they do not fit."""
        now_s = time.monotonic()
        with self._lock:
            if now_s - self._asked_s > _FREE_ROOM_AGE_S or size_bytes > self._room_bytes:
                self._room_bytes = self.free_bytes() - self.minimum_free_bytes
                self._asked_s = now_s
            if size_bytes > self._room_bytes:
                raise no_room()
            self._room_bytes -= size_bytes
