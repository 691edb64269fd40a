"""A chosen series as a volume on the grid it was acquired on."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

from dicom_node.series.image_modality import modality_of
from dicom_node.series.single_images import is_single_image
from dicom_node.series.stack import stack_of
from dicom_node.values import InstanceHeader, SourceVolume
from dicom_node.volume.pixels import decode, refuse_undecodable_syntaxes
from dicom_node.volume.single_image import load_single_image

log = logging.getLogger(__name__)


_WITHOUT = re.compile(r"(no|none|without|w/o|nil|0|n|native)\b", re.IGNORECASE)


def load_volume(headers: Sequence[InstanceHeader]) -> SourceVolume:
    """Sort, check and decode the images of one series.

    Intensities are (z, y, x) float32 after rescale, z rising along the slice normal, rows and
    columns as stored. A single image (dicom_node.series.single_images) becomes a volume of one
    slice. Raises NotAVolume, or UndecodablePixels, with one sentence that names the instance
    numbers and what to do.
    """
    if len(headers) == 1 and is_single_image(headers[0]):
        return load_single_image(headers[0])
    stack = stack_of(headers)
    syntax_of_file = {header.path: header.transfer_syntax_uid for header in headers}
    refuse_undecodable_syntaxes(
        [(plane, syntax_of_file[plane.source.path]) for plane in stack.planes]
    )
    first = headers[0]
    modality = modality_of(first)
    frames_of_file = {header.path: header.number_of_frames for header in headers}
    decoded = decode(stack.planes, modality, lambda path: frames_of_file[path])
    log.info("series %s is a volume of %s (z, y, x)", first.series_instance_uid, stack.shape)
    return SourceVolume(
        intensities=decoded.values,
        affine_zyx_to_lps=stack.affine_zyx_to_lps,
        frames=decoded.frames,
        study_instance_uid=first.study_instance_uid,
        series_instance_uid=first.series_instance_uid,
        frame_of_reference_uid=stack.planes[0].frame_of_reference_uid,
        modality=modality,
        warnings=(*stack.warnings, *decoded.warnings),
        unit=decoded.unit,
        contrast=_has_contrast(first),
    )


def _has_contrast(header: InstanceHeader) -> bool:
    """Whether a contrast medium is named (PS3.3 C.7.6.4); some write that there was none."""
    agent = header.attributes.get("ContrastBolusAgent", "").strip()
    return bool(agent) and _WITHOUT.match(agent) is None
