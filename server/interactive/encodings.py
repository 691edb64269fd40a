"""Images that have been through an encoder: each once, within a budget of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future

from agent.ports import Encoding

Key = tuple[str, str]
"""(segmenter's name, the image's SHA-256)."""


class Encodings:
    """A cache for any number of threads; the longest unused encoding goes first."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[Key, tuple[Encoding, int]] = OrderedDict()
        self._under_way: dict[Key, Future[Encoding]] = {}
        self._bytes = 0
        self.passes = 0

    @property
    def nbytes(self) -> int:
        """Bytes of features that are kept."""
        with self._lock:
            return self._bytes

    def kept(self, key: Key) -> Encoding | None:
        """The encoding, if it is kept."""
        with self._lock:
            return self._used(key)

    def get(self, key: Key, encode: Callable[[], Encoding]) -> Encoding:
        """The encoding, made by `encode` if it is not kept.

        Who asks meanwhile waits for the same one.

        What `encode` raises reaches everybody who waits, and nothing is kept of it.
        """
        with self._lock:
            kept = self._used(key)
            if kept is not None:
                return kept
            under_way = self._under_way.get(key)
            if under_way is None:
                mine = self._under_way[key] = Future()
        if under_way is not None:
            return under_way.result()
        try:
            made = encode()
        except BaseException as error:
            with self._lock:
                del self._under_way[key]
            mine.set_exception(error)
            raise
        with self._lock:
            del self._under_way[key]
            self.passes += 1
            self._keep(key, made)
        mine.set_result(made)
        return made

    def _used(self, key: Key) -> Encoding | None:
        if key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return self._kept[key][0]

    def _keep(self, key: Key, encoding: Encoding) -> None:
        size = encoding.embedding.nbytes + sum(each.nbytes for each in encoding.high_res)
        self._kept[key] = (encoding, size)
        self._bytes += size
        while self._bytes > self._most_bytes:
            _, (_, freed) = self._kept.popitem(last=False)
            self._bytes -= freed
