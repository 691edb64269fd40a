"""The coded concepts of our measurement report, each with the table of PS3.16 it stands in."""

from __future__ import annotations

from collections.abc import Mapping

from pydicom.sr.coding import Code as SrCode

# CID 7461/7471, generic size measurements; units are UCUM
VOLUME = SrCode("118565006", "SCT", "Volume")
LONG_AXIS = SrCode("103339001", "SCT", "Long Axis")
SHORT_AXIS = SrCode("103340004", "SCT", "Short Axis")
AREA = SrCode("42798000", "SCT", "Area")
SQUARE_MILLIMETER = SrCode("mm2", "UCUM", "square millimeter")
PIXELS = SrCode("{pixels}", "UCUM", "pixels")
MILLILITER = SrCode("mL", "UCUM", "milliliter")
MILLIMETER = SrCode("mm", "UCUM", "millimeter")

# Annex D and CID 7180; what intensities measure, by their unit (UCUM), with CID 7464 derivations
_ATTENUATION = SrCode("112031", "DCM", "Attenuation Coefficient")
_ACTIVITY = SrCode("110821", "DCM", "Nuclear Medicine Tomographic Activity")
_UPTAKE = SrCode("126400", "DCM", "Standardized Uptake Value")
QUANTITY_OF_UNIT: Mapping[str, SrCode] = {
    "[hnsf'U]": _ATTENUATION,
    "Bq/ml": _ACTIVITY,
    "{counts}": _ACTIVITY,
    "{counts}/s": _ACTIVITY,
    "{propcounts}": _ACTIVITY,
    "{propcounts}/s": _ACTIVITY,
    "g/ml": _UPTAKE,
    "cm2/ml": _UPTAKE,
}
MEAN = SrCode("373098007", "SCT", "Mean")
STANDARD_DEVIATION = SrCode("386136009", "SCT", "Standard Deviation")

# Annex D. "Not visualized" rather than "Absent": a structure outside the scanned range is not
# missing from the patient.
PRESENCE = SrCode("121052", "DCM", "Presence of property")
NOT_VISUALIZED = SrCode("122288", "DCM", "Not visualized")
# CID 240: of what is there and could neither be drawn nor be called absent
UNDETERMINED = SrCode("373068000", "SCT", "Undetermined")
COMMENT = SrCode("121106", "DCM", "Comment")

# CID 100, quantitative diagnostic imaging procedures, by modality
PROCEDURE_OF_MODALITY: Mapping[str, SrCode] = {
    "CT": SrCode("25045-6", "LN", "CT unspecified body region"),
    "MR": SrCode("25056-3", "LN", "MRI unspecified body region"),
    "PT": SrCode("44136-0", "LN", "PET unspecified body region"),
}
ANY_PROCEDURE = SrCode("363679005", "SCT", "Imaging procedure")
