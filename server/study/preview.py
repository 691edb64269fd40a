"""A picture a person can judge: axial slices with contours, legend, scale, sides.

Drawn from the source grid and the masks that were written, not from the working grid, so what is
wrong on the way back to the source would show here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from textwrap import wrap

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from agent.values import Volume
from dicom_node.values import ResultSegment
from dicom_node.voxels import Voxels
from server.files import write_file
from server.values import whole_ml

TILE_PX = 360
COLUMNS = 3
MAX_TILES = 6
LEGEND_PX = 210
_LINE_PX, _LINE_LETTERS = 14, 27  # of the legend's small font, right of the coloured squares
SCALE_BAR_MM = 50.0
CT_WINDOW_HU = (-160.0, 240.0)  # level 40, width 400: soft tissue
BACKGROUND, INK, DIM = (12, 14, 18), (235, 238, 242), (150, 158, 168)

SHORTER_BARS_MM = (20.0, 10.0, 5.0, 2.0, 1.0)  # for pictures of small things

Rgb = tuple[int, int, int]


class Sizes(StrEnum):
    """What can be said of how large something is: of a volume, of a picture, of one of unknown
    scale.
    """

    MILLILITRES = "ml"
    SQUARE_MM = "mm2"
    PIXELS = "px"


@dataclass(frozen=True, eq=False)
class AxialView:
    """A volume turned to be looked at: slices from the feet up, rows front to back, columns right
    to left.

    `spacing_mm` (z, y, x), `colour` (z, y, x, 3) RGB if there is any; made by permuting and
    flipping axes only.
    """

    grey: NDArray[np.float32]
    colour: NDArray[np.uint8] | None
    masks: tuple[Voxels, ...]
    spacing_mm: tuple[float, float, float]


def draw_preview(
    path: Path,
    volume: Volume,
    segments: Sequence[ResultSegment],
    *,
    title: str,
    sizes: Sizes = Sizes.MILLILITRES,
    undrawn: Sequence[tuple[str, str]] = (),
) -> None:
    """Write the picture as PNG to `path`, whole or not at all, with no more about sizes than
    `sizes` allows. What is in doubt stands under each segment; `undrawn` are the other targets,
    each with how it ended.

    No patient data is drawn.
    """
    view = _axial_view(volume, segments)
    colours = [rgb_of_cielab(segment.cielab) for segment in segments]
    low, high = _window(volume)
    chosen = _telling_slices(view)
    rows = -(-len(chosen) // COLUMNS)
    columns = min(COLUMNS, len(chosen))
    size_texts = [_size_text(segment, volume, sizes) for segment in segments]
    entries = [
        _Entry(segment.label, colour, (text, *_wrapped(segment.doubts)))
        for segment, colour, text in zip(segments, colours, size_texts, strict=True)
    ]
    entries += [_Entry(label, None, _wrapped((how,))) for label, how in undrawn]
    height = 80 + sum(entry.height_px for entry in entries)
    size = (columns * TILE_PX + LEGEND_PX, max(rows * TILE_PX, height))
    sheet = Image.new("RGB", size, BACKGROUND)
    for number, z in enumerate(chosen):
        tile = _tile(view, z, colours, (low, high), sizes)
        sheet.paste(tile, ((number % COLUMNS) * TILE_PX, (number // COLUMNS) * TILE_PX))
    _legend(sheet, columns * TILE_PX, title, entries)
    write_file(path, lambda stream: sheet.save(stream, format="PNG"))


def rgb_of_cielab(cielab: tuple[float, float, float]) -> Rgb:
    """The sRGB values 0..255 of a CIELab colour (D65 white, IEC 61966-2-1), clipped to what a
    screen can show.
    """
    lightness, a, b = cielab
    fy = (lightness + 16.0) / 116.0
    f = np.array([fy + a / 500.0, fy, fy - b / 200.0])
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * (0.95047, 1.0, 1.08883)
    to_linear = np.array(
        [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]]
    )
    linear = np.clip(to_linear @ xyz, 0.0, 1.0)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    red, green, blue = (round(255 * float(value)) for value in srgb)
    return red, green, blue


def _axial_view(volume: Volume, segments: Sequence[ResultSegment]) -> AxialView:
    # direction[i, j]: how far array axis j points along LPS axis i (x to the left, y to the back, z
    # up)
    direction = volume.geometry.affine_zyx_to_lps[:3, :3]
    spacing = np.linalg.norm(direction, axis=0)
    cosines = direction / spacing
    order = _nearest_axes(cosines)
    # whether an axis runs down, to the front or to the right
    z, y, x = (bool(cosines[lps, axis] < 0) for lps, axis in zip((2, 1, 0), order, strict=True))
    flips = tuple(slice(None, None, -1 if reverse else 1) for reverse in (z, y, x))
    return AxialView(
        grey=volume.intensities.transpose(order)[flips],
        colour=None if volume.colour is None else volume.colour.transpose(*order, 3)[flips],
        masks=tuple(segment.voxels.turned(order, (z, y, x)) for segment in segments),
        spacing_mm=(float(spacing[order[0]]), float(spacing[order[1]]), float(spacing[order[2]])),
    )


def _nearest_axes(cosines: NDArray[np.float64]) -> tuple[int, int, int]:
    # the array axis nearest to up, to the back and to the left, each used once
    order: list[int] = []
    for lps in (2, 1, 0):
        free = [axis for axis in range(3) if axis not in order]
        order.append(max(free, key=lambda axis: abs(float(cosines[lps, axis]))))
    return order[0], order[1], order[2]


def _window(volume: Volume) -> tuple[float, float]:
    if volume.modality == "CT":
        return CT_WINDOW_HU
    sample = volume.intensities[:: max(1, len(volume.intensities) // 16)]
    low, high = np.percentile(sample, (1, 99))
    return float(low), float(max(high, low + 1e-6))


def _telling_slices(view: AxialView) -> list[int]:
    # where each structure is largest, then evenly spread ones, in rising order
    largest = [int(mask.areas.argmax()) for mask in view.masks]
    spread = np.linspace(0, len(view.grey) - 1, MAX_TILES + 2)[1:-1].round().astype(int)
    chosen: list[int] = []
    for z in (*largest, *(int(z) for z in spread)):
        if z not in chosen and len(chosen) < MAX_TILES:
            chosen.append(z)
    return sorted(chosen)


def _tile(
    view: AxialView, z: int, colours: Sequence[Rgb], window: tuple[float, float], sizes: Sizes
) -> Image.Image:
    _, row_mm, column_mm = view.spacing_mm
    rows, columns = view.grey.shape[1:]
    px_per_mm = TILE_PX / max(rows * row_mm, columns * column_mm)
    size = (
        max(1, round(columns * column_mm * px_per_mm)),
        max(1, round(rows * row_mm * px_per_mm)),
    )
    picture = Image.fromarray(_grey_levels(view, z, window)).resize(size, Image.Resampling.BILINEAR)
    pixels = np.array(picture.convert("RGB"))
    for mask, colour in zip(view.masks, colours, strict=True):
        inside = np.array(Image.fromarray(mask.plane(z)).resize(size, Image.Resampling.NEAREST))
        pixels[inside & ~ndimage.binary_erosion(inside, iterations=2)] = colour
    tile = Image.new("RGB", (TILE_PX, TILE_PX), BACKGROUND)
    tile.paste(Image.fromarray(pixels), ((TILE_PX - size[0]) // 2, (TILE_PX - size[1]) // 2))
    draw = ImageDraw.Draw(tile)
    if sizes == Sizes.MILLILITRES:
        _place_marks(draw, z, len(view.grey))
    if sizes != Sizes.PIXELS:
        _scale_bar(draw, px_per_mm)
    return tile


def _grey_levels(view: AxialView, z: int, window: tuple[float, float]) -> NDArray[np.uint8]:
    """The slice as pixels: its own colours, or grey through the window."""
    if view.colour is not None:
        return np.ascontiguousarray(view.colour[z])
    low, high = window
    return np.asarray(np.clip((view.grey[z] - low) / (high - low), 0, 1) * 255, dtype=np.uint8)


def _place_marks(draw: ImageDraw.ImageDraw, z: int, count: int) -> None:
    font = ImageFont.load_default(13)
    middle, edge = TILE_PX // 2, TILE_PX - 6
    draw.text((6, 4), f"slice {z + 1} of {count}", INK, font)
    for letter, place, anchor in (
        ("R", (6, middle), "lm"),
        ("L", (edge, middle), "rm"),
        ("A", (middle, 4), "mt"),
        ("P", (middle, edge), "mb"),
    ):
        draw.text(place, letter, DIM, font, anchor=anchor)


def _scale_bar(draw: ImageDraw.ImageDraw, px_per_mm: float) -> None:
    font, top = ImageFont.load_default(13), TILE_PX - 10
    fitting = (mm for mm in (SCALE_BAR_MM, *SHORTER_BARS_MM) if mm * px_per_mm < TILE_PX / 2)
    length_mm = next(fitting, SHORTER_BARS_MM[-1])
    right = 8 + length_mm * px_per_mm
    draw.line([(8, top), (right, top)], INK, 2)
    length_text = f"{length_mm / 10:.0f} cm" if length_mm >= 10 else f"{length_mm:.0f} mm"
    draw.text((right + 6, top), length_text, INK, font, anchor="lm")


def _size_text(segment: ResultSegment, volume: Volume, sizes: Sizes) -> str:
    """How large a segment is, in one line."""
    count = segment.voxels.count
    _, row_mm, column_mm = volume.geometry.spacing_mm
    return {
        Sizes.MILLILITRES: f"{whole_ml(count * volume.geometry.voxel_ml)} ml",
        Sizes.SQUARE_MM: f"{count * row_mm * column_mm:.0f} sq mm",
        Sizes.PIXELS: f"{count} pixels",
    }[sizes]


@dataclass(frozen=True)
class _Entry:
    """What the legend says of a target: its label, its colour if it was drawn, lines below."""

    label: str
    colour: Rgb | None
    lines: tuple[str, ...]

    @property
    def height_px(self) -> int:
        """With the gap to the next one."""
        return 30 + _LINE_PX * len(self.lines)


def _wrapped(sentences: Sequence[str]) -> tuple[str, ...]:
    """Sentences in lines that fit into the legend."""
    return tuple(line for sentence in sentences for line in wrap(sentence, _LINE_LETTERS))


def _legend(sheet: Image.Image, left: int, title: str, entries: Sequence[_Entry]) -> None:
    """The title, then the entries, right of column `left`."""
    draw = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(15), ImageFont.load_default(12)
    draw.text((left + 12, 10), "Segnode", INK, large)
    draw.text((left + 12, 32), title, DIM, small)
    top = 64
    for entry in entries:
        if entry.colour is not None:
            draw.rectangle([left + 12, top + 2, left + 28, top + 18], entry.colour)
        draw.text((left + 38, top), entry.label, INK, large)
        for number, line in enumerate(entry.lines):
            draw.text((left + 38, top + 20 + _LINE_PX * number), line, DIM, small)
        top += entry.height_px
