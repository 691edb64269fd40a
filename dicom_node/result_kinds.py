"""The kinds of results, by themselves: settings name them without loading arrays."""

from __future__ import annotations

from enum import StrEnum


class ResultKind(StrEnum):
    """The kinds of result objects, in the order in which a request writes them."""

    SEG = "SEG"
    SR = "SR"
