"""Which SOP classes are source images of a volume (PS3.6 table A-1, PS3.4 B.5)."""

from __future__ import annotations

from pydicom.config import IGNORE
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    EnhancedPETImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    LegacyConvertedEnhancedPETImageStorage,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
)

SINGLE_FRAME_VOLUMES: frozenset[str] = frozenset(
    {CTImageStorage, MRImageStorage, PositronEmissionTomographyImageStorage}
)
MULTIFRAME_VOLUMES: frozenset[str] = frozenset(
    {
        EnhancedCTImageStorage,
        EnhancedMRImageStorage,
        EnhancedPETImageStorage,
        LegacyConvertedEnhancedCTImageStorage,
        LegacyConvertedEnhancedMRImageStorage,
        LegacyConvertedEnhancedPETImageStorage,
    }
)
VOLUMES = SINGLE_FRAME_VOLUMES | MULTIFRAME_VOLUMES

#: Modality -> rank of choice: CT first, what else can be a volume where there is no CT or it is asked for.
MODALITY_RANK: dict[str, int] = {"CT": 0, "MR": 1, "PT": 2}


def class_name(sop_class_uid: str) -> str:
    """The SOP class in words, as far as it is known."""
    return uid_name(sop_class_uid).removesuffix(" Storage") if sop_class_uid else "no SOP class"


def uid_name(uid: str) -> str:
    """What the standard calls a UID, else the UID itself with its damage made visible."""
    name = UID(uid, validation_mode=IGNORE).name
    return name if name.isprintable() else ascii(name)
