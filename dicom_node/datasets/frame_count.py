"""How many frames the pixel data of a file can hold.

Number of Frames is a promise; the bytes are what is there.
"""

from __future__ import annotations

from dicom_node.datasets.element_values import ElementValues, NoValue
from dicom_node.elements import PixelBytes

# PS3.5 A.4.5-A.4.9, A.4.3: MPEG and HEVC streams, JPEG 2000 multi-component: many frames in one
# fragment
_SEVERAL_IN_A_FRAGMENT = (
    "1.2.840.10008.1.2.4.92",
    "1.2.840.10008.1.2.4.93",
    "1.2.840.10008.1.2.4.10",
)


def frames_that_fit(
    pixels: PixelBytes | None, values: ElementValues, transfer_syntax_uid: str
) -> int:
    """The most frames that so many bytes can be.

    A frame of encapsulated pixel data takes at least a fragment (PS3.5 A.4).
    """
    if pixels is None:
        return 0
    if pixels.fragments is not None:
        several = transfer_syntax_uid.startswith(_SEVERAL_IN_A_FRAGMENT)
        # the first fragment is the offset table
        return pixels.length_bytes if several else max(pixels.fragments - 1, 0)
    return 8 * pixels.length_bytes // max(_frame_bits(values), 1)


def _frame_bits(values: ElementValues) -> int:
    """Bits of a native frame; 1 where the header does not say (PS3.3 C.7.6.3)."""
    sizes = [_size(values, keyword) for keyword in ("Rows", "Columns", "SamplesPerPixel")]
    bits = sizes[0] * sizes[1] * sizes[2] * _size(values, "BitsAllocated")
    # of three samples, chrominance may be there for every second or fourth pixel (PS3.3
    # C.7.6.3.1.2)
    return bits // 2 if sizes[2] > 1 else bits


def _size(values: ElementValues, keyword: str) -> int:
    try:
        return max(values.integer(keyword) or 1, 1)
    except NoValue:
        return 1
