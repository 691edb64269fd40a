"""Of a data set, what readers corrected: truths that were made from a mask of ours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from agent.case import Case


def corrections_of(cases: Iterable[Case]) -> Iterator[Case]:
    """Those of the cases in which a mask was corrected, each with the truths of such alone."""
    for case in cases:
        corrected = tuple(truth for truth in case.truths if truth.corrected_from is not None)
        if corrected:
            yield replace(case, truths=corrected)
