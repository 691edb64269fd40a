"""npz and HDF5: arrays on their grid, and nothing that a hostile file could do."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.case import Case
from agent.values import Target
from models.errors import UnreadableFile
from models.training.datasets.dataset import Dataset
from models.training.datasets.layouts import h5 as h5_layout
from models.training.datasets.layouts import npz
from models.training.datasets.npz_arrays import array_names, read_array
from models.training.datasets.opening import open_dataset
from tests.support.dataset_folders import SHAPE, labelled, npz_folder


def opened(folder: Path) -> tuple[Dataset, list[Case]]:
    dataset = open_dataset(folder)
    return dataset, list(dataset.cases())


def test_a_volume_of_medsam2_lies_where_spacing_and_direction_say(tmp_path: Path) -> None:
    direction = np.array([0, 1, 0, 1, 0, 0, 0, 0, -1.0])
    dataset, cases = opened(npz_folder(tmp_path, direction=direction, origin=np.arange(3.0)))

    case = cases[0]
    assert (dataset.name, case.patient) == ("deeplesion", "000001")
    assert dataset.layout == npz.MEDSAM2.name
    assert case.volume.modality == "CT"
    assert case.spacing_known
    assert case.truths[0].target == Target("lesion", "lesion")
    # x runs along patient y, y along x, z downwards
    place = case.volume.geometry.to_patient_mm(np.array([[1.0, 2.0, 3.0]]))
    np.testing.assert_allclose(place, [[2 * 0.9 + 0, 3 * 0.8 + 1, -2.5 + 2]])
    np.testing.assert_array_equal(case.truths[0].voxels, labelled(0)[1] == 1)


def test_several_lesions_of_a_scan_are_told_apart(tmp_path: Path) -> None:
    _, cases = opened(npz_folder(tmp_path, gts=labelled()[1]))

    assert [t.target.text for t in cases[0].truths] == ["lesion 1", "lesion 2"]


def test_two_scans_of_a_patient_stay_on_one_side(shared_data: Path) -> None:
    _, cases = opened(shared_data / "ct_npz_deeplesion_medsam2")

    assert len(cases) == 4
    assert len({case.split for case in cases if case.patient == "000015"}) == 1
    # the table lies at the patient's back: rows and columns are turned, as the direction says
    axes = cases[0].volume.geometry.affine_zyx_to_lps[:3, :3]
    np.testing.assert_array_equal(np.abs(axes).argmax(axis=0), [2, 0, 1])


def test_the_slices_of_medscribble_are_of_four_data_sets(shared_data: Path) -> None:
    dataset, cases = opened(shared_data / "slices_medscribble")

    assert dataset.layout == npz.MEDSCRIBBLE.name
    assert (dataset.name, len(cases), dataset.skipped) == ("medscribble", 19, [])
    assert dataset.manifest.patients_known
    assert {(c.dataset, c.truths[0].target.structure) for c in cases} == {
        ("acdc", "right_heart_ventricle"),
        ("btcv-cervix", "urinary_bladder"),
        ("chaos", "liver"),
        ("oasis", None),
    }
    assert not any(case.spacing_known for case in cases)


def test_the_left_atria_are_turned_to_z_y_x(shared_data: Path) -> None:
    pytest.importorskip("h5py", reason="the extra train is not installed")

    _, cases = opened(shared_data / "mr_h5_left_atrium")

    assert [case.volume.intensities.shape for case in cases][:2] == [(88, 140, 183), (88, 143, 199)]
    assert {case.truths[0].target.structure for case in cases} == {"left_heart_atrium"}
    assert all(0.01 < case.truths[0].voxels.mean() < 0.3 for case in cases)


class Evil:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return (os.system, ("touch /tmp/segnode-was-here",))


def bomb(shape: tuple[int, ...], payload: bytes = b"\0" * 64) -> bytes:
    """An npy whose header announces `shape` and whose bytes are few."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    return stream.getvalue() + payload


def replaced(path: Path, **members: bytes) -> None:
    """The npz at `path` with members that numpy would not write."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content |= {f"{name}.npy": value for name, value in members.items()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in content.items():
            archive.writestr(name, value)


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"gts": labelled()[1][:2]}, "must be alike"),
        ({"gts": np.full(SHAPE, np.nan)}, "no finite numbers"),
        ({"imgs": np.full(SHAPE, np.nan)}, "no finite number"),
        ({"gts": np.array([Evil()], dtype=object)}, "Python objects, which are never loaded"),
        ({"spacing": np.array([0.8, 0.9])}, "must be 3, 9 and 3 numbers"),
        ({"spacing": np.array([0.8, 0.9, 0.0])}, "singular"),
        ({"imgs": np.array("text")}, "must be alike"),
    ],
)
def test_arrays_that_do_not_fit_are_named(
    tmp_path: Path, arrays: dict[str, Any], sentence: str
) -> None:
    dataset, cases = opened(npz_folder(tmp_path, **arrays))

    assert len(cases) == 1
    (skipped,) = dataset.skipped
    assert sentence in skipped.reason


@pytest.mark.parametrize("shape", [(20_000, 20_000, 20_000), (1000, 1000, 1000), (4, 1000, 9000)])
def test_an_array_that_is_larger_than_its_bytes_is_not_made(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    npz_folder(tmp_path)
    replaced(tmp_path / "CT_Lesion_000001_01_01_001-004.npz", imgs=bomb(shape))

    dataset, cases = opened(tmp_path)

    assert len(cases) == 1
    assert "say" in dataset.skipped[0].reason or "announces" in dataset.skipped[0].reason


def test_a_truncated_archive_is_named(tmp_path: Path) -> None:
    npz_folder(tmp_path)
    path = tmp_path / "CT_Lesion_000002_01_01_001-004.npz"
    path.write_bytes(path.read_bytes()[:-50])

    dataset, cases = opened(tmp_path)

    assert [case.patient for case in cases] == ["000001"]
    assert [s.file for s in dataset.skipped] == [path.name]


def test_a_truncated_first_archive_hides_no_layout(tmp_path: Path) -> None:
    npz_folder(tmp_path)
    path = tmp_path / "CT_Lesion_000001_01_01_001-004.npz"
    path.write_bytes(path.read_bytes()[:-50])

    assert open_dataset(tmp_path).layout == "medsam2-npz"


def h5(path: Path, **arrays: Any) -> None:
    h5py = pytest.importorskip("h5py", reason="the extra train is not installed")
    with h5py.File(path, "w") as file:
        for name, value in arrays.items():
            file[name] = value


def test_an_hdf5_array_in_another_file_is_not_followed(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="the extra train is not installed")
    image, labels = labelled()
    (tmp_path / "data").mkdir()
    h5(tmp_path / "outside.hdf5", image=image)
    h5(tmp_path / "data" / "good.h5", image=image, label=labels == 1)
    h5(
        tmp_path / "data" / "linked.h5",
        image=h5py.ExternalLink(str(tmp_path / "outside.hdf5"), "image"),
        label=labels == 1,
    )
    (tmp_path / "data" / "torn.h5").write_bytes((tmp_path / "data" / "good.h5").read_bytes()[:900])

    dataset, cases = opened(tmp_path / "data")

    assert dataset.layout == h5_layout.LAYOUT.name
    assert [case.case_id for case in cases] == ["good"]
    assert [s.file for s in dataset.skipped] == ["linked.h5", "torn.h5"]
    assert "no array image of its own" in dataset.skipped[0].reason


def test_an_array_is_read_by_its_name_alone(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", first=np.arange(3), second=np.zeros((2, 2), np.float32))

    assert array_names(tmp_path / "a.npz") == ("first", "second")
    assert read_array(tmp_path / "a.npz", "first").tolist() == [0, 1, 2]
    with pytest.raises(UnreadableFile, match="no array called third"):
        read_array(tmp_path / "a.npz", "third")
