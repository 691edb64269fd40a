"""One scale for a series: what may differ from slice to slice, and what may not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from tests.support import phantoms
from tests.support.dicom.scaled_series import SMALL, refusal, volume_of

PET_SLOPES = (1.1e-8, 0.9e-8, 1.3e-8, 1.0e-8)


class TestOneScale:
    def test_pet_slopes_that_differ_are_as_they_should_be(self, tmp_path: Path) -> None:
        phantom = pet(tmp_path)

        volume = volume_of(phantom)

        assert volume.warnings == ()
        assert volume.modality == "PT"
        assert volume.unit is not None
        assert volume.unit.value == "Bq/ml"
        expected = np.arange(40 * 48).reshape(40, 48)[None] * np.array(PET_SLOPES)[:, None, None]
        assert np.allclose(volume.intensities, expected, rtol=1e-5, atol=0)

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            ({"RescaleSlope": None}, "is missing in instance 3 and there in the other slices"),
            (
                {"RescaleSlope": None, "RescaleIntercept": None},
                "is missing in instance 3 and there in the other slices",
            ),
            (
                {"Units": "CNTS"},
                (
                    "Rescale Type differs within the series: BQML in instances 1, 2, 4; CNTS in "
                    "instance 3"
                ),
            ),
        ],
    )
    def test_a_pet_slice_on_another_scale_is_refused(
        self, tmp_path: Path, change: Any, sentence: str
    ) -> None:
        phantom = pet(tmp_path)
        phantoms.rewrite(phantom.paths[2], **change)

        assert sentence in refusal(phantom)

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            ({"RescaleSlope": 1.0}, "Rescale Slope of instance 3 is more than a thousand times"),
            ({"RescaleIntercept": 5.0}, "Rescale Intercept of instance 3 differs"),
        ],
    )
    def test_a_pet_slice_on_a_doubtful_scale_is_told(
        self, tmp_path: Path, change: Any, sentence: str
    ) -> None:
        phantom = pet(tmp_path)
        phantoms.rewrite(phantom.paths[2], **change)

        assert sentence in " ".join(volume_of(phantom).warnings)

    def test_pet_without_any_scale_has_no_unit(self, tmp_path: Path) -> None:
        phantom = pet(tmp_path)
        for path in phantom.paths:
            phantoms.rewrite(path, RescaleSlope=None, RescaleIntercept=None)

        volume = volume_of(phantom)

        assert volume.unit is None
        assert "Rescale Slope is missing in instances 1-4" in volume.warnings[0]

    def test_an_mr_slice_with_another_slope_is_told(self, tmp_path: Path) -> None:
        look = phantoms.Look(rescale=lambda z: (4.0 if z == 1 else 2.0, 0.0))
        phantom = phantoms.torso_ct(tmp_path, modality="MR", look=look, **SMALL)

        assert "Rescale Intercept of instance 2 differs" in volume_of(phantom).warnings[0]

    def test_an_mr_slice_without_the_others_scale_is_refused(self, tmp_path: Path) -> None:
        look = phantoms.Look(rescale=lambda z: (2.0, 0.0))
        phantom = phantoms.torso_ct(tmp_path, modality="MR", look=look, **SMALL)
        phantoms.rewrite(phantom.paths[1], RescaleSlope=None, RescaleIntercept=None)

        assert "is missing in instance 2 and there" in refusal(phantom)

    def test_a_ct_slice_without_the_others_intercept_is_refused(
        self, stored: Callable[..., phantoms.Phantom]
    ) -> None:
        phantom = stored(rescale=lambda z: (1.0, 0.0 if z == 2 else -1024.0))

        sentence = refusal(phantom)

        assert "The values of instance 3 cannot be Hounsfield units" in sentence


def pet(folder: Path) -> Any:
    """PET of four slices with slopes of their own, stored values 0 to 1919."""
    values = np.arange(40 * 48).reshape(40, 48).astype("<u2")
    phantom = phantoms.torso_ct(
        folder, modality="PT", look=phantoms.Look(signed=False, rescale=None), **SMALL
    )
    for z, path in enumerate(phantom.paths):
        ds = pydicom.dcmread(path)
        ds.RescaleSlope, ds.RescaleIntercept, ds.Units = PET_SLOPES[z], 0, "BQML"
        ds.PixelData = values.tobytes()
        ds.save_as(path)
    return phantom
