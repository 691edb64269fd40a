"""Tiled MR images: which they are, and what becomes of a series that has some."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dicom_node.errors import NotAVolume
from dicom_node.series.mosaics import is_mosaic, without_mosaics
from dicom_node.values import InstanceHeader

MR, ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"
TILED = ("ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC")


def header(number: int, image_type: tuple[str, ...] = ("ORIGINAL", "PRIMARY")) -> InstanceHeader:
    return InstanceHeader(
        Path(f"{number}.dcm"),
        "1.2",
        "1.2.3",
        f"1.2.3.{number}",
        MR,
        "1.2.840.10008.1.2.1",
        image_type=image_type,
        instance_number=number,
    )


def test_an_image_is_tiled_if_its_type_says_so_in_any_case() -> None:
    assert is_mosaic(header(1, TILED))
    assert is_mosaic(header(1, ("ORIGINAL", "mosaic")))
    assert not is_mosaic(header(1))


def test_an_enhanced_object_is_not_whatever_its_type_says() -> None:
    tiled = header(1, TILED)

    assert not is_mosaic(replace(tiled, sop_class_uid=ENHANCED_MR))
    assert not is_mosaic(replace(tiled, number_of_frames=20))


def test_the_others_stay_and_the_mosaics_are_named() -> None:
    slices = [header(1), header(4, TILED), header(2), header(5, TILED)]

    remaining, sentences = without_mosaics(slices)

    assert [each.instance_number for each in remaining] == [1, 2]
    assert sentences == ("Left out as mosaics, many slices tiled in one image: instances 4, 5.",)


def test_a_series_without_one_is_left_as_it_is() -> None:
    slices = [header(2), header(1)]

    assert without_mosaics(slices) == (slices, ())


def test_nothing_but_mosaics_is_refused_with_what_to_send() -> None:
    with pytest.raises(NotAVolume, match=r"mosaic .*\(instances 1, 2.*Send the series untiled"):
        without_mosaics([header(1, TILED), header(2, TILED)])
