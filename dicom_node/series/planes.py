"""From headers of a series to its image planes, without duplicates, scouts and foreign objects."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from dicom_node.datasets.copies import same_contents
from dicom_node.errors import NotAVolume
from dicom_node.series.geometry import angle_deg, refuse_bad_directions, same_orientation
from dicom_node.series.mosaics import without_mosaics
from dicom_node.series.multiframe import frame_planes, is_multiframe, named_headers, source_of
from dicom_node.series.plane import Plane, named, number_in
from dicom_node.values import InstanceHeader

# A few images that run another way than all the others are scouts; more are a second series.
_MOST_STRAYS, _STRAY_FRACTION, _STRAY_ANGLE_DEG = 3, 0.1, 10.0


def planes_of(headers: Sequence[InstanceHeader]) -> tuple[list[Plane], tuple[str, ...]]:
    """Every image and frame of a series as a plane, without repeats and scouts.

    Also returns sentences on what was set aside. NotAVolume where a remaining image has no place in
    the patient.
    """
    single, warnings = _without_repeats(headers)
    slices, scouts = _without_scouts(single)
    images, mosaics = without_mosaics(slices)
    planes = _single_planes([header for header in images if not is_multiframe(header)])
    for header in images:
        if is_multiframe(header):
            planes += frame_planes(header)
    refuse_bad_directions(planes)
    remaining, strays = _without_strays(planes)
    return remaining, (*warnings, *scouts, *mosaics, *strays)


def _without_repeats(
    headers: Sequence[InstanceHeader],
) -> tuple[list[InstanceHeader], tuple[str, ...]]:
    """Count an instance in several files once; NotAVolume if their contents differ."""
    by_uid: dict[str, list[InstanceHeader]] = defaultdict(list)
    for header in headers:
        by_uid[header.sop_instance_uid or str(header.path)].append(header)
    repeated = [group for group in by_uid.values() if len(group) > 1]
    unlike = [
        group[0] for group in repeated if not same_contents([header.path for header in group])
    ]
    if unlike:
        raise NotAVolume(
            f"The same SOP Instance UID comes with different contents ({named_headers(unlike)}): "
            "it cannot be told which is right. Send the series again, each image with a UID of its "
            "own."
        )
    remaining = [group[0] for group in by_uid.values()]
    return remaining, _set_aside(
        [group[0] for group in repeated], "Counted once although sent twice"
    )


def _without_scouts(
    headers: Sequence[InstanceHeader],
) -> tuple[list[InstanceHeader], tuple[str, ...]]:
    """Leave out localizers by Image Type (PS3.3 C.7.6.1.1.2, value 3) unless all are."""
    scouts = [header for header in headers if "LOCALIZER" in header.image_type]
    if len(scouts) == len(headers):
        return list(headers), ()
    remaining = [header for header in headers if "LOCALIZER" not in header.image_type]
    return remaining, _set_aside(scouts, "Left out as localizers inside the series")


def _single_planes(headers: Sequence[InstanceHeader]) -> list[Plane]:
    """The planes of single-frame images.

    NotAVolume names a missing attribute and the instances that lack it.
    """
    for attribute, name in (
        ("image_position_mm", "Image Position (Patient)"),
        ("image_orientation", "Image Orientation (Patient)"),
        ("pixel_spacing_mm", "Pixel Spacing"),
        ("rows", "Rows"),
        ("columns", "Columns"),
    ):
        missing = [header for header in headers if not getattr(header, attribute)]
        if missing:
            raise NotAVolume(
                f"{name} is missing or unreadable in {named_headers(missing)} of {len(headers)} "
                "images: without it they "
                "have no place in the patient. Export the series again from the scanner."
            )
    return [_single_plane(header) for header in headers]


def _single_plane(header: InstanceHeader) -> Plane:
    phase = header.of_set | {
        "TemporalPositionIdentifier": _text(header.temporal_position),
        "AcquisitionNumber": _text(header.acquisition_number),
        "ImageType": "\\".join(header.image_type),
    }
    return Plane(
        source=source_of(header),
        position_mm=header.image_position_mm or (),
        orientation=header.image_orientation or (),
        pixel_spacing_mm=header.pixel_spacing_mm or (),
        shape=(header.rows or 0, header.columns or 0),
        frame_of_reference_uid=header.frame_of_reference_uid,
        image_type=header.image_type,
        gantry_tilt_deg=header.gantry_tilt_deg,
        slice_thickness_mm=header.slice_thickness_mm,
        spacing_between_slices_mm=number_in(header.of_set.get("SpacingBetweenSlices", "")),
        phase={keyword: text for keyword, text in phase.items() if text},
    )


def _text(number: int | None) -> str:
    return "" if number is None else str(number)


def _without_strays(planes: Sequence[Plane]) -> tuple[list[Plane], tuple[str, ...]]:
    """Leave out a few planes that run across the others: localizers not labelled as such."""
    groups = by_orientation(planes)
    if len(groups) < 2:
        return list(planes), ()
    main, *others = sorted(groups, key=len, reverse=True)
    strays = [plane for group in others for plane in group]
    few = len(strays) <= max(_MOST_STRAYS, _STRAY_FRACTION * len(main)) and len(strays) * 3 <= len(
        main
    )
    if not few or any(
        angle_deg(main[0].normal, stray.normal) < _STRAY_ANGLE_DEG for stray in strays
    ):
        return list(planes), ()
    return main, (
        f"Left out because they run across the other slices, as localizers do: {named(strays)}.",
    )


def by_orientation(planes: Sequence[Plane]) -> list[list[Plane]]:
    """Planes that run the same way, in groups, in the order of their first members."""
    groups: list[list[Plane]] = []
    for plane in planes:
        for group in groups:
            if same_orientation(group[0], plane):
                group.append(plane)
                break
        else:
            groups.append([plane])
    return groups


def _set_aside(headers: Sequence[InstanceHeader], why: str) -> tuple[str, ...]:
    return (f"{why}: {named_headers(headers)}.",) if headers else ()
