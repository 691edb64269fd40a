"""Text from outside made storable: a model may write any character, a record cannot hold all."""

from __future__ import annotations

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def storable(text: str) -> str:
    """`text` with U+FFFD for NUL, which PostgreSQL cannot hold, and for halves of surrogate pairs,
    which UTF-8 cannot.
    """
    without_nul = text.replace("\0", REPLACEMENT)
    return without_nul.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
