"""One image as displayed: grey, colour and padding, and the sentence where there is no image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dicom_node.errors import NotAVolume, UndecodablePixels, UnusableValue
from dicom_node.series.header import read_header
from dicom_node.values import SourceVolume
from dicom_node.volume.single_image import load_single_image
from tests.support import pictures


def load(folder: Path, kind: str = "CR", **elements: Any) -> tuple[SourceVolume, pictures.Picture]:
    """A written picture and what is made of it."""
    made = pictures.picture(folder, kind, **elements)
    return load_single_image(read_header(made.path)), made


def test_bright_is_bright_however_grey_is_stored(tmp_path: Path) -> None:
    plain, made = load(tmp_path, "CR", name="plain")
    inverted, _ = load(tmp_path, "CR", name="inverted", stored="MONOCHROME1")

    for volume in (plain, inverted):
        grey = volume.intensities[0]
        assert grey.dtype == np.float32
        assert grey[made.mask].min() > grey[~made.mask].max()
        assert volume.colour is None


def test_colour_is_rgb_and_its_grey_is_luminance(tmp_path: Path) -> None:
    volume, made = load(tmp_path, "XC")

    assert volume.colour is not None
    np.testing.assert_array_equal(volume.colour[0], made.rgb)
    red, green, blue = np.moveaxis(made.rgb.astype(float), -1, 0)
    grey = 0.299 * red + 0.587 * green + 0.114 * blue
    np.testing.assert_allclose(volume.intensities[0], grey, atol=1e-3)


def test_colour_of_equal_channels_is_grey(tmp_path: Path) -> None:
    made = pictures.picture(tmp_path, "XC")
    same = np.repeat(made.grey[..., None], 3, axis=-1).tobytes()
    made = pictures.picture(tmp_path, "XC", PixelData=same)

    volume = load_single_image(read_header(made.path))

    assert volume.colour is None
    np.testing.assert_array_equal(volume.intensities[0], made.grey)


def test_padding_is_black_also_where_black_is_high(tmp_path: Path) -> None:
    def stored_value(path: Path) -> int:
        """What the ground is stored as."""
        from pydicom import dcmread

        return int(dcmread(path).pixel_array[0, 0])

    plain = pictures.picture(tmp_path, "CR", stored="MONOCHROME1", name="plain")
    ground = stored_value(plain.path)
    volume, made = load(
        tmp_path, "CR", stored="MONOCHROME1", name="padded", PixelPaddingValue=ground
    )

    grey = volume.intensities[0]
    # with the ground left out, the body is all that there is: as dark as itself, and no darker
    assert np.unique(grey[~made.mask]).tolist() == [grey[made.mask].min()]


def test_a_window_that_makes_no_sense_hides_nothing(tmp_path: Path) -> None:
    plain, _ = load(tmp_path, "CR", name="plain")
    odd, _ = load(tmp_path, "CR", name="odd", WindowCenter="40", WindowWidth="0")

    np.testing.assert_array_equal(odd.intensities, plain.intensities)


def test_grey_values_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises((UndecodablePixels, UnusableValue), match=r"(?i)rescale|finite"):
        load(tmp_path, "CR", RescaleSlope="1e308", RescaleIntercept="1e308")


@pytest.mark.parametrize("changes", [{"rows": 0}, {"columns": 0}])
def test_without_a_size_there_is_no_image(tmp_path: Path, changes: dict[str, Any]) -> None:
    header = read_header(pictures.picture(tmp_path).path)

    with pytest.raises(NotAVolume, match=r"^Rows or Columns are missing in .*no image in it\.$"):
        load_single_image(replace(header, **changes))


def test_what_the_header_said_is_passed_on_as_a_sentence(tmp_path: Path) -> None:
    header = read_header(pictures.picture(tmp_path).path)

    with pytest.raises(NotAVolume, match=r"^Its end is missing \(.*\)\. Send it again\.$"):
        load_single_image(replace(header, reason="its end is missing"))


def test_pixels_that_are_cut_off_are_damaged_and_named(tmp_path: Path) -> None:
    made = pictures.picture(tmp_path)
    header = read_header(made.path)
    content = made.path.read_bytes()
    made.path.write_bytes(content[: -len(content) // 4])

    with pytest.raises(UndecodablePixels, match=r"damaged or incomplete \(.*\)\. Send it again\."):
        load_single_image(header)


def test_a_file_that_is_smaller_than_its_header_said_is_refused(tmp_path: Path) -> None:
    """The file was exchanged after it had been looked at."""
    header = read_header(pictures.picture(tmp_path).path)
    pictures.picture(tmp_path, shape=(24, 32))

    with pytest.raises(UndecodablePixels, match=r"\(48, 64\)|damaged"):
        load_single_image(header)
