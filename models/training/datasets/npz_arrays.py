"""Arrays of an npz file by name, never more of them than the file's size allows and never an
object.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from models.errors import UnreadableFile
from models.images.readers import MOST_VOXELS

_FAULTS = (OSError, EOFError, ValueError, KeyError, TypeError, zlib.error, zipfile.BadZipFile)
_MOST_RATIO = 1100  # deflate makes 1032 bytes of one at most; a longer claim is a lie


def array_names(path: Path) -> tuple[str, ...]:
    """The names of the arrays in `path`; UnreadableFile where it is no npz."""
    try:
        with zipfile.ZipFile(path) as archive:
            return tuple(name.removesuffix(".npy") for name in archive.namelist())
    except _FAULTS as fault:
        raise UnreadableFile(path, f"it is damaged or no npz ({fault}).") from fault


def read_array(path: Path, name: str) -> NDArray[Any]:
    """The array `name` of the npz at `path`; the header is believed only after its size was.

    UnreadableFile for an array that is not there, holds Python objects, is larger than a volume can
    be, or is not what its header says.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            member = archive.getinfo(f"{name}.npy")
            with archive.open(member) as stream:
                shape, kind = _header(stream)
            _require_bounded(path, name, shape, kind, member)
            with archive.open(member) as stream:
                return np.asarray(npy.read_array(stream, allow_pickle=False))
    except KeyError:
        raise UnreadableFile(path, f"it holds no array called {name}.") from None
    except _FAULTS as fault:
        raise UnreadableFile(path, f"it is damaged or no npz ({fault}).") from fault


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type that a member's first bytes announce."""
    version = npy.read_magic(stream)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, kind = read(stream)
    return shape, kind


def _require_bounded(
    path: Path, name: str, shape: tuple[int, ...], kind: np.dtype[Any], member: zipfile.ZipInfo
) -> None:
    if kind.hasobject:
        raise UnreadableFile(path, f"{name} holds Python objects, which are never loaded.")
    values = math.prod(shape)
    if values > MOST_VOXELS:
        raise UnreadableFile(path, f"{name} says that it holds {shape} values, too many for one.")
    if values * kind.itemsize > member.compress_size * _MOST_RATIO:
        raise UnreadableFile(path, f"{name} announces more values than its bytes can hold.")
