"""In which unit a series is, by any of the names that headers have for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from dicom_node.series.choice import choose_series
from dicom_node.series.header import read_header
from tests.support import phantoms
from tests.support.dicom.scaled_series import SMALL, refusal, volume_of


class TestUnits:
    @pytest.mark.parametrize("name", ["HU", "hu", "Hounsfield", None])
    def test_hounsfield_units_by_any_of_their_names(self, tmp_path: Path, name: str | None) -> None:
        phantom = phantoms.torso_ct(tmp_path, **SMALL)
        for path in phantom.paths:
            phantoms.rewrite(path, RescaleType=name)

        unit = volume_of(phantom).unit

        assert unit is not None
        assert unit.value == "[hnsf'U]"

    @pytest.mark.parametrize("name", ["Z_EFF", "MGML", "PCT", "OD", "ED", "EDW", "IODINE", "z_eff"])
    def test_another_quantity_is_refused(self, tmp_path: Path, name: str) -> None:
        phantom = phantoms.torso_ct(tmp_path, **SMALL)
        for path in phantom.paths:
            phantoms.patch(path, "RescaleType", name.encode())

        assert f"Rescale Type of instances 1-4 is {name.upper()}" in refusal(phantom)

    @pytest.mark.parametrize("name", ["US", "HU_MOD"])
    def test_an_unknown_unit_is_told_and_not_stated(self, tmp_path: Path, name: str) -> None:
        edit = phantoms.setting(RescaleType=name)
        volume = volume_of(phantoms.torso_ct(tmp_path, edit=edit, **SMALL))

        assert volume.unit is None
        assert f"Rescale Type of instances 1-4 is {name}" in volume.warnings[0]

    def test_another_series_is_taken_where_one_is_of_another_quantity(self, tmp_path: Path) -> None:
        edit = phantoms.setting(RescaleType="Z_EFF")
        effective = phantoms.torso_ct(
            tmp_path / "z", edit=edit, name="z", shape=(6, 40, 48), spacing_mm=(5.0, 8.0, 8.0)
        )
        plain = phantoms.torso_ct(tmp_path / "hu", **SMALL)

        choice = choose_series([read_header(path) for path in effective.paths + plain.paths])

        assert choice.series_instance_uid == plain.series_instance_uid
        assert "Rescale Type of instances 1-6 is Z_EFF" in " ".join(choice.warnings)

    def test_multi_energy_ct_must_say_its_unit(self, tmp_path: Path) -> None:
        phantom = phantoms.torso_ct(
            tmp_path, edit=phantoms.setting(MultienergyCTAcquisition="YES", RescaleType=""), **SMALL
        )

        assert volume_of(phantom).unit is None

    def test_an_image_type_that_is_no_attenuation(self, tmp_path: Path) -> None:
        kind = ("DERIVED", "PRIMARY", "AXIAL", "EFF_ATOMIC_NUM")
        phantom = phantoms.torso_ct(tmp_path, image_type=kind, **SMALL)

        assert "Image Type of instances 1-4 says EFF_ATOMIC_NUM" in refusal(phantom)

    def test_a_frame_type_that_is_no_attenuation(self, tmp_path: Path) -> None:
        def edit(z: int, ds: Dataset) -> None:
            kind = Dataset()
            kind.FrameType = ["DERIVED", "PRIMARY", "VOLUME", "EFF_ATOMIC_NUM"]
            ds.PerFrameFunctionalGroupsSequence[2].CTImageFrameTypeSequence = [kind]

        phantom = phantoms.torso_ct(tmp_path, enhanced=True, edit=edit, **SMALL)

        assert "says EFF_ATOMIC_NUM" in refusal(phantom)

    def test_one_slice_of_another_quantity(self, tmp_path: Path) -> None:
        phantom = phantoms.torso_ct(tmp_path, **SMALL)
        phantoms.rewrite(phantom.paths[3], RescaleType="US")

        assert "HU in instances 1-3; US in instance 4" in refusal(phantom)

    def test_a_frame_of_another_quantity(self, tmp_path: Path) -> None:
        def edit(z: int, ds: Dataset) -> None:
            transform = Dataset()
            transform.RescaleSlope, transform.RescaleIntercept = 1, -1024
            transform.RescaleType = "Z_EFF"
            ds.PerFrameFunctionalGroupsSequence[1].PixelValueTransformationSequence = [transform]

        phantom = phantoms.torso_ct(tmp_path, enhanced=True, edit=edit, **SMALL)

        assert "Rescale Type" in refusal(phantom)
        assert "Z_EFF" in refusal(phantom)
