"""Names and colours of a label map's values, as viewers read them.

In the NIfTI itself as Connectome Workbench's label table, which TotalSegmentator writes too and
3D Slicer reads; beside it as ITK-SNAP's label descriptions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

#: Of the extension in the header: 0 is "unknown", which is what others write (nifti1.h)
EXTENSION_CODE = 0

Rgb = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""


@dataclass(frozen=True)
class LabelName:
    """What a `value` of a label map stands for: its `name`, and the colour to show it in."""

    value: int
    name: str
    rgb: Rgb


def label_table(names: Sequence[LabelName]) -> bytes:
    """The content of the header's extension: a CaretExtension with a LabelTable, UTF-8."""
    root = ElementTree.Element("CaretExtension")
    volume = ElementTree.SubElement(root, "VolumeInformation", Index="0")
    table = ElementTree.SubElement(volume, "LabelTable")
    for name in names:
        red, green, blue = (f"{channel / 255:.6g}" for channel in name.rgb)
        label = ElementTree.SubElement(
            table, "Label", Key=str(name.value), Red=red, Green=green, Blue=blue, Alpha="1"
        )
        label.text = name.name
    ElementTree.SubElement(volume, "StudyMetaDataLinkSet")
    ElementTree.SubElement(volume, "VolumeType").text = "Label"
    content: bytes = ElementTree.tostring(root, encoding="UTF-8", xml_declaration=True)
    return content


def label_descriptions(names: Sequence[LabelName]) -> str:
    """A file that ITK-SNAP takes under "Import label descriptions"."""
    lines = ["# ITK-SNAP label descriptions: value, red, green, blue, alpha, visible, mesh, name"]
    lines += [_description(LabelName(0, "Clear Label", (0, 0, 0)), shown=0)]
    lines += [_description(name, shown=1) for name in names]
    return "\n".join(lines) + "\n"


def _description(name: LabelName, shown: int) -> str:
    red, green, blue = name.rgb
    text = " ".join(name.name.replace('"', "'").split())
    colour = f"{red:5d} {green:4d} {blue:4d}"
    return f'{name.value:5d} {colour} {shown:8d} {shown:2d} {shown:2d}    "{text}"'
