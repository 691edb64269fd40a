"""CT whose header says no rescale: whether its stored values are Hounsfield units already."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from tests.support import phantoms
from tests.support.dicom.scaled_series import SMALL, refusal


class TestCtWithoutRescale:
    def test_padding_proves_nothing(self, stored: Callable[..., phantoms.Phantom]) -> None:
        def corners(plane: Any, z: int) -> None:
            plane[:9, :9] = 0

        phantom = stored(corners, rescale=None, PixelPaddingValue=0)

        assert "Rescale Slope or Rescale Intercept is missing in instances 1-4" in refusal(phantom)

    @pytest.mark.parametrize("fill", [-2000, -1024, -32768])
    def test_padding_that_is_not_declared_proves_nothing(
        self, stored: Callable[..., phantoms.Phantom], fill: int
    ) -> None:
        def corners(plane: Any, z: int) -> None:
            plane[:9, :9] = fill

        phantom = stored(corners, rescale=None, signed=True)

        assert "are not Hounsfield units" in refusal(phantom)

    def test_a_scale_of_one_and_zero_is_no_proof_either(
        self, stored: Callable[..., phantoms.Phantom]
    ) -> None:
        phantom = stored(rescale=lambda z: (1.0, 0.0))

        assert "cannot be Hounsfield units: much is as bright as bone" in refusal(phantom)

    def test_a_real_world_value_map_is_not_applied(
        self, stored: Callable[..., phantoms.Phantom]
    ) -> None:
        item = Dataset()
        item.RealWorldValueSlope, item.RealWorldValueIntercept = 1.0, -1024.0
        item.RealWorldValueFirstValueMapped, item.RealWorldValueLastValueMapped = 0, 4095

        phantom = stored(rescale=None, RealWorldValueMappingSequence=[item])

        assert "Rescale Slope or Rescale Intercept is missing" in refusal(phantom)

    def test_one_frame_of_an_enhanced_object(self, tmp_path: Path) -> None:
        def edit(z: int, ds: Dataset) -> None:
            transform = ds.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence
            del ds.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence
            for number, groups in enumerate(ds.PerFrameFunctionalGroupsSequence, start=1):
                if number != 3:
                    groups.PixelValueTransformationSequence = transform

        phantom = phantoms.torso_ct(tmp_path, enhanced=True, edit=edit, **SMALL)

        assert "is missing in frame 3 of instance 1 and there" in refusal(phantom)
