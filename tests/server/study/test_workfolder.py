"""What stages leave for each other survives, and what did not end does not count."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agent.trace import TracedTarget
from agent.values import Target, TargetStatus
from dicom_node.values import Code, SourceFrame, SourceVolume
from dicom_node.voxels import Voxels
from server.study.workfolder import EncodingStore, WorkFolder, share_files
from server.values import TargetSummary

STATED = (("-10.50", "0", "3e1"), ("1", "0", "0", "0", "1", "0"), (".5", ".5"), ())


@pytest.fixture
def folder(tmp_path: Path) -> WorkFolder:
    return WorkFolder(tmp_path / "request")


def volume() -> SourceVolume:
    frames = tuple(
        SourceFrame(Path(f"/in/{z}.dcm"), "1.2", f"1.2.{z}", z + 1, None, STATED) for z in range(3)
    )
    return SourceVolume(
        intensities=np.arange(60, dtype=np.float32).reshape(3, 4, 5),
        affine_zyx_to_lps=np.diag([3.0, 2.0, 1.0, 1.0]),
        frames=frames,
        study_instance_uid="1",
        series_instance_uid="2",
        frame_of_reference_uid="3",
        modality="CT",
        warnings=("a warning",),
    )


def test_a_volume_comes_back_as_it_was(folder: WorkFolder) -> None:
    folder.save_volume(volume())

    again = folder.load_volume()

    assert np.array_equal(again.intensities, volume().intensities)
    assert np.array_equal(again.affine_zyx_to_lps, volume().affine_zyx_to_lps)
    assert (again.frames, again.warnings, again.modality) == (volume().frames, ("a warning",), "CT")


@pytest.mark.parametrize("unit", [None, Code("Bq/ml", "UCUM", "Becquerels/milliliter")])
def test_the_unit_of_a_volume_comes_back_or_stays_unknown(
    folder: WorkFolder, unit: Code | None
) -> None:
    folder.save_volume(replace(volume(), unit=unit))

    assert folder.load_volume().unit == unit


def test_writing_to_a_loaded_volume_changes_no_file(folder: WorkFolder) -> None:
    folder.save_volume(volume())

    folder.load_volume().intensities[:] = -1

    assert folder.load_volume().intensities[0, 0, 1] == 1


def test_a_volume_counts_only_when_all_of_it_is_there(folder: WorkFolder) -> None:
    folder.save_volume(volume())
    (folder.path / "volume.json").unlink()  # the kill came between the two files

    assert not folder.has_volume


def summary(index: int, status: TargetStatus = TargetStatus.SEGMENTED) -> TargetSummary:
    return TargetSummary(index, "liver", "liver", status, "", 12.5, 3, 0.9, ("cut off",))


@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 1, 1), (2, 7, 9)])
def test_masks_of_any_size_come_back_bit_by_bit(
    folder: WorkFolder, shape: tuple[int, int, int]
) -> None:
    folder.path.mkdir()
    mask = np.random.default_rng(1).random(shape) > 0.5

    folder.save_target(
        summary(0), Voxels.of(mask), TracedTarget(Target("liver"), TargetStatus.SEGMENTED)
    )

    assert np.array_equal(folder.load_mask(0).whole(), mask)
    assert folder.load_target(0) == summary(0)
    assert folder.load_target(1) is None


def test_the_trace_gathers_all_targets_in_order(folder: WorkFolder) -> None:
    folder.path.mkdir()
    for index, text in enumerate(("liver", "spleen")):
        traced = TracedTarget(Target(text), TargetStatus.ABSENT, reason="not there")
        folder.save_target(summary(index, TargetStatus.ABSENT), None, traced)

    assert [one.target.text for one in folder.save_trace(2).targets] == ["liver", "spleen"]
    assert folder.trace.is_file()


def test_the_longest_unused_encodings_go_first_and_the_last_stay(tmp_path: Path) -> None:
    # Arrange: three series of 100 bytes, used one after the other
    store = EncodingStore(tmp_path / "encodings", limit_bytes=200)
    for number, series in enumerate(("1.1", "1.2", "1.3")):
        (store.of_series(series) / "slice").write_bytes(b"x" * 100)
        os.utime(store.path / series, (number, number))

    # Act
    store.prune()

    # Assert
    assert sorted(path.name for path in store.path.iterdir()) == ["1.2", "1.3"]
    EncodingStore(store.path, limit_bytes=0).prune()
    assert [path.name for path in store.path.iterdir()] == ["1.3"]


@pytest.mark.parametrize("name", ["", "..", "../outside", "/tmp", "1.2/3", "1" * 8_000, "1.2\0"])
def test_what_is_no_uid_names_no_folder_and_no_folder_of_others_is_touched(
    tmp_path: Path, name: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o755)
    store = EncodingStore(tmp_path / "encodings", limit_bytes=0)

    folder = store.of_series(str(outside) if name == "/tmp" else name)

    assert folder.parent == store.path
    assert outside.stat().st_mode & 0o777 == 0o755
    assert sorted(path.name for path in tmp_path.iterdir()) == ["encodings", "outside"]


def test_the_folder_is_private(folder: WorkFolder) -> None:
    folder.save_volume(volume())

    assert folder.path.stat().st_mode & 0o077 == 0


def test_an_earlier_answer_is_shared_without_what_only_the_work_needs(tmp_path: Path) -> None:
    earlier, later = WorkFolder(tmp_path / "earlier"), WorkFolder(tmp_path / "later")
    earlier.save_volume(volume())
    earlier.trace.write_text("the trace")
    masks = earlier.path / "turns.masks"
    masks.write_bytes(b"a mask")

    assert share_files(earlier, later)

    assert later.trace.read_text() == "the trace"
    assert not later.has_volume
    # it is added to, so each has its own
    with (later.path / "turns.masks").open("ab") as stream:
        stream.write(b" more")
    assert masks.read_bytes() == b"a mask"
    # what is written anew leaves the earlier one's as it is
    later.save_volume(volume())
    later.discard_intermediates()
    assert earlier.has_volume


def test_an_answer_without_its_trace_is_not_shared(tmp_path: Path) -> None:
    earlier, later = WorkFolder(tmp_path / "earlier"), WorkFolder(tmp_path / "later")
    earlier.save_volume(volume())

    assert not share_files(earlier, later)
    assert not later.path.exists()
