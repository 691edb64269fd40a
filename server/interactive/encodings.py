"""Images that have been through an encoder: each once, within a budget of bytes.

cachetools holds them; what it lacks, one computation for all who ask meanwhile, is added here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from contextlib import suppress

from cachetools import LRUCache

from agent.ports import Encoding

Key = tuple[str, Hashable]
"""(segmenter's name, what the image and its view are known by)."""


class Encodings:
    """A cache for any number of threads; the longest unused encoding goes first."""

    def __init__(self, most_bytes: int) -> None:
        self._lock = threading.Lock()
        self._cache: LRUCache[Key, Encoding] = LRUCache(most_bytes, getsizeof=_size_bytes)
        self._under_way: dict[Key, Future[Encoding]] = {}
        self.passes = 0

    @property
    def nbytes(self) -> int:
        """Bytes of features that are kept."""
        with self._lock:
            return int(self._cache.currsize)

    def kept(self, key: Key) -> Encoding | None:
        """The encoding, if it is kept."""
        with self._lock:
            return self._cache.get(key)

    def get(self, key: Key, encode: Callable[[], Encoding]) -> Encoding:
        """The encoding, made by `encode` if it is not kept; all who ask meanwhile wait for it.

        What `encode` raises reaches everybody who waits, and nothing is kept of it.
        """
        with self._lock:
            encoding = self._cache.get(key)
            if encoding is not None:
                return encoding
            under_way = self._under_way.get(key)
            if under_way is None:
                mine = self._under_way[key] = Future()
        if under_way is not None:
            return under_way.result()
        try:
            encoding = encode()
        except BaseException as error:
            with self._lock:
                del self._under_way[key]
            mine.set_exception(error)
            raise
        with self._lock:
            del self._under_way[key]
            self.passes += 1
            with suppress(ValueError):  # larger than the whole budget: it is not kept
                self._cache[key] = encoding
        mine.set_result(encoding)
        return encoding


def _size_bytes(encoding: Encoding) -> int:
    return encoding.embedding.nbytes + sum(feature.nbytes for feature in encoding.high_res)
