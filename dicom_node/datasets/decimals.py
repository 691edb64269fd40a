"""Numbers as DICOM writes them in text (DS and IS, PS3.5 table 6.2-1), and common deviations."""

from __future__ import annotations

import math
import re

# Python's float() also takes "nan", "1_000", and the digits of every script
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def decimal_of(text: str) -> float | None:
    """The finite number that `text` is, None where it is none.

    A lone comma is a decimal point, as in "0,977". Illegal texts of more than 16 characters are
    read, too.
    """
    plain = text.strip(" \0")
    if plain.count(",") == 1 and "." not in plain:
        plain = plain.replace(",", ".")
    if not _DECIMAL.fullmatch(plain):
        return None
    number = float(plain)
    return number if math.isfinite(number) else None
