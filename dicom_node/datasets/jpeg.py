"""JPEG (ITU-T T.81) with libjpeg-turbo: baseline, extended and lossless, 2 to 16 bits a sample.

A decoder plugin as pydicom wants one. libjpeg-turbo refuses broken headers, but fills what is
missing of the coded data and skips what it cannot read, and nobody is told: so that a damaged slice
is not taken for a sound one, a frame is decoded again with other bytes where none should matter,
and with other bytes where all should.
"""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels.decoders.base import DecodeRunner
from pydicom.uid import (
    UID,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
)

#: As pydicom asks for it: what has to be installed for each transfer syntax.
DECODER_DEPENDENCIES: dict[UID, tuple[str, ...]] = {
    JPEGBaseline8Bit: ("imagecodecs",),
    JPEGExtended12Bit: ("imagecodecs",),
    JPEGLossless: ("imagecodecs",),
    JPEGLosslessSV1: ("imagecodecs",),
}

_END_OF_IMAGE = b"\xff\xd9"
# Entropy-coded bytes without a marker among them; more than a decoder reads ahead
_BEHIND = b"\x2a\x95" * 512
# So many bytes before the end cannot all be padding of the last byte
_LAST_BYTES = 4


def is_available(uid: str) -> bool:
    """Whether frames of a transfer syntax are decoded here."""
    return uid in DECODER_DEPENDENCIES and find_spec("imagecodecs") is not None


def decode_frame(frame: bytes, runner: DecodeRunner) -> bytes:
    """The samples of a frame, little endian in Bits Allocated, in the colours it is coded in.

    ValueError for more bits than are allocated, and for coded data that ends too early or
    goes on behind its last sample; whatever imagecodecs raises for the rest.
    """
    coded_as_ybr = "YBR" in str(runner.photometric_interpretation)
    colours = None if runner.samples_per_pixel == 1 else "YCBCR" if coded_as_ybr else "RGB"
    samples = _decoded(frame, colours)
    allocated = runner.bits_allocated
    if samples.dtype.itemsize * 8 > allocated:
        raise ValueError(
            f"a compressed frame has more bits a sample than the {allocated} Bits Allocated"
        )
    _refuse_damage(frame, colours, samples)
    return samples.astype(f"<u{allocated // 8}", copy=False).tobytes()


def _decoded(frame: bytes, colours: str | None) -> NDArray[np.generic]:
    import imagecodecs  # only where a frame of JPEG is met

    samples: NDArray[np.generic] = imagecodecs.jpeg8_decode(
        frame, colorspace=colours, outcolorspace=colours
    )
    return samples


def _refuse_damage(frame: bytes, colours: str | None, samples: NDArray[np.generic]) -> None:
    """ValueError if the coded data of a whole frame does not fit its number of samples."""
    end = frame.rfind(_END_OF_IMAGE)
    if end < 0:
        raise ValueError("a compressed frame breaks off before its end")
    data = frame[:end].rstrip(b"\xff")  # any marker may be preceded by these (T.81 B.1.1.2)
    longer = _decoded(data + _BEHIND + _END_OF_IMAGE, colours)
    if not np.array_equal(longer, samples):
        raise ValueError("the coded data of a frame ends before its last sample")
    last = bytes(byte ^ (0x55 if byte != 0xAA else 0x54) for byte in data[-_LAST_BYTES:])
    if np.array_equal(_decoded(data[:-_LAST_BYTES] + last + _END_OF_IMAGE, colours), samples):
        raise ValueError("the coded data of a frame goes on behind its last sample")
