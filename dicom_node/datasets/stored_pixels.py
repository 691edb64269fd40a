"""The stored values of a slice or of frames, before rescale and with the right sign."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_fragments, generate_frames, parse_basic_offsets
from pydicom.pixels.utils import iter_pixels

from dicom_node.datasets.attribute_values import integer, shown_term, term
from dicom_node.datasets.codecs import plugin_of
from dicom_node.datasets.codestreams import BEGINNINGS, Codestream, reader_of
from dicom_node.errors import UndecodablePixels, UnusableValue
from dicom_node.reading_errors import parsing

_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_ALLOCATED = frozenset({1, 8, 16, 32, 64})
_GREY = frozenset({"", "MONOCHROME1", "MONOCHROME2"})  # type 1, but files without it are grey
_COLOURS = frozenset(
    {"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "YBR_PARTIAL_420", "YBR_PARTIAL_422"}
)
# Of JPEG and JPEG-LS; entropy-coded data cannot contain it. Encoders may pad after it.
_END_OF_IMAGE, _MOST_PADDING_BYTES = b"\xff\xd9", 16


@dataclass(frozen=True)
class PixelFormat:
    """How a grey pixel is stored (PS3.3 C.7.6.3).

    `rows` and `columns` of a frame, bits, sign; `inverted` for MONOCHROME1.
    """

    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    inverted: bool


def grey_format(ds: Dataset, shape: tuple[int, int]) -> PixelFormat:
    """The format of a slice of `shape` (rows, columns).

    UnusableValue for colours and for what no decoder could use, UndecodablePixels for a file
    without pixel data.
    """
    _pixels_of(ds)
    refuse_colour(term(ds, "PhotometricInterpretation"), integer(ds, "SamplesPerPixel"))
    form, high = _format(ds, shape), integer(ds, "HighBit")
    if high not in {None, form.bits_stored - 1}:
        raise UnusableValue("High Bit", f"is {high} with {form.bits_stored} Bits Stored")
    return form


def _format(ds: Dataset, shape: tuple[int, int]) -> PixelFormat:
    allocated = integer(ds, "BitsAllocated")
    if allocated not in _ALLOCATED:
        problem = "is missing" if allocated is None else f"is {allocated}"
        raise UnusableValue("Bits Allocated", f"{problem}: pixels have 8, 16 or 32 bits")
    stored = integer(ds, "BitsStored") or allocated
    if not 1 <= stored <= allocated:
        raise UnusableValue("Bits Stored", f"is {stored} with {allocated} Bits Allocated")
    sign = integer(ds, "PixelRepresentation") or 0
    if sign not in {0, 1}:
        raise UnusableValue("Pixel Representation", f"is {sign}: it is 0 (unsigned) or 1 (signed)")
    inverted = term(ds, "PhotometricInterpretation") == "MONOCHROME1"
    return PixelFormat(*shape, allocated, stored, bool(sign), inverted)


def refuse_colour(photometric_interpretation: str, samples: int | None) -> None:
    """UnusableValue for anything but grey.

    Palette indices, RGB and the rest are no measured quantity.
    """
    advice = "A volume is made of grey values only: send the grey images that these were made of."
    if photometric_interpretation not in _GREY:
        name = shown_term(photometric_interpretation)
        raise UnusableValue("Photometric Interpretation", f"is {name}, which is no grey", advice)
    if samples not in {None, 1}:
        raise UnusableValue("Samples per Pixel", f"is {samples}, which is no grey", advice)


def stored_frames(
    ds: Dataset, form: PixelFormat, frames: int, indices: Sequence[int]
) -> Iterator[NDArray[np.generic]]:
    """Stored values (rows, columns) of the frames at `indices` (zero-based, rising), of `frames`.

    Raises UndecodablePixels, which says what is wrong with the pixel data.
    """
    keyword = _pixels_of(ds)
    if ds.file_meta.TransferSyntaxUID.is_encapsulated and keyword == "PixelData":
        source = _encapsulated(ds, form, frames, indices)
        plugin = plugin_of(source.file_meta.TransferSyntaxUID)
        yield from iter_pixels(source, raw=True, decoding_plugin=plugin)
        return
    source = _source(ds, form, frames)
    raw = ds.get_item(keyword)
    vr = raw.VR if isinstance(raw, RawDataElement) and raw.VR else "OW"
    source.add_new(keyword, vr, _native(ds, keyword, form, frames))
    yield from iter_pixels(source, indices=None if len(indices) == frames else indices, raw=True)


def _native(ds: Dataset, keyword: str, form: PixelFormat, frames: int) -> bytes:
    """Uncompressed pixel data; UndecodablePixels if it is shorter than its frames."""
    element = ds.get_item(keyword)
    value = bytes(element.value or b"") if element is not None else b""
    expected = form.rows * form.columns * frames * form.bits_allocated // 8
    if len(value) < expected:
        raise UndecodablePixels(f"it ends after {len(value)} of {expected} bytes")
    return value


def make_decodable(ds: Dataset, shape: tuple[int, int]) -> None:
    """Check and correct in `ds` the pixel attributes of a single image of `shape`, grey or colour.

    UnusableValue names what no decoder could use, UndecodablePixels says what is wrong with the
    pixel data.
    """
    keyword = _pixels_of(ds)
    samples = integer(ds, "SamplesPerPixel") or 1
    form = _format(ds, shape)
    for name, number in (
        ("SamplesPerPixel", samples),
        ("Rows", form.rows),
        ("Columns", form.columns),
        ("BitsAllocated", form.bits_allocated),
        ("BitsStored", form.bits_stored),
        ("HighBit", form.bits_stored - 1),
        ("PixelRepresentation", int(form.signed)),
        ("PlanarConfiguration", integer(ds, "PlanarConfiguration") or 0),
    ):
        ds.add_new(name, "US", number)
    ds.add_new("PhotometricInterpretation", "CS", _photometric(ds, samples))
    ds.add_new("NumberOfFrames", "IS", "1")
    if keyword != "PixelData":
        return
    if not ds.file_meta.TransferSyntaxUID.is_encapsulated:
        _native(ds, keyword, form, 1)
        return
    (frame, *_) = compressed_frames(ds, 1)
    read = reader_of(ds.file_meta.TransferSyntaxUID)
    if read is not None:
        stream = checked(read(frame), shape, samples)
        ds.PixelData = encapsulate([stream.frame])
        ds.PixelRepresentation = int(form.signed or bool(stream.signed))


def _photometric(ds: Dataset, samples: int) -> str:
    photometric = term(ds, "PhotometricInterpretation") or ("MONOCHROME2" if samples == 1 else "")
    if photometric not in (_GREY if samples == 1 else _COLOURS) | {"PALETTE COLOR"}:
        problem = f"is {shown_term(photometric)}" if photometric else "is missing"
        raise UnusableValue(
            "Photometric Interpretation", f"{problem} with {samples} Samples per Pixel"
        )
    return photometric


def compressed_frames(ds: Dataset, frames: int) -> list[bytes]:
    """The frames of encapsulated pixel data, whatever their fragments.

    UndecodablePixels where there are fewer.
    """
    extended = None
    if "ExtendedOffsetTable" in ds and "ExtendedOffsetTableLengths" in ds:
        extended = (ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths)
    with parsing(UndecodablePixels, "its fragments cannot be told apart"):
        coded = reader_of(ds.file_meta.TransferSyntaxUID) is not None
        compressed = _by_beginning(ds.PixelData) if coded else []
        if len(compressed) != frames:
            compressed = list(
                generate_frames(ds.PixelData, number_of_frames=frames, extended_offsets=extended)
            )
    if len(compressed) < frames:
        raise UndecodablePixels(f"it holds {len(compressed)} of {frames} frames")
    return compressed


def _by_beginning(encapsulated: bytes) -> list[bytes]:
    """Frames without an offset table: each begins with the marker of its format."""
    source = BytesIO(encapsulated)
    parse_basic_offsets(source)
    frames: list[list[bytes]] = []
    for fragment in generate_fragments(source):
        if fragment.startswith(BEGINNINGS) or not frames:
            frames.append([])
        frames[-1].append(fragment)
    return [b"".join(fragments) for fragments in frames]


def checked(stream: Codestream, shape: tuple[int, int], samples: int) -> Codestream:
    """The codestream; UndecodablePixels if it is not of `shape` (rows, columns) or breaks off."""
    if (stream.rows, stream.columns) != shape:
        raise UndecodablePixels(
            f"a compressed frame has {stream.rows} x {stream.columns} pixels instead of {shape[0]} "
            f"x {shape[1]}"
        )
    if stream.components != samples:
        raise UndecodablePixels(
            f"a compressed frame has {stream.components} samples a pixel instead of {samples}"
        )
    # decoders of JPEG 2000 notice that something is missing; the others fill it
    padded = stream.whole or _END_OF_IMAGE in stream.frame[-_MOST_PADDING_BYTES:]
    if not padded and stream.signed is None:
        raise UndecodablePixels("a compressed frame breaks off before its end")
    return stream


def _pixels_of(ds: Dataset) -> str:
    keyword = next((keyword for keyword in _PIXELS if keyword in ds), None)
    if keyword is None:
        raise UndecodablePixels("the file ends before its pixel data")
    return keyword


def _source(ds: Dataset, form: PixelFormat, frames: int) -> Dataset:
    """The data set for the decoder: the attributes that were checked, nothing else of the file."""
    source = Dataset()
    source.file_meta = FileMetaDataset()
    source.file_meta.TransferSyntaxUID = ds.file_meta.TransferSyntaxUID
    source.SamplesPerPixel, source.PhotometricInterpretation = 1, "MONOCHROME2"
    source.Rows, source.Columns, source.NumberOfFrames = form.rows, form.columns, frames
    source.BitsAllocated, source.BitsStored = form.bits_allocated, form.bits_stored
    source.HighBit, source.PixelRepresentation = form.bits_stored - 1, int(form.signed)
    return source


def _encapsulated(ds: Dataset, form: PixelFormat, frames: int, indices: Sequence[int]) -> Dataset:
    """A source of the frames at `indices` alone, each cut behind its end marker."""
    all_frames = compressed_frames(ds, frames)
    selected = [all_frames[index] for index in indices]
    source = _source(ds, form, len(selected))
    read = reader_of(ds.file_meta.TransferSyntaxUID)
    if read is not None:
        streams = [checked(read(frame), (form.rows, form.columns), 1) for frame in selected]
        selected = [stream.frame for stream in streams]
        # encoders drop the sign more often than they invent one: a signed codestream counts
        if any(stream.signed for stream in streams):
            source.PixelRepresentation = 1
    source.PixelData = encapsulate(selected)
    source["PixelData"].VR = "OB"
    source["PixelData"].is_undefined_length = True
    return source
