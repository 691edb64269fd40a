"""The modality of an image, by its class first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from tests.support import phantoms
from tests.support.dicom.scaled_series import SMALL, refusal, volume_of


class TestKind:
    @pytest.mark.parametrize("modality", ["ct", "CT ", "", None])
    def test_ct_is_ct_whatever_its_modality_says(
        self, tmp_path: Path, modality: str | None
    ) -> None:
        phantom = phantoms.torso_ct(tmp_path, **SMALL)
        for path in phantom.paths:
            if modality is None:
                phantoms.rewrite(path, Modality=None)
            else:
                phantoms.patch(path, "Modality", modality.encode())

        volume = volume_of(phantom)

        assert volume.modality == "CT"
        assert np.array_equal(volume.intensities, phantom.hu)
        missing = "Modality of instances 1-4 is missing: taken as CT, which their SOP class is of."
        assert volume.warnings == (() if modality else (missing,))

    @pytest.mark.parametrize(("modality", "said"), [("MR", "MR"), ("PET", "PT"), ("pt", "PT")])
    def test_a_modality_against_the_class_is_refused(
        self, tmp_path: Path, modality: str, said: str
    ) -> None:
        phantom = phantoms.torso_ct(tmp_path, **SMALL)
        phantoms.patch(phantom.paths[1], "Modality", modality.encode())

        assert f"Modality of instance 2 is {said}, but the SOP class is that of CT" in refusal(
            phantom
        )

    def test_ct_and_mr_in_one_series(self, tmp_path: Path) -> None:
        phantom = phantoms.torso_ct(tmp_path, **SMALL)
        phantoms.rewrite(phantom.paths[2], SOPClassUID=pydicom.uid.MRImageStorage, Modality="MR")

        assert "CT in instances 1, 2, 4; MR in instance 3" in refusal(phantom)

    @pytest.mark.parametrize("kind", ["PALETTE COLOR", "RGB", "YBR_FULL", "palette color", "GREY"])
    def test_what_is_no_grey_is_refused(self, tmp_path: Path, kind: str) -> None:
        phantom = phantoms.torso_ct(tmp_path, **SMALL)
        for path in phantom.paths:
            phantoms.patch(path, "PhotometricInterpretation", kind.encode())

        assert f"Photometric Interpretation of instances 1-4 is {kind.upper()}" in refusal(phantom)
