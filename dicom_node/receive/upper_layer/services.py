"""Which SOP classes are for storage, without a dictionary; an unknown class counts as one."""

from __future__ import annotations

VERIFICATION = "1.2.840.10008.1.1"  # PS3.4 A.4
_DICOM = "1.2.840.10008"
# Services by the beginnings of their UIDs (PS3.6 table A-1): queries, work lists, print, commitment
# and what is no SOP class
_SERVICES = tuple(
    f"{_DICOM}.{root}."
    for root in (
        "1", "2", "3", "4", "6", "7", "8", "10", "15", "5.1.1",
        "5.1.4.1.2", "5.1.4.20", "5.1.4.31", "5.1.4.32", "5.1.4.33", "5.1.4.34", "5.1.4.37",
        "5.1.4.38", "5.1.4.39", "5.1.4.41", "5.1.4.42", "5.1.4.43", "5.1.4.44", "5.1.4.45",
        "5.1.4.1.1.12.77", "5.1.4.1.1.40", "5.1.4.1.1.200.4", "5.1.4.1.1.200.5", "5.1.4.1.1.200.6",
        "5.1.4.1.1.201.2", "5.1.4.1.1.201.3", "5.1.4.1.1.201.4", "5.1.4.1.1.201.5",
        "5.1.4.1.1.201.6", "5.1.4.1.1.201.1.1",
    )
)  # fmt: skip
# Storage classes among them: media directory, stored print, hard copy, RT delivery, hanging
# protocols, palettes, implants
_STORED_ALL_THE_SAME = frozenset(
    f"{_DICOM}.{rest}"
    for rest in (
        "1.3.10", "5.1.1.27", "5.1.1.29", "5.1.1.30", "5.1.4.34.1", "5.1.4.34.7", "5.1.4.34.10",
        "5.1.4.38.1", "5.1.4.39.1", "5.1.4.43.1", "5.1.4.44.1", "5.1.4.45.1",
    )
)  # fmt: skip


def is_storage(sop_class_uid: str) -> bool:
    """Whether a SOP class is a storage class, or belongs to no other service of the standard."""
    if sop_class_uid in _STORED_ALL_THE_SAME:
        return True
    return not f"{sop_class_uid}.".startswith(_SERVICES)
