"""Which single image of a study is segmented: radiography, ultrasound or camera; one a request.

A study of slices is never answered by a single image, which is there most often a saved screen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dicom_node.series.image_modality import modality_of
from dicom_node.series.multiframe import source_of
from dicom_node.series.plane import named_frames
from dicom_node.sop_classes import FOR_PROCESSING, MODALITY_RANK, SINGLE_IMAGES, class_name
from dicom_node.values import InstanceHeader

# View Position and its codes for radiographs taken from front or back (PS3.3 C.8.1.1, C.8.11.5)
_FRONTAL = frozenset({"PA", "AP"})
_LAST = 1 << 31
_MOST_NAMED = 4


def is_single_image(header: InstanceHeader) -> bool:
    """Whether this is one image of a kind that is read by itself.

    Captures of CT, MR and PET screens are not.
    """
    return (
        header.sop_class_uid in SINGLE_IMAGES
        and header.number_of_frames == 1
        and not header.reason
        and modality_of(header) not in MODALITY_RANK
    )


def is_loop(header: InstanceHeader) -> bool:
    """Whether this is a multi-frame image of such a kind."""
    return header.sop_class_uid in SINGLE_IMAGES and header.number_of_frames > 1


def by_preference(headers: Iterable[InstanceHeader]) -> list[InstanceHeader]:
    """The single images, the one to segment first.

    For presentation before for processing, frontal before lateral, then by series and instance
    number.
    """
    return sorted(filter(is_single_image, headers), key=_rank)


def unchosen_warning(chosen: InstanceHeader, others: Sequence[InstanceHeader]) -> tuple[str, ...]:
    """A sentence that names the images that were not chosen, and how to request them."""
    if not others:
        return ()
    named = "; ".join(_described(other) for other in others[:_MOST_NAMED])
    more = f"; and {len(others) - _MOST_NAMED} more" if len(others) > _MOST_NAMED else ""
    sentence = (
        f"One picture a request is segmented, {_described(chosen)}. Left out: {named}{more}. "
        "Ask for another one by its series, or give its file alone."
    )
    return (sentence,)


def explanation_of(chosen: InstanceHeader) -> str:
    """The choice in a sentence."""
    return f"Chosen: {_described(chosen)}, a single picture."


def _rank(header: InstanceHeader) -> tuple[object, ...]:
    number, series = header.instance_number, header.series_number
    return (
        header.sop_class_uid in FOR_PROCESSING,
        _view(header) not in _FRONTAL and bool(_view(header)),
        _LAST if series is None else series,
        _LAST if number is None else number,
        header.sop_instance_uid,
    )


def _view(header: InstanceHeader) -> str:
    return header.attributes.get("ViewPosition", "").strip().upper()


def _described(header: InstanceHeader) -> str:
    """For an administrator, without a word that could name the patient."""
    number = "without a number" if header.series_number is None else str(header.series_number)
    view = f", {_view(header)}" if _view(header) else ""
    kind = modality_of(header) or class_name(header.sop_class_uid)
    return f"{named_frames([source_of(header)])} of series {number} ({kind}{view})"
