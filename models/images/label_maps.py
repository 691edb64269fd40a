"""Label maps and masks as files: whole numbers exactly as stored, never a palette's colours."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.geometry import Geometry
from models.errors import UnreadableFile
from models.images.readers import UPRIGHT, is_picture, read_stored


def read_labels(path: Path) -> tuple[NDArray[np.int64], Geometry]:
    """The label values (z, y, x) of a NIfTI, NRRD, MetaImage or picture, and the grid they lie on.

    Of a picture with a palette the indices. UnreadableFile for values that are no whole numbers
    from 0, and for everything that is no such file.
    """
    try:
        stored, affine = _indices(path) if is_picture(path) else read_stored(path)
        return whole_numbers(stored), Geometry(_shape(stored), affine)
    except FileNotFoundError:
        raise UnreadableFile(path, "there is no such file.") from None
    except (OSError, EOFError, ValueError, RuntimeError, SyntaxError, zlib.error) as fault:
        raise UnreadableFile(path, f"it is damaged or no label map ({fault}).") from fault


def whole_numbers(values: NDArray[Any]) -> NDArray[np.int64]:
    """Label values of any kind of number as int64; ValueError unless all are whole numbers from
    0.
    """
    if values.dtype.kind not in "biuf":
        raise ValueError("its values are no numbers")
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            raise ValueError("it has values that are no finite numbers")
        if (values != np.rint(values)).any():
            raise ValueError("it has values that are no whole numbers")
    if values.size == 0 or values.min() < 0:
        raise ValueError("it has negative values, or none")
    return values.astype(np.int64)


def read_foreground(path: Path, content: bytes | None = None) -> NDArray[np.bool_]:
    """The mask (1, rows, columns) bool of a picture: what is not black in any channel.

    Where `content` is given it is the file's, and `path` stands for it in errors. UnreadableFile
    where it is no picture.
    """
    from PIL import Image

    try:
        with Image.open(path if content is None else io.BytesIO(content)) as picture:
            alpha = picture.mode in {"LA", "RGBA"}
            pixels = np.asarray(picture.convert("RGB") if picture.mode == "P" or alpha else picture)
    except FileNotFoundError:
        raise UnreadableFile(path, "there is no such file.") from None
    except (
        OSError,
        EOFError,
        ValueError,
        SyntaxError,
        zlib.error,
        Image.DecompressionBombError,
    ) as fault:
        raise UnreadableFile(path, f"it is damaged or no picture ({fault}).") from fault
    mask = pixels != 0
    return np.asarray(mask if mask.ndim == 2 else mask.any(axis=-1))[None]


def _indices(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """A picture's values (1, rows, columns) as they are stored."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            values = np.asarray(picture)
    except Image.DecompressionBombError as fault:
        raise ValueError("it has too many pixels for one image") from fault
    if values.ndim != 2:
        raise ValueError("a label map has one value a pixel, this has colours")
    return values[None], UPRIGHT


def _shape(stored: NDArray[Any]) -> tuple[int, int, int]:
    depth, rows, columns = stored.shape
    return depth, rows, columns
