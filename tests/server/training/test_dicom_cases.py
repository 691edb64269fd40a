"""DICOM with what readers drew becomes cases, and what cannot be used is named."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from agent.values import Target
from dicom_node.identity import MANUFACTURER
from dicom_node.results.segmentation import SegmentationWriter
from dicom_node.results.writers import write_result
from dicom_node.series.header import read_header
from dicom_node.values import Algorithm, ResultContent, ResultIdentity, ResultSegment
from dicom_node.volume.volume import load_volume
from dicom_node.voxels import Voxels
from models.errors import UnusableData
from server.compose.training.cases import open_cases
from server.rules.catalogue import load_catalogue
from tests.support import phantoms
from tests.support.radiotherapy.structure_sets import Polygon, write_structure_set

SHAPE = (8, 48, 48)
CATALOGUE = load_catalogue()


def volume_of(phantom: phantoms.Phantom) -> Any:
    return load_volume([read_header(path) for path in phantom.paths])


def segmentation(
    phantom: phantoms.Phantom, path: Path, keys: Sequence[str], maker: str = "A Reader"
) -> Path:
    """A SEG of the phantom's own masks, by somebody else unless said so."""
    segments = []
    for key in keys:
        entry = CATALOGUE.structures[key]
        mask = phantom.masks[entry.label.lower()]
        segments.append(
            ResultSegment(
                entry.label, entry.category, entry.type, entry.laterality, (50.0, 0.0, 0.0),
                key, Voxels.of(mask),
            )
        )  # fmt: skip
    identity = ResultIdentity(str(uuid.uuid4()), 1)
    content = ResultContent(volume_of(phantom), segments, (), Algorithm("reader", "1"), identity)
    write_result(SegmentationWriter(), content, path)
    ds = pydicom.dcmread(path)
    ds.Manufacturer = maker
    ds.save_as(path)
    return path


def phantom_at(folder: Path, patient: str = "PHANTOM-1", **options: Any) -> phantoms.Phantom:
    identity = phantoms.Identity(study=str(folder), patient_id=patient)
    return phantoms.torso_ct(
        folder, identity=identity, shape=SHAPE, spacing_mm=(15, 8, 8), **options
    )


def opened(folder: Path) -> tuple[Any, dict[str, Any]]:
    dataset = open_cases(folder)
    return dataset, {case.case_id: case for case in dataset.cases()}


def test_a_readers_segmentation_and_its_series_are_a_case(tmp_path: Path) -> None:
    phantom = phantom_at(tmp_path / "a" / "ct", shuffle=3)
    segmentation(phantom, tmp_path / "a" / "reader.dcm", ["liver", "right_kidney"])

    dataset, cases = opened(tmp_path)

    case = cases["a/reader"]
    assert (dataset.layout, dataset.skipped) == ("dicom", [])
    assert (case.volume.modality, case.spacing_known) == ("CT", True)
    assert [t.target for t in case.truths] == [
        Target("liver", "liver"),
        Target("right kidney", "right_kidney"),
    ]
    np.testing.assert_array_equal(case.truths[1].voxels, phantom.masks["right kidney"])
    np.testing.assert_allclose(case.volume.intensities, phantom.hu, atol=0.5)


def test_a_structure_set_is_a_case_too(tmp_path: Path) -> None:
    phantom = phantom_at(tmp_path / "ct")
    outline = [(9.5, 9.5), (9.5, 20.5), (20.5, 20.5), (20.5, 9.5)]
    structures: dict[str, list[Polygon]] = {"Kidney_R": [(3, outline)], "PTV": [(3.5, outline)]}
    write_structure_set(tmp_path / "rt.dcm", volume_of(phantom), structures)

    dataset, cases = opened(tmp_path)

    (truth,) = cases["rt"].truths
    assert truth.target == Target("right Kidney", "right_kidney")
    assert truth.voxels.sum() == 121
    (skipped,) = dataset.skipped
    assert (skipped.file, skipped.case_id) == ("rt.dcm", None)
    assert "PTV: its contour 1 lies" in skipped.reason


def test_what_segnode_drew_itself_is_no_truth_and_a_correction_of_it_is(tmp_path: Path) -> None:
    phantom = phantom_at(tmp_path / "ct")
    segmentation(phantom, tmp_path / "ours.dcm", ["liver"], maker="Segnode")
    segmentation(phantom, tmp_path / "corrected.dcm", ["liver"])

    dataset, cases = opened(tmp_path)

    assert list(cases) == ["corrected"]
    (skipped,) = dataset.skipped
    assert (skipped.file, skipped.case_id) == ("ours.dcm", "ours")
    assert "Segnode drew it itself" in skipped.reason


def own_result(phantom: phantoms.Phantom, path: Path, keys: Sequence[str]) -> Path:
    """A SEG of ours that is cut at half of each structure's slices."""
    masks = dict(phantom.masks)
    for label, mask in phantom.masks.items():
        present = np.flatnonzero(mask.any(axis=(1, 2)))
        masks[label] = mask.copy()
        if present.size:
            masks[label][present[len(present) // 2] :] = False
    return segmentation(replace(phantom, masks=masks), path, keys, maker=MANUFACTURER)


def test_a_correction_has_the_mask_that_segnode_drew(tmp_path: Path) -> None:
    phantom = phantom_at(tmp_path / "ct")
    own_result(phantom, tmp_path / "ours.dcm", ["liver"])
    segmentation(phantom, tmp_path / "reader.dcm", ["liver", "right_kidney"])

    _, cases = opened(tmp_path)

    liver, kidney = cases["reader"].truths
    assert liver.corrected_from is not None
    assert liver.corrected_from.any()
    assert not (liver.corrected_from & ~liver.voxels).any()
    assert np.count_nonzero(liver.corrected_from) < np.count_nonzero(liver.voxels)
    assert kidney.corrected_from is None


def test_which_of_two_results_was_corrected_is_not_guessed(tmp_path: Path) -> None:
    phantom = phantom_at(tmp_path / "ct")
    own_result(phantom, tmp_path / "first.dcm", ["liver"])
    own_result(phantom, tmp_path / "second.dcm", ["liver"])
    segmentation(phantom, tmp_path / "reader.dcm", ["liver"])

    dataset, cases = opened(tmp_path)

    assert cases["reader"].truths[0].corrected_from is None
    assert any("another result of Segnode" in skipped.reason for skipped in dataset.skipped)


def test_a_result_of_ours_in_another_series_is_no_start(tmp_path: Path) -> None:
    first, second = phantom_at(tmp_path / "a"), phantom_at(tmp_path / "b", "PHANTOM-2")
    own_result(first, tmp_path / "ours.dcm", ["liver"])
    segmentation(second, tmp_path / "reader.dcm", ["liver"])

    _, cases = opened(tmp_path)

    assert cases["reader"].truths[0].corrected_from is None


def test_patients_are_told_apart_and_not_named(tmp_path: Path) -> None:
    for study, patient in (("a", "Jane 7"), ("b", "JANE7"), ("c", "OTHER")):
        phantom = phantom_at(tmp_path / study / "ct", patient)
        segmentation(phantom, tmp_path / study / "reader.dcm", ["liver"])

    dataset, cases = opened(tmp_path)

    patients = {case.case_id[0]: case.patient for case in cases.values()}
    assert patients["a"] == patients["b"] != patients["c"]
    assert "jane" not in str(patients).lower()
    assert len({cases["a/reader"].split, cases["b/reader"].split}) == 1
    assert dataset.manifest.patients_known


def test_a_series_that_is_not_here_and_a_second_copy_are_named(tmp_path: Path) -> None:
    phantom = phantom_at(tmp_path / "ct")
    reader = segmentation(phantom, tmp_path / "reader.dcm", ["liver"])
    (tmp_path / "reader2.dcm").write_bytes(reader.read_bytes())
    elsewhere = phantom_at(tmp_path.parent / f"{tmp_path.name}-elsewhere")
    segmentation(elsewhere, tmp_path / "stray.dcm", ["liver"])

    dataset, cases = opened(tmp_path)

    assert list(cases) == ["reader"]
    reasons = {s.file: s.reason for s in dataset.skipped}
    assert "it is the instance that reader.dcm is" in reasons["reader2.dcm"]
    assert "are not here" in reasons["stray.dcm"]


def test_damage_costs_its_case_alone(tmp_path: Path) -> None:
    for study in ("a", "b", "c"):
        phantom = phantom_at(tmp_path / study / "ct", study)
        segmentation(phantom, tmp_path / study / "reader.dcm", ["liver"])
    torn = tmp_path / "a" / "reader.dcm"
    torn.write_bytes(torn.read_bytes()[:-200])
    image = next((tmp_path / "b" / "ct").iterdir())
    image.write_bytes(image.read_bytes()[:-700])

    dataset, cases = opened(tmp_path)

    assert list(cases) == ["c/reader"]
    assert {s.case_id for s in dataset.skipped if s.case_id} == {"a/reader", "b/reader"}


def test_images_without_a_drawing_are_no_data_set(tmp_path: Path) -> None:
    phantom_at(tmp_path / "ct")

    with pytest.raises(UnusableData, match="no case of the layout dicom"):
        open_cases(tmp_path)


def test_the_readers_liver_of_dcmqi_is_a_case(shared_data: Path) -> None:
    _, cases = opened(shared_data / "odd_dicom" / "dcmqi_ct3slice_liverSEG")

    (truth,) = cases["liver"].truths
    assert truth.target == Target("Liver", "liver")
    assert truth.voxels.sum() == 107_098


def test_a_label_map_beside_a_series_lies_on_it(shared_data: Path) -> None:
    _, cases = opened(shared_data / "ct_dicom_totalseg")

    case = cases["example_seg_dicom"]
    by_key = {truth.target.structure: truth.voxels for truth in case.truths}
    centre = {
        key: case.volume.geometry.to_patient_mm(np.argwhere(by_key[key]).astype(float)).mean(axis=0)
        for key in ("liver", "spleen", "aorta")
    }
    assert len(case.truths) > 30
    # LPS: the liver lies to the right of the aorta, the spleen to the left and behind the liver
    assert centre["liver"][0] < centre["aorta"][0] < centre["spleen"][0]
    assert centre["spleen"][1] > centre["liver"][1]
    # air is not spleen: the mask lies on the organ and not beside it
    assert 60 < np.median(case.volume.intensities[by_key["spleen"]]) < 200


def test_every_key_of_the_registry_is_the_catalogues() -> None:
    from models.training.datasets.registry import known_datasets

    for entry in known_datasets().values():
        for label, key in entry.structures.items():
            if key:
                assert CATALOGUE.structure(Target(label, key)).key == key


def test_words_of_a_data_set_get_the_catalogues_key(shared_data: Path) -> None:
    _, cases = opened(shared_data / "mr_nrrd_brain_tumour_pyradiomics")

    assert cases["brain1"].truths[0].target.structure == "brain_tumour"
