"""What kind of image a slice is, by SOP class, Modality and Image Type, and if these agree.

The SOP class decides: it is checked when an instance is stored, whereas Modality is often empty, in
small letters or anything else in files that were edited.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dicom_node.datasets.attribute_values import shown_term
from dicom_node.datasets.intensity_units import refuse_other_quantities
from dicom_node.datasets.stored_pixels import refuse_colour
from dicom_node.errors import NotAVolume, UnusableValue
from dicom_node.series.multiframe import source_of
from dicom_node.series.plane import named_frames
from dicom_node.sop_classes import MODALITY_OF_CLASS, MODALITY_RANK
from dicom_node.values import InstanceHeader

_SPELLINGS = {"PET": "PT", "MRI": "MR"}


def modality_of(header: InstanceHeader) -> str:
    """CT, MR or PT by the SOP class of a slice, else what Modality says, in capitals."""
    return MODALITY_OF_CLASS.get(header.sop_class_uid) or _stated(header)


def _stated(header: InstanceHeader) -> str:
    text = header.modality.strip(" \0").upper()
    return _SPELLINGS.get(text, text if text == shown_term(text) else "OT")


def judge_claims(headers: Sequence[InstanceHeader]) -> tuple[str, ...]:
    """Compare what the headers of a series' slices say of their values; no pixel is read.

    NotAVolume, naming the instances, for contradicting modalities, colours, and CT that is not in
    Hounsfield units. Returns a sentence for a Modality that is of no use.
    """
    by_modality: dict[str, list[InstanceHeader]] = {}
    for header in headers:
        by_modality.setdefault(modality_of(header), []).append(header)
    if len(by_modality) > 1:
        listing = "; ".join(f"{name} in {_named(alike)}" for name, alike in by_modality.items())
        raise NotAVolume(
            f"The series mixes images of several modalities: {listing}. Send each as a series of "
            "its own."
        )
    _refuse_contradictions(headers)
    _refuse_values(headers)
    return _doubts(headers)


def _refuse_contradictions(headers: Sequence[InstanceHeader]) -> None:
    """Refuse slices that are CT, MR or PT by Modality, but another of them by SOP class."""
    against = [h for h in headers if _stated(h) in MODALITY_RANK and _stated(h) != modality_of(h)]
    if against:
        first = against[0]
        raise NotAVolume(
            f"Modality of {_named(against)} is {_stated(first)}, but the SOP class is that of "
            f"{modality_of(first)} images: it cannot be told what the values mean. Export the "
            "series again from the scanner."
        )


def _refuse_values(headers: Sequence[InstanceHeader]) -> None:
    faults: list[tuple[InstanceHeader, UnusableValue]] = []
    for header in headers:
        try:
            _refuse_value(header)
        except UnusableValue as fault:
            faults.append((header, fault))
    if faults:
        first = faults[0][1]
        alike = [header for header, fault in faults if str(fault) == str(first)]
        raise first.of(_named(alike))


def _refuse_value(header: InstanceHeader) -> None:
    attributes = header.attributes
    samples = attributes.get("SamplesPerPixel", "")
    refuse_colour(
        attributes.get("PhotometricInterpretation", "").strip(" \0").upper(),
        int(samples) if samples.isdecimal() else None,
    )
    if modality_of(header) == "CT":
        refuse_other_quantities(
            attributes.get("RescaleType", "").strip(" \0").upper(), header.image_type
        )


def _doubts(headers: Sequence[InstanceHeader]) -> tuple[str, ...]:
    """A sentence for slices whose Modality is missing or not that of slices."""
    odd = [header for header in headers if _stated(header) not in MODALITY_RANK]
    if not odd:
        return ()
    stated = _stated(odd[0])
    problem = f"is {shown_term(stated)}" if stated else "is missing"
    return (
        (
            f"Modality of {_named(odd)} {problem}: taken as {modality_of(odd[0])}, which their SOP "
            "class is of."
        ),
    )


def _named(headers: Iterable[InstanceHeader]) -> str:
    return named_frames(map(source_of, headers))
