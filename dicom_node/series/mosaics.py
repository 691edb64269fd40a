"""Mosaics: slices tiled into one classic MR image with one position (Siemens EPI)."""

from __future__ import annotations

from collections.abc import Sequence

from dicom_node.errors import NotAVolume
from dicom_node.series.multiframe import named_headers
from dicom_node.sop_classes import SINGLE_FRAME_VOLUMES
from dicom_node.values import InstanceHeader


def is_mosaic(header: InstanceHeader) -> bool:
    """Whether an image is tiled.

    Enhanced objects are not, even if their Image Type still says so: they have a slice a frame.
    """
    return (
        header.sop_class_uid in SINGLE_FRAME_VOLUMES
        and header.number_of_frames == 1
        and "MOSAIC" in {value.upper() for value in header.image_type}
    )


def without_mosaics(
    headers: Sequence[InstanceHeader],
) -> tuple[list[InstanceHeader], tuple[str, ...]]:
    """What is no mosaic, and a sentence for those left out; NotAVolume where all of them are."""
    mosaics = [header for header in headers if is_mosaic(header)]
    if not mosaics:
        return list(headers), ()
    names = named_headers(mosaics)
    if len(mosaics) == len(headers):
        raise NotAVolume(
            f"Each image is a mosaic of many slices tiled side by side ({names}; Image Type says "
            "MOSAIC), so that no slice has "
            "a place of its own. Send the series untiled: as enhanced MR, or as single slices."
        )
    return [h for h in headers if not is_mosaic(h)], (
        f"Left out as mosaics, many slices tiled in one image: {names}.",
    )
