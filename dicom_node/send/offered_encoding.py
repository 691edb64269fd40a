"""The encoding of segmentations that a destination is offered first, and what comes of it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from dicom_node.errors import ResultMismatch
from dicom_node.result_kinds import SegmentationEncoding
from dicom_node.results.labelmap import LABELMAP_STORAGE, TRANSFER_SYNTAX, as_labelmap
from dicom_node.values import ResultKind, WrittenResult

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OfferedEncoding:
    """`encoding` for the destination called `destination`; BINARY is always the last resort."""

    destination: str
    encoding: SegmentationEncoding

    def contexts(self, kinds: Collection[ResultKind]) -> list[tuple[str, str]]:
        """SOP class and transfer syntax to propose for results of `kinds`, beside BINARY's."""
        if self.encoding is SegmentationEncoding.BINARY or ResultKind.SEG not in kinds:
            return []
        return [(LABELMAP_STORAGE, str(TRANSFER_SYNTAX[self.encoding]))]

    def labelmaps(
        self, results: Sequence[WrittenResult], folder: Path
    ) -> tuple[WrittenResult, ...]:
        """The results with a label map, in `folder`; none where there is none to make."""
        if not self.contexts([result.kind for result in results]):
            return ()
        try:
            return as_labelmap(results, self.encoding, folder)
        except ResultMismatch as mismatch:
            _log.error("no label map for %s: %s", self.destination, mismatch)
            return ()

    def how(self, results: Sequence[WrittenResult], *, made: bool, taken: bool) -> str:
        """How the segmentation went, in words for the record; "" where BINARY was meant."""
        if not self.contexts([result.kind for result in results]):
            return ""
        if made and taken:
            return f"as {self.encoding}"
        if not made:
            return "as binary: no label map says the same"
        syntax = TRANSFER_SYNTAX[self.encoding].name
        why = f"as binary: it takes no Label Map Segmentation as {syntax}"
        _log.warning("%s was sent a segmentation %s", self.destination, why)
        return why
