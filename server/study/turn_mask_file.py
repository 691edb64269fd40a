"""The masks of a request's turns: one file that is only ever added to.

A record is a header, then the packed masks (agent.turn_masks). It is on disk (fsync) before the
turn's row is written, so a row never refers to a mask that is not there; what a crash cut off at
the end is written again with the repeated turn. The same turn with the same masks adds nothing.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Callable
from pathlib import Path

from agent.turn_masks import DIGEST_BYTES, TurnMasks
from agent.turns import Turn
from dicom_node.durable import sync_folder
from server.errors import ReplayError

TURN_MASKS = "turns.masks"

_MAGIC = b"SEGM"
_HEADER = struct.Struct(f"<4s4i{DIGEST_BYTES}s")  # target, slice, turn, bytes of the masks, digest

Key = tuple[int, int, int, str]
"""Target, slice and turn (zero-based; slice -1 is the whole volume), and the masks' digest."""


class TurnMaskFile:
    """The file at `path`, which need not be there. One worker adds to it at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: set[Key] = set()
        self._end = 0

    def add(self, target: int, turn: Turn) -> None:
        """Keep what `turn` drew, durable when this returns; a turn that drew nothing, or whose
        masks are not here, adds nothing.
        """
        masks = turn.masks
        if masks is None or not masks.here:
            return
        key = (target, turn.slice_index, turn.index, masks.digest)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            self._catch_up(descriptor)
            if key in self._known:
                return
            record = _record(key, masks.packed)
            os.pwrite(descriptor, record, self._end)
            os.fsync(descriptor)
            if not self._end:
                sync_folder(self._path.parent)
            self._known.add(key)
            self._end += len(record)
        finally:
            os.close(descriptor)

    def keeping(self, target: int, tell: Callable[[Turn], None]) -> Callable[[Turn], None]:
        """`tell` that is called once the turn's masks are kept."""

        def keep(turn: Turn) -> None:
            self.add(target, turn)
            tell(turn)

        return keep

    def _catch_up(self, descriptor: int) -> None:
        """Learn what others have added, and take away what a crash cut off."""
        size = os.fstat(descriptor).st_size
        if size == self._end:
            return
        with os.fdopen(os.dup(descriptor), "rb") as stream:
            stream.seek(0)
            stored, self._end = _parsed(stream.read())
        self._known = set(stored)
        if self._end < size:
            os.ftruncate(descriptor, self._end)


def read_turn_masks(path: Path) -> dict[Key, TurnMasks]:
    """All masks in a file, those of a record that was cut off left out; ReplayError when it is not
    there or none of ours.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ReplayError(
            f"the masks of these turns are gone: there is no {path.name} "
            "(storage.turns_days says how long they are kept)"
        ) from error
    stored, end = _parsed(content)
    if content and not end:
        raise ReplayError(f"{path.name} was changed: it does not begin as such a file does")
    return stored


def _record(key: Key, packed: bytes) -> bytes:
    target, slice_index, turn, digest = key
    header = _HEADER.pack(_MAGIC, target, slice_index, turn, len(packed), bytes.fromhex(digest))
    return header + packed


def _parsed(content: bytes) -> tuple[dict[Key, TurnMasks], int]:
    """The whole records from the start on, and where they end."""
    stored: dict[Key, TurnMasks] = {}
    start = 0
    while start + _HEADER.size <= len(content):
        magic, target, slice_index, turn, length, digest = _HEADER.unpack_from(content, start)
        end = start + _HEADER.size + length
        if magic != _MAGIC or length < 0 or end > len(content):
            break
        name = digest.hex()
        packed = content[start + _HEADER.size : end]
        stored[(target, slice_index, turn, name)] = TurnMasks(name, packed)
        start = end
    return stored, start
