"""Where the walk over a data set takes its bytes from: memory, or a deflated stream."""

from __future__ import annotations

import zlib
from typing import Protocol

from dicom_node.errors import FaultyDataset, UnreadableDataset

# The largest inflated data set. 1,000 bytes of zeros travel as one, so the size on the wire is no
# measure; single images have 0.5 to 50 MB, and larger ones are not known to be deflated.
MOST_INFLATED_BYTES = 256 << 20
_STEP_BYTES = 1 << 20  # inflated at once: the window, unless one value asks for more
_INPUT_BYTES = 1 << 16


class Source(Protocol):
    """Bytes of a data set.

    `view` is the part in memory; it begins `base` bytes behind the beginning.
    """

    view: memoryview
    base: int
    hold: int | None

    def close(self) -> None:
        """Release the bytes at once: a pending error would keep a mapped file from closing."""

    def more(self, at: int, need: int) -> int:
        """Bring `need` bytes from `at` (an index of `view` or beyond) into `view`, if there are.

        Returns the index of `at` in the new view, beyond its end where the data set ends before.
        Bytes before `at` may be dropped, except those from `hold` on (bytes from the beginning).
        """


class InMemory:
    """A data set that is in memory or mapped into it."""

    def __init__(self, data: bytes | memoryview) -> None:
        self.view = memoryview(data)
        self.base = 0
        self.hold: int | None = None

    def close(self) -> None:
        """See Source."""
        self.view.release()

    def more(self, at: int, need: int) -> int:
        """Everything is there already."""
        del need
        return at


class Inflated:
    """A deflated data set (PS3.5 A.5: raw deflate, no zlib header), inflated as it is read.

    UnreadableDataset where it is no deflated stream, FaultyDataset beyond `limit_bytes`.
    """

    def __init__(self, data: bytes | memoryview, limit_bytes: int = MOST_INFLATED_BYTES) -> None:
        self.view = memoryview(b"")
        self.base = 0
        self.hold: int | None = None
        self._input = memoryview(data)
        self._read_bytes = 0
        self._tail = b""
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._limit_bytes = limit_bytes
        self._inflated_bytes = 0

    def close(self) -> None:
        """See Source."""
        self.view.release()
        self._input.release()

    def more(self, at: int, need: int) -> int:
        """See Source."""
        first = at if self.hold is None else min(at, self.hold - self.base)
        parts = [bytes(self.view[first:])]
        skip, there = max(first - len(self.view), 0), len(parts[0])
        # the part in memory doubles, so that a long value is not copied again for each step
        while skip or there < at - first + max(need, at - first):
            step = self._step()
            if not step:
                break
            rest = step[skip:]
            skip -= len(step) - len(rest)
            parts.append(rest)
            there += len(rest)
        self.view = memoryview(b"".join(parts))
        self.base += first - skip
        return at - first + skip

    def _step(self) -> bytes:
        """The next bytes, none at the end."""
        step = b""
        while not (step or self._inflater.eof):
            if not self._tail:
                self._tail = bytes(self._input[self._read_bytes : self._read_bytes + _INPUT_BYTES])
                self._read_bytes += len(self._tail)
            ended = not self._tail
            try:
                step = self._inflater.decompress(self._tail, _STEP_BYTES)
            except zlib.error as error:
                raise UnreadableDataset("the deflated data set could not be inflated") from error
            self._tail = self._inflater.unconsumed_tail
            if ended:
                break
        self._inflated_bytes += len(step)
        if self._inflated_bytes > self._limit_bytes:
            raise FaultyDataset(
                f"the deflated data set is larger than {self._limit_bytes >> 20} MB when inflated"
            )
        return step
