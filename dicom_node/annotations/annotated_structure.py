"""A structure that a reader, or a program, drew in a series."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dicom_node.values import Code


@dataclass(frozen=True, eq=False)
class AnnotatedStructure:
    """`voxels` (z, y, x) bool on the grid of the series; `label` as its maker called it.

    `type` and `laterality` are its codes where it has them; `automatic` says that an algorithm drew
    it alone. `fault` says in a sentence why the voxels are not what was drawn: nothing may then be
    learnt from them.
    """

    label: str
    voxels: NDArray[np.bool_]
    type: Code | None = None
    laterality: Code | None = None
    automatic: bool = False
    fault: str = ""


@dataclass(frozen=True)
class AnnotationHeader:
    """What a SEG or RTSTRUCT belongs to: the series it was drawn on, empty where it names none or
    several; its frame of reference; whether we made it.
    """

    sop_instance_uid: str
    series_instance_uid: str
    frame_of_reference_uid: str
    by_segnode: bool = False
