"""How large an image may be, checked before allocation: a header can promise any size."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

from dicom_node.errors import NotAVolume
from dicom_node.series.multiframe import source_of
from dicom_node.series.plane import Plane, named, named_frames
from dicom_node.values import InstanceHeader

# Voxels of a volume. 2,000 slices of 512 x 512 have half as many; each takes 4 bytes as intensity,
# and 1 for a mask.
MOST_VOXELS = 1_000_000_000
# Pixels of a single image, each of which takes 40 bytes during the grey value transformations.
# Mammograms have 20 million.
MOST_PIXELS = 100_000_000


def refuse_large_image(header: InstanceHeader) -> None:
    """NotAVolume for a single image of more than MOST_PIXELS."""
    pixels = (header.rows or 0) * (header.columns or 0)
    if pixels > MOST_PIXELS:
        raise NotAVolume(
            f"Rows and Columns of {named_frames([source_of(header)])} make {pixels:,} pixels, more "
            "than the "
            f"{MOST_PIXELS:,} that a picture may have. Send it smaller."
        )


def refuse_beyond_budget(planes: Iterable[Plane]) -> None:
    """NotAVolume for slices that are together more than MOST_VOXELS."""
    listed = list(planes)
    voxels = sum(prod(plane.shape) for plane in listed)
    if voxels > MOST_VOXELS:
        raise NotAVolume(
            f"Rows and Columns of {named(listed)} make {voxels:,} voxels, more than the "
            f"{MOST_VOXELS:,} that a volume may "
            "have. Send a reconstruction with fewer or smaller slices."
        )
