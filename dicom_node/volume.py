"""A chosen series as a volume on the grid it was acquired on."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from dicom_node.picture import load_picture
from dicom_node.pictures import is_picture
from dicom_node.pixels import decode, refuse_undecodable_syntaxes
from dicom_node.stacking import stack_of
from dicom_node.values import InstanceHeader, SourceVolume

log = logging.getLogger(__name__)


def load_volume(headers: Sequence[InstanceHeader]) -> SourceVolume:
    """Sort, check and decode the images of one series.

    Intensities are (z, y, x) float32 after rescale, z rising along the slice normal, rows and columns as stored.
    A single picture (dicom_node.pictures) becomes a volume of one slice.
    Raises NotAVolume, or UndecodablePixels, with one sentence that names the instance numbers and what to do.
    """
    if len(headers) == 1 and is_picture(headers[0]):
        return load_picture(headers[0])
    stack = stack_of(headers)
    syntax_of_file = {header.path: header.transfer_syntax_uid for header in headers}
    refuse_undecodable_syntaxes(
        [(plane, syntax_of_file[plane.source.path]) for plane in stack.planes]
    )
    first = headers[0]
    intensities, warnings = decode(stack.planes, first.modality)
    log.info("series %s is a volume of %s (z, y, x)", first.series_instance_uid, stack.shape)
    return SourceVolume(
        intensities=intensities,
        affine_zyx_to_lps=stack.affine_zyx_to_lps,
        frames=tuple(plane.source for plane in stack.planes),
        study_instance_uid=first.study_instance_uid,
        series_instance_uid=first.series_instance_uid,
        frame_of_reference_uid=stack.planes[0].frame_of_reference_uid,
        modality=first.modality,
        warnings=(*stack.warnings, *warnings),
    )
