"""Where a slice shows nothing: Pixel Padding Value and its range (PS3.3 C.7.5.1.1.2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node.datasets.attribute_values import integer
from dicom_node.errors import UnusableValue


@dataclass(frozen=True)
class Padding:
    """Stored values that are no image: between the two `ends`, in any order and sign.

    `ends` is None where all values are image. `unusable` says what is wrong with an attribute that
    was ignored.
    """

    ends: tuple[int, int] | None = None
    unusable: str = ""

    @classmethod
    def of(cls, ds: Dataset, bits_allocated: int) -> Padding:
        """Read from `ds`; values that are empty, unusable or too large for a pixel are ignored."""
        first, problem = _usable(ds, "PixelPaddingValue", bits_allocated)
        if first is None:
            return cls(unusable=problem)
        last, problem = _usable(ds, "PixelPaddingRangeLimit", bits_allocated)
        return cls((first, first if last is None else last), problem)

    def mask(self, stored: NDArray[np.generic], unused_bits: int) -> NDArray[np.bool_]:
        """Where `stored` is no image.

        Files write the ends as signed or unsigned numbers. Cast to the pixels' type they wrap round
        (0xFFFF and -1 are one pattern); shifting up and down by `unused_bits` then cuts them to the
        stored bits, with the sign, as the pixels were cut.
        """
        if self.ends is None or not np.issubdtype(stored.dtype, np.integer):
            return np.zeros(stored.shape, dtype=bool)
        ends = (np.array(self.ends).astype(stored.dtype) << unused_bits) >> unused_bits
        return np.asarray((stored >= ends.min()) & (stored <= ends.max()))


def _usable(ds: Dataset, keyword: str, bits_allocated: int) -> tuple[int | None, str]:
    """The number, or why there is none (several values have no single meaning)."""
    try:
        number = integer(ds, keyword)
    except UnusableValue as error:
        return None, f"{error.attribute} {error.problem}"
    if number is not None and not -(1 << (bits_allocated - 1)) <= number < 1 << bits_allocated:
        return None, f"Pixel Padding of {number} is more than {bits_allocated} bits hold"
    return number, ""
