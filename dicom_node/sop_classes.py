"""Which SOP classes make a volume, and which are single images (PS3.6 table A-1, PS3.4 B.5)."""

from __future__ import annotations

from pydicom.config import IGNORE
from pydicom.uid import (
    UID,
    BreastTomosynthesisImageStorage,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DermoscopicPhotographyImageStorage,
    DigitalIntraOralXRayImageStorageForPresentation,
    DigitalIntraOralXRayImageStorageForProcessing,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalMammographyXRayImageStorageForProcessing,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    EnhancedPETImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    LegacyConvertedEnhancedPETImageStorage,
    MediaStorageDirectoryStorage,
    MRImageStorage,
    OphthalmicPhotography8BitImageStorage,
    OphthalmicPhotography16BitImageStorage,
    PositronEmissionTomographyImageStorage,
    SecondaryCaptureImageStorage,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
    VideoEndoscopicImageStorage,
    VideoPhotographicImageStorage,
    VLEndoscopicImageStorage,
    VLMicroscopicImageStorage,
    VLPhotographicImageStorage,
    XRay3DAngiographicImageStorage,
    XRay3DCraniofacialImageStorage,
    XRayAngiographicImageStorage,
    XRayRadiofluoroscopicImageStorage,
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

#: Volumes of cone beam and tomosynthesis scanners, in one multi-frame image that is not read.
CONE_BEAM: frozenset[str] = frozenset(
    {
        XRay3DAngiographicImageStorage,
        XRay3DCraniofacialImageStorage,
        BreastTomosynthesisImageStorage,
    }
)

#: The modality of a class's slices, whatever their Modality says (PS3.3 A.3, A.4, A.21, A.36,
#: A.38, A.56, A.70-72).
MODALITY_OF_CLASS: dict[str, str] = {
    CTImageStorage: "CT",
    EnhancedCTImageStorage: "CT",
    LegacyConvertedEnhancedCTImageStorage: "CT",
    MRImageStorage: "MR",
    EnhancedMRImageStorage: "MR",
    LegacyConvertedEnhancedMRImageStorage: "MR",
    PositronEmissionTomographyImageStorage: "PT",
    EnhancedPETImageStorage: "PT",
    LegacyConvertedEnhancedPETImageStorage: "PT",
}

#: Images before processing for display: taken only where there is nothing better.
FOR_PROCESSING: frozenset[str] = frozenset(
    {
        DigitalIntraOralXRayImageStorageForProcessing,
        DigitalMammographyXRayImageStorageForProcessing,
        DigitalXRayImageStorageForProcessing,
    }
)
RADIOGRAPHS: frozenset[str] = FOR_PROCESSING | {
    ComputedRadiographyImageStorage,
    DigitalIntraOralXRayImageStorageForPresentation,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalXRayImageStorageForPresentation,
    XRayAngiographicImageStorage,
    XRayRadiofluoroscopicImageStorage,
}
#: Single images without a place in the patient; some of these classes hold loops of frames as well.
SINGLE_IMAGES: frozenset[str] = RADIOGRAPHS | {
    DermoscopicPhotographyImageStorage,
    OphthalmicPhotography8BitImageStorage,
    OphthalmicPhotography16BitImageStorage,
    SecondaryCaptureImageStorage,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
    VideoEndoscopicImageStorage,
    VideoPhotographicImageStorage,
    VLEndoscopicImageStorage,
    VLMicroscopicImageStorage,
    VLPhotographicImageStorage,
}

#: What may be segmented, in one way or another.
IMAGES: frozenset[str] = VOLUMES | SINGLE_IMAGES | CONE_BEAM

#: A DICOMDIR: the list of what a disc holds (PS3.3 F.3).
DIRECTORY: str = MediaStorageDirectoryStorage

#: Modality -> rank of choice: CT first; the others where there is no CT, or on request.
MODALITY_RANK: dict[str, int] = {"CT": 0, "MR": 1, "PT": 2}


def class_name(sop_class_uid: str) -> str:
    """The SOP class in words, as far as it is known."""
    return uid_name(sop_class_uid).removesuffix(" Storage") if sop_class_uid else "no SOP class"


def uid_name(uid: str) -> str:
    """What the standard calls a UID, else the UID itself with its damage made visible."""
    name = UID(uid, validation_mode=IGNORE).name
    return name if name.isprintable() else ascii(name)
