"""Numbers on pictures in a bitmap font of 5 by 7, the same on every machine.

Pillow would not do: the digits of its bitmap font touch each other, and its scalable font has other
pixels in other versions, which would change the digests of pictures.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

HEIGHT = 7
"""Rows of a character before enlargement."""

GLYPHS: Mapping[str, tuple[str, ...]] = {
    "0": (" ### ", "#   #", "#  ##", "# # #", "##  #", "#   #", " ### "),
    "1": ("  #  ", " ##  ", "  #  ", "  #  ", "  #  ", "  #  ", " ### "),
    "2": (" ### ", "#   #", "    #", "   # ", "  #  ", " #   ", "#####"),
    "3": ("#####", "   # ", "  #  ", "   # ", "    #", "#   #", " ### "),
    "4": ("   # ", "  ## ", " # # ", "#  # ", "#####", "   # ", "   # "),
    "5": ("#####", "#    ", "#### ", "    #", "    #", "#   #", " ### "),
    "6": ("  ## ", " #   ", "#    ", "#### ", "#   #", "#   #", " ### "),
    "7": ("#####", "    #", "   # ", "  #  ", " #   ", " #   ", " #   "),
    "8": (" ### ", "#   #", "#   #", " ### ", "#   #", "#   #", " ### "),
    "9": (" ### ", "#   #", "#   #", " ####", "    #", "   # ", " ##  "),
    "m": ("     ", "     ", "## # ", "# # #", "# # #", "# # #", "# # #"),
    " ": ("     ", "     ", "     ", "     ", "     ", "     ", "     "),
}
"""Rows from the top, "#" for ink."""


def lettered(text: str, scale: int) -> NDArray[np.bool_]:
    """`text` as ink (7 * scale, width) bool, a column apart; KeyError without a glyph for it."""
    gap = np.zeros((HEIGHT, 1), dtype=np.bool_)
    columns = [gap]
    for character in text:
        rows = [[ink == "#" for ink in row] for row in GLYPHS[character]]
        columns += [np.array(rows, dtype=np.bool_), gap]
    return np.kron(np.hstack(columns), np.ones((scale, scale), dtype=np.bool_))


def write(
    pixels: NDArray[np.uint8], text: str, left: int, top: int, *, scale: int
) -> tuple[int, int]:
    """Write white on a black field into `pixels` (rows, columns, 3), in place, cut off at the
    picture's edge. Returns the field's uncut (width, height).
    """
    ink = np.pad(lettered(text, scale), ((scale, scale), (0, 0)))
    field = pixels[top : top + ink.shape[0], left : left + ink.shape[1]]
    field[:] = np.where(ink[: field.shape[0], : field.shape[1], None], 255, 0)
    return ink.shape[1], ink.shape[0]
