"""Padding is air in CT, and never makes holes in tissue."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from tests.support import phantoms
from tests.support.dicom.scaled_series import SMALL, volume_of


class TestPadding:
    @pytest.mark.parametrize(
        ("limit", "vr", "warned"),
        [
            (b"", "SS", False),
            (b"\x30\xf8\x30\xf8", "SS", True),
            (b"-2000", "IS", False),
            (b"nothing ", "LO", True),
            (b"\x30\xf8", "US", False),
            (b"\x30\xf8", "UN", False),
        ],
    )
    def test_a_limit_that_is_odd_is_as_if_it_were_not_there(
        self, tmp_path: Path, limit: bytes, vr: str, warned: bool
    ) -> None:
        def edit(z: int, ds: Dataset) -> None:
            ds.add_new("PixelPaddingValue", "SS", -2000)

        hu, _ = phantoms.anatomy(phantoms.Grid(SMALL["shape"], SMALL["spacing_mm"]))
        hu[:, :6] = -3024
        phantom = phantoms.torso_ct(tmp_path, hu=hu, edit=edit, **SMALL)
        for path in phantom.paths:
            phantoms.patch(path, "PixelPaddingRangeLimit", limit, vr)

        volume = volume_of(phantom)

        assert np.all(volume.intensities[:, :6] == -1024)
        assert np.array_equal(volume.intensities[:, 6:], hu[:, 6:])
        assert any("Pixel Padding Range Limit" in text for text in volume.warnings) == warned

    @pytest.mark.parametrize(("first", "last"), [(1074, None), (0, 4095), (900, 1100)])
    def test_padding_that_is_tissue_makes_no_holes(
        self, stored: Callable[..., phantoms.Phantom], first: int, last: int | None
    ) -> None:
        limit = {} if last is None else {"PixelPaddingRangeLimit": last}
        phantom = stored(PixelPaddingValue=first, **limit)

        volume = volume_of(phantom)

        assert np.array_equal(volume.intensities, phantom.hu)
        assert "Pixel Padding Value stands for tissue, in instances 1-4" in volume.warnings[0]
