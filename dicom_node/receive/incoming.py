"""A data set while it is received: in memory up to a block, and beyond that in its file already.

The file is PS3.10 with our file meta, whose SHA-256 is known only at the end: its place is kept at
the beginning. What is not small goes past the page cache where the file system allows it: finding
new pages for all that passes through costs more than the disk does (525 kB: 2.8 ms through the
cache, 1.2 ms past it, with fsync). For small files it is the other way round.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import mmap
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from dicom_node.arrivals import StoreRequest
from dicom_node.receive.disk import disk_errors
from dicom_node.receive.part10 import FileMeta, encode_head

BLOCK_BYTES = 1 << 20
_PAGE = mmap.PAGESIZE
_SPARE_BLOCKS = 4
_LEAST_DIRECT_BYTES = 1 << 17
_NO_DIGEST = bytes(32).hex()
_DIRECT = getattr(os, "O_DIRECT", 0)  # not every system has it


class BlockPool:
    """Memory for data sets in flight: one block each, page-aligned, a few kept for the next."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spare: list[mmap.mmap] = []

    def borrow(self) -> mmap.mmap:
        """A block with anything in it."""
        with self._lock:
            return self._spare.pop() if self._spare else mmap.mmap(-1, BLOCK_BYTES)

    def give_back(self, block: mmap.mmap) -> None:
        """Done with it: nobody may use a view of it any more."""
        with self._lock:
            if len(self._spare) < _SPARE_BLOCKS:
                self._spare.append(block)


class IncomingDataset:
    """A data set on its way into the file at `path`, which exists once it is long or complete.

    `reserve` is asked before anything is written. Every method raises StorageFull or InboxError
    where the disk refuses; whatever happens, `discard` must be called at the end: it leaves nothing
    but names that the file was linked under.
    """

    def __init__(
        self, request: StoreRequest, path: Path, reserve: Callable[[int], None], blocks: BlockPool
    ) -> None:
        self.request = request
        self._meta = FileMeta(
            sop_class_uid=request.sop_class_uid,
            sop_instance_uid=request.sop_instance_uid,
            transfer_syntax_uid=request.transfer_syntax_uid,
            sha256=_NO_DIGEST,
            calling_ae_title=request.calling_ae_title,
            called_ae_title=request.called_ae_title,
        )
        self._path, self._reserve, self._blocks = path, reserve, blocks
        self._head_bytes = len(encode_head(self._meta))
        self._block: mmap.mmap | None = blocks.borrow()
        self._view = memoryview(self._block)
        self._filled = self._head_bytes
        self._written = 0
        self._first_page = b""
        self._descriptor = -1
        self._digest = hashlib.sha256()

    @property
    def size_bytes(self) -> int:
        """Of the data set so far."""
        return self._written + self._filled - self._head_bytes

    def room(self) -> memoryview:
        """Memory for what comes next: at least a byte, and never more than a block."""
        if self._filled == BLOCK_BYTES:
            if not self._written:
                self._first_page = bytes(self._view[:_PAGE])  # with the place of the head
            with disk_errors():
                self._put(self._view[: self._filled])
        return self._view[self._filled :]

    def received(self, count: int) -> None:
        """`count` bytes have been put where `room` said."""
        self._digest.update(self._view[self._filled : self._filled + count])
        self._filled += count

    def write(self, data: bytes | memoryview) -> None:
        """Take `data`, of any length."""
        rest = memoryview(data)
        while rest:
            room = self.room()
            count = min(len(room), len(rest))
            room[:count] = rest[:count]
            self.received(count)
            rest = rest[count:]

    def sha256(self) -> str:
        """Of the data set so far, in hexadecimal digits."""
        return self._digest.hexdigest()

    @contextmanager
    def dataset(self) -> Iterator[memoryview]:
        """The data set so far, in memory or mapped from its file; the view ends with the block."""
        if not self._written:
            with self._view[self._head_bytes : self._filled] as view:
                yield view
            return
        with disk_errors():
            self._write_rest()
            descriptor = os.open(self._path, os.O_RDONLY)
            try:
                mapped = mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
            finally:
                os.close(descriptor)
        with mapped, memoryview(mapped) as whole, whole[self._head_bytes :] as view:
            yield view

    def written(self) -> Path:
        """Where the whole file is; it may still be in the system's memory alone, until `sync`."""
        with disk_errors():
            head = encode_head(replace(self._meta, sha256=self.sha256()))
            if self._written:
                self._write_rest()
                self._rewrite_head(head)
            else:
                self._view[: self._head_bytes] = head
                self._write_rest()
        return self._path

    def sync(self) -> None:
        """Put the file on disk, as it was written."""
        with disk_errors():
            os.fsync(self._descriptor)

    def discard(self) -> None:
        """Close, remove the temporary name if there is one, give the memory back."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._path.unlink(missing_ok=True)
            self._descriptor = -1
        if self._block is not None:
            self._view.release()
            self._blocks.give_back(self._block)
            self._block = None

    def _write_rest(self) -> None:
        """Write what does not fill the block: whole pages directly, the last one not."""
        whole = self._filled // _PAGE * _PAGE
        if not self._written and whole < _LEAST_DIRECT_BYTES:
            self._put(self._view[: self._filled])
            return
        last_page = bytes(self._view[whole : self._filled])
        self._put(self._view[:whole])
        if last_page:
            self._go_through_cache()
            self._put(memoryview(last_page))
        self._filled = 0

    def _put(self, view: memoryview) -> None:
        """Append to the file."""
        if self._descriptor < 0:
            self._open(_DIRECT if len(view) >= _LEAST_DIRECT_BYTES else 0)
        self._reserve(len(view))
        self._filled = 0
        while view:
            try:
                count = os.write(self._descriptor, view)
            except OSError as error:
                if error.errno != errno.EINVAL or not self._go_through_cache():
                    raise
                continue
            self._written += count
            view = view[count:]
            if count % _PAGE:
                self._go_through_cache()

    def _open(self, direct: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        try:
            self._descriptor = os.open(self._path, flags | direct, 0o600)
        except OSError as error:
            if error.errno != errno.EINVAL or not direct:
                raise
            with suppress(FileNotFoundError):
                self._path.unlink()
            self._descriptor = os.open(self._path, flags, 0o600)

    def _go_through_cache(self) -> bool:
        """Write as usual from here on; False if that was so already."""
        flags = fcntl.fcntl(self._descriptor, fcntl.F_GETFL)
        if flags & _DIRECT:
            fcntl.fcntl(self._descriptor, fcntl.F_SETFL, flags & ~_DIRECT)
        return bool(flags & _DIRECT)

    def _rewrite_head(self, head: bytes) -> None:
        """Put the head with its digest where its place was kept."""
        self._go_through_cache()
        page = head + self._first_page[len(head) :]
        if os.pwrite(self._descriptor, page, 0) != len(page):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
