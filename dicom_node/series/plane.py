"""One image plane in the patient, and how messages name several of them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from dicom_node.values import SourceFrame

_MOST_RANGES = 8


@dataclass(frozen=True)
class Plane:
    """A single-frame image, or one frame of a multi-frame one, as its header places it.

    `position_mm` (x, y, z) LPS of the first voxel's centre; `orientation` row then column cosines,
    six numbers; `pixel_spacing_mm` between (rows, columns); `shape` (rows, columns);
    `gantry_tilt_deg` is the header's. `phase` tells planes at one position apart: keyword -> value
    as text.
    """

    source: SourceFrame
    position_mm: tuple[float, ...]
    orientation: tuple[float, ...]
    pixel_spacing_mm: tuple[float, ...]
    shape: tuple[int, int]
    frame_of_reference_uid: str = ""
    image_type: tuple[str, ...] = ()
    gantry_tilt_deg: float | None = None
    slice_thickness_mm: float | None = None
    spacing_between_slices_mm: float | None = None
    phase: Mapping[str, str] = field(default_factory=dict)

    @property
    def row_direction(self) -> NDArray[np.float64]:
        """Unit vector (x, y, z) LPS along a row, towards rising columns."""
        return _unit(self.orientation[:3])

    @property
    def column_direction(self) -> NDArray[np.float64]:
        """Unit vector (x, y, z) LPS down a column, towards rising rows."""
        return _unit(self.orientation[3:])

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector (x, y, z) LPS: row x column direction (PS3.3 C.7.6.2.1.1)."""
        return _unit(np.cross(self.row_direction, self.column_direction))

    @property
    def derived(self) -> bool:
        """Whether value 1 of Image Type says DERIVED (PS3.3 C.7.6.1.1.2)."""
        return self.image_type[:1] == ("DERIVED",)


def number_in(text: str) -> float | None:
    """The finite number that a text begins with ("75%" is 75), None where it begins with none."""
    match = re.match(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)", text)
    number = float(match[1]) if match else math.inf
    return number if math.isfinite(number) else None


def _unit(vector: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    array = np.asarray(vector, dtype=np.float64)
    return array / np.linalg.norm(array)


def named(planes: Iterable[Plane]) -> str:
    """Names of images for an administrator: "instances 1-4, 7" or "frames 2, 3 of instance 1"."""
    return named_frames(plane.source for plane in planes)


def named_frames(sources: Iterable[SourceFrame]) -> str:
    """As `named`.

    An image without an Instance Number is named by its SOP Instance UID, else by its file.
    """
    frames = sorted(sources, key=lambda f: (f.path, f.frame_number or 0))
    single = [f for f in frames if f.frame_number is None]
    parts = [_instances(single)] if single else []
    for _, group in groupby((f for f in frames if f.frame_number), key=lambda f: f.path):
        of_instance = list(group)
        numbers = [f.frame_number for f in of_instance if f.frame_number]
        parts.append(f"{counted('frame', numbers)} of {_instances(of_instance[:1])}")
    return _shortened(parts, "; ")


def _instances(frames: Sequence[SourceFrame]) -> str:
    numbers = [f.instance_number for f in frames if f.instance_number is not None]
    others = [f.sop_instance_uid or f.path.name for f in frames if f.instance_number is None]
    parts = [counted("instance", numbers)] if numbers else []
    if others:
        noun = "instances" if len(others) > 1 else "an instance"
        parts.append(f"{noun} without a number ({_shortened(others)})")
    return " and ".join(parts)


def sentence_begin(text: str) -> str:
    """`text` with a capital, nothing else of it changed."""
    return text[:1].upper() + text[1:]


def counted(noun: str, numbers: Sequence[int]) -> str:
    """The noun, in the plural for several, and its numbers as ranges: "frames 2, 3"."""
    return f"{noun}{'s' if len(set(numbers)) > 1 else ''} {ranges(numbers)}"


def ranges(numbers: Iterable[int]) -> str:
    """Numbers in rising order, runs of three and more drawn together: "1-4, 7"."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    texts: list[str] = []
    for run in runs:
        texts += [f"{run[0]}-{run[-1]}"] if len(run) > 2 else [str(number) for number in run]
    return _shortened(texts)


def _shortened(texts: Sequence[str], separator: str = ", ") -> str:
    """The first texts joined, and the count of the others."""
    listed = separator.join(texts[:_MOST_RANGES])
    left = len(texts) - _MOST_RANGES
    return f"{listed} and {left} more" if left > 0 else listed
