"""The kinds of results, by themselves: settings name them without loading arrays."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class ResultKind(StrEnum):
    """The kinds of result objects, in the order in which a request writes them."""

    SEG = "SEG"
    SR = "SR"
    DIAMETERS = "DIAMETERS"
    RTSTRUCT = "RTSTRUCT"


SOP_CLASSES: Mapping[ResultKind, str] = {
    ResultKind.SEG: "1.2.840.10008.5.1.4.1.1.66.4",  # Segmentation Storage
    ResultKind.SR: "1.2.840.10008.5.1.4.1.1.88.22",  # Enhanced SR Storage
    ResultKind.DIAMETERS: "1.2.840.10008.5.1.4.1.1.88.22",  # Enhanced SR Storage
    ResultKind.RTSTRUCT: "1.2.840.10008.5.1.4.1.1.481.3",  # RT Structure Set Storage
}
"""The SOP class of the objects of each kind (PS3.4 table B.5-1)."""

DEFAULT_KINDS: tuple[ResultKind, ...] = (ResultKind.SEG, ResultKind.SR)
"""What a destination gets that names no kinds; every other kind is made where one asks for it."""


class SegmentationEncoding(StrEnum):
    """How a SEG holds its voxels: a bit each and segment (every destination takes that), or one
    number each that says the segment, plain or compressed without loss.
    """

    BINARY = "binary"
    LABELMAP = "labelmap"
    LABELMAP_RLE = "labelmap_rle"
    LABELMAP_JPEGLS = "labelmap_jpegls"
