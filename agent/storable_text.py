"""What is said from outside, as text that can be kept: a model may say any character, a record may
not hold all.
"""

from __future__ import annotations

INSTEAD = "\N{REPLACEMENT CHARACTER}"


def storable(text: str) -> str:
    """`text` with NUL, which PostgreSQL has not, and halves of surrogate pairs, which UTF-8 has
    not, replaced by U+FFFD.
    """
    whole = text.replace("\0", INSTEAD)
    return whole.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
