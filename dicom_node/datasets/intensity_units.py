"""In which unit intensities are, stated only where it is known.

CT without a Rescale Type is in Hounsfield units, which it may leave out (PS3.3 C.8.2.1, Rescale
Type type 1C), unless it is a multi-energy image. All other names stand for another quantity, or are
unspecified (C.11.1.1.2).
"""

from __future__ import annotations

from collections.abc import Mapping

from dicom_node.datasets.attribute_values import shown_term
from dicom_node.errors import UnusableValue
from dicom_node.values import Code

HOUNSFIELD_UNIT = Code("[hnsf'U]", "UCUM", "Hounsfield unit")

#: Names of Hounsfield units as files have them; the standard has the first.
_HOUNSFIELD = frozenset({"HU", "HOUNSFIELD", "HOUNSFIELD UNIT", "HOUNSFIELD UNITS"})
#: Unspecified, and modified Hounsfield units (iodine taken out): on the scale of Hounsfield units
#: unless the values show otherwise.
_LIKE_HOUNSFIELD = frozenset({"US", "UNSPECIFIED", "HU_MOD"})
#: Image Type value 4 of multi-energy CT that is no attenuation (PS3.3 C.8.2.1.1.1), whatever
#: Rescale Type says.
_OTHER_QUANTITIES = frozenset({"EFF_ATOMIC_NUM", "ELECTRON_DENSITY"})

# PS3.3 C.8.9.1.1.3, Units, and PS3.16 CID 84
_OF_PET_UNITS: Mapping[str, Code] = {
    "BQML": Code("Bq/ml", "UCUM", "Becquerels/milliliter"),
    "CNTS": Code("{counts}", "UCUM", "Counts"),
    "CPS": Code("{counts}/s", "UCUM", "Counts per second"),
    "GML": Code("g/ml", "UCUM", "Grams/milliliter"),
    "CM2ML": Code("cm2/ml", "UCUM", "Centimeter**2/milliliter"),
    "PROPCNTS": Code("{propcounts}", "UCUM", "Proportional to counts"),
    "PROPCPS": Code("{propcounts}/s", "UCUM", "Proportional to counts per second"),
    "MGMINML": Code("mg/min/ml", "UCUM", "Milligrams/minute/milliliter"),
    "UMOLMINML": Code("umol/min/ml", "UCUM", "Micromole/minute/milliliter"),
    "MLMING": Code("ml/min/g", "UCUM", "Milliliter/minute/gram"),
    "MLG": Code("ml/g", "UCUM", "Milliliter/gram"),
    "1CM": Code("/cm", "UCUM", "1/Centimeter"),
    "UMOLML": Code("umol/ml", "UCUM", "Micromole/milliliter"),
    "PCNT": Code("%", "UCUM", "Percent"),
}


def unit_of(modality: str, unit_name: str) -> Code | None:
    """The unit of a Rescale Type or of PET Units, None where it is not known."""
    if modality == "CT":
        return HOUNSFIELD_UNIT if not unit_name or unit_name in _HOUNSFIELD else None
    return _OF_PET_UNITS.get(unit_name) if modality == "PT" else None


def is_unspecified(unit_name: str) -> bool:
    """Whether CT is in no known unit, but may be on the scale of Hounsfield units."""
    return unit_name in _LIKE_HOUNSFIELD


def refuse_other_quantities(rescale_type: str, image_type: tuple[str, ...]) -> None:
    """UnusableValue for CT of another quantity.

    A search for organs by their attenuation finds nothing in such images.
    """
    advice = (
        "What is looked for is known by its Hounsfield units: send the images in Hounsfield units."
    )
    if rescale_type and rescale_type not in _HOUNSFIELD | _LIKE_HOUNSFIELD:
        problem = f"is {shown_term(rescale_type)}, so that the values are no Hounsfield units"
        raise UnusableValue("Rescale Type", problem, advice)
    for value in image_type[2:]:
        if value.upper() in _OTHER_QUANTITIES:
            problem = f"says {value.upper()}, so that the values are no Hounsfield units"
            raise UnusableValue("Image Type", problem, advice)
