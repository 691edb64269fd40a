"""What the side-car of a label map says of a target: code, colour, and how it ended."""

from __future__ import annotations

from agent.values import Target
from dicom_node.values import Code
from models.images.writers import LabelledStructure
from server.rules.catalogue import Catalogue
from server.study.preview import rgb_of_cielab
from server.values import TargetSummary


def label_details(
    target: Target, summary: TargetSummary, catalogue: Catalogue
) -> LabelledStructure:
    """A target as its side-car names it, whether it was segmented or not."""
    structure = catalogue.structure(target)
    return LabelledStructure(
        summary.text,
        rgb_of_cielab(structure.cielab),
        {
            "label": structure.label,
            "category": _code(structure.category),
            "type": _code(structure.type),
            "type_modifier": _code(structure.laterality),
            "status": summary.status,
            "reason": summary.reason,
            "confidence": summary.confidence,
            "warnings": list(summary.warnings),
        },
    )


def _code(code: Code | None) -> dict[str, str] | None:
    """A coded concept by the names of PS3.3 table 8.8-1."""
    if code is None:
        return None
    return {
        "CodeValue": code.value,
        "CodingSchemeDesignator": code.scheme,
        "CodeMeaning": code.meaning,
    }
