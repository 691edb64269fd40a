"""`segnode segment` on files: DICOM, volumes and pictures in, masks in their own form out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import UID, ExplicitVRLittleEndian, MediaStorageDirectoryStorage, MRImageStorage

from agent.fakes import ThresholdPolicy
from agent.knowledge import Knowledge
from agent.limits import Limits
from agent.trace import read_trace
from agent.turns import Turn
from agent.values import TargetStatus
from dicom_node.errors import NotAVolume
from models.errors import UnreadableFile
from models.loaded_models import open_workbench
from server.errors import InputError
from server.local import LocalModels, LocalRun, asked_targets, segment_files, source_at
from server.rules.catalogue import load_catalogue
from server.study.request_replay import RequestReplay
from server.study.source_files import SOURCE, read_source
from server.values import TargetSummary
from tests.support import phantoms

CATALOGUE = load_catalogue()


@pytest.fixture(scope="module")
def models() -> LocalModels:
    """The fakes that tell structures by their brightness."""
    workbench = open_workbench("threshold", "fake")
    return LocalModels(lambda: workbench, CATALOGUE, Limits())


def run(
    models: LocalModels, path: Path, out: Path, *targets: str, turns: list[Turn] | None = None
) -> dict[str, TargetSummary]:
    heard = turns if turns is not None else []
    asked = asked_targets(targets, CATALOGUE)
    summaries = segment_files(
        LocalRun(path, asked, out), models, lambda _, turn: heard.append(turn)
    )
    return {summary.text: summary for summary in summaries}


def bright_blob() -> np.ndarray[Any, np.dtype[np.float32]]:
    """A body of 40 HU in air with a blob of 100 HU in it, (z, y, x)."""
    z, y, x = np.mgrid[:10, :80, :100]
    volume = np.full(z.shape, -1000, np.float32)
    volume[((y - 40) / 36) ** 2 + ((x - 50) / 46) ** 2 < 1] = 40
    volume[((z - 5) / 4) ** 2 + ((y - 40) / 14) ** 2 + ((x - 30) / 12) ** 2 < 1] = 100
    return volume


def test_progress_moves_before_the_first_turn(models: LocalModels, tmp_path: Path) -> None:
    # Arrange
    phantoms.torso_ct(tmp_path / "ct", shape=(24, 96, 96))
    local_run = LocalRun(tmp_path / "ct", asked_targets(["liver"], CATALOGUE), tmp_path / "out")
    events: list[str] = []

    # Act
    segment_files(local_run, models, lambda _, turn: events.append("a turn"), events.append)

    # Assert
    before = events[: events.index("a turn")]
    assert before[:3] == [
        "reading the series",
        "loading the models",
        "liver (1 of 1): looking for it",
    ]
    assert "encoding slices: 1 of 24" in events
    assert "liver (1 of 1): looking for it, turn 2" in events
    assert events[-1] == "writing the results"
    assert "liver (1 of 1): through the volume" in events


def test_a_dicom_folder_gives_seg_sr_trace_and_preview(models: LocalModels, tmp_path: Path) -> None:
    # Arrange: other things lie in the folder too, as on a disc
    phantoms.torso_ct(tmp_path / "ct", shape=(24, 96, 96))
    (tmp_path / "ct" / "README.txt").write_text("hello")
    turns: list[Turn] = []

    # Act
    found = run(models, tmp_path / "ct", tmp_path / "out", "liver", "unicorn", turns=turns)

    # Assert
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {
        "seg.dcm",
        "sr.dcm",
        "trace.json",
        "turns.masks",
        "source.json",
        "preview.png",
    }
    seg = pydicom.dcmread(tmp_path / "out" / "seg.dcm")
    assert [item.SegmentLabel for item in seg.SegmentSequence] == ["Liver"]
    assert (found["liver"].status, found["unicorn"].status) == ("segmented", "failed")
    assert len(turns) == found["liver"].turns > 0


def test_a_second_run_gives_the_same_uids(models: LocalModels, tmp_path: Path) -> None:
    phantoms.torso_ct(tmp_path / "ct", shape=(24, 96, 96))
    run(models, tmp_path / "ct", tmp_path / "one", "liver")
    run(models, tmp_path / "ct", tmp_path / "two", "liver")

    uids = [pydicom.dcmread(tmp_path / out / "seg.dcm").SOPInstanceUID for out in ("one", "two")]
    assert uids[0] == uids[1]


def test_a_nifti_gives_a_label_map_on_its_own_grid(models: LocalModels, tmp_path: Path) -> None:
    # Arrange: axes left, posterior, superior, as many scanners' converters write them
    affine = np.diag([-2.0, -2.0, 4.0, 1.0])
    affine[:3, 3] = (100, 80, -20)
    image = nibabel.Nifti1Image(bright_blob().transpose(2, 1, 0), affine)
    image.to_filename(tmp_path / "ct.nii.gz")

    # Act
    found = run(models, tmp_path / "ct.nii.gz", tmp_path / "out", "bright", "unicorn")

    # Assert
    label_map: Any = nibabel.load(tmp_path / "out" / "segmentation.nii.gz")
    assert np.allclose(label_map.affine, affine)
    inside = np.asarray(label_map.dataobj).transpose(2, 1, 0) == 1
    truth = bright_blob() == 100
    assert 2 * (inside & truth).sum() / (inside.sum() + truth.sum()) > 0.9
    sidecar = json.loads((tmp_path / "out" / "segmentation.json").read_text())
    (bright,) = sidecar["structures"]
    assert bright["text"] == "bright"
    assert bright["type"].keys() == {"CodeValue", "CodingSchemeDesignator", "CodeMeaning"}
    assert (len(bright["colour_rgb"]), bright["confidence"]) == (3, found["bright"].confidence)
    assert bright["warnings"] == list(found["bright"].warnings)
    (unicorn,) = sidecar["without_label"]
    assert (unicorn["text"], unicorn["status"]) == ("unicorn", "failed")
    assert unicorn["reason"] == found["unicorn"].reason
    assert found["bright"].volume_ml == pytest.approx(inside.sum() * 16 / 1000)


def test_an_earlier_runs_label_map_does_not_stay(models: LocalModels, tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(bright_blob().T, np.eye(4)), tmp_path / "ct.nii.gz")
    run(models, tmp_path / "ct.nii.gz", tmp_path / "out", "bright")
    run(models, tmp_path / "ct.nii.gz", tmp_path / "out", "unicorn")

    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert "segmentation.json" in names
    assert names.isdisjoint({"segmentation.nii.gz", "segmentation_labels.txt"})
    assert json.loads((tmp_path / "out" / "segmentation.json").read_text())["label_map"] is None


class CtOnly(ThresholdPolicy):
    """Brightness, on CT alone."""

    @property
    def knowledge(self) -> Knowledge:
        return Knowledge(super().knowledge.structures, ("CT",))


@pytest.fixture
def ct_only() -> LocalModels:
    """A planner that was made for CT."""
    workbench = replace(open_workbench("threshold", "fake"), policy=CtOnly())
    return LocalModels(lambda: workbench, CATALOGUE, Limits())


def crop_without_air(folder: Path) -> Path:
    """A NIfTI whose values do not tell that it is a CT: there is no air in it."""
    path = folder / "crop.nii.gz"
    crop = bright_blob()[:, 20:60, 12:88]
    nibabel.save(nibabel.Nifti1Image(crop.T, np.eye(4)), path)
    return path


def test_a_planner_of_ct_draws_nothing_in_another_modality(
    ct_only: LocalModels, tmp_path: Path
) -> None:
    phantoms.torso_ct(tmp_path / "mr", shape=(8, 64, 64))
    for path in (tmp_path / "mr").iterdir():
        ds = pydicom.dcmread(path)
        ds.Modality, ds.SOPClassUID = "MR", MRImageStorage
        ds.file_meta.MediaStorageSOPClassUID = MRImageStorage
        ds.save_as(path)

    targets = run(ct_only, tmp_path / "mr", tmp_path / "out", "liver")

    assert targets["liver"].status == TargetStatus.FAILED
    assert "made for CT alone, and this is MR" in targets["liver"].reason
    assert not list((tmp_path / "out").glob("*.dcm"))


def test_a_modality_said_by_hand_overrules_the_guess_and_is_kept_for_replay(
    ct_only: LocalModels, tmp_path: Path
) -> None:
    path = crop_without_air(tmp_path)
    asked = asked_targets(["bright"], CATALOGUE)

    def statuses(modality: str) -> list[TargetStatus | None]:
        local_run = LocalRun(path, asked, tmp_path / "out", modality)
        return [t.status for t in segment_files(local_run, ct_only, lambda _, turn: None)]

    assert statuses("") == [TargetStatus.FAILED]
    assert statuses("CT") == [TargetStatus.SEGMENTED]
    assert read_source(tmp_path / "out" / SOURCE).read().modality == "CT"


@pytest.mark.parametrize(
    ("modality", "window", "shown"),
    [
        ("CT", "0,200", (0, 200)),
        ("CT", "lung", (-1350, 150)),
        ("MR", "50/100", (0, 100)),
    ],
)
def test_a_window_said_by_hand_is_what_models_and_replay_are_shown(
    models: LocalModels, tmp_path: Path, modality: str, window: str, shown: tuple[float, float]
) -> None:
    # Arrange
    path = tmp_path / "ct.nii.gz"
    nibabel.save(nibabel.Nifti1Image(bright_blob().T, np.eye(4)), path)
    asked = asked_targets(["bright"], CATALOGUE)

    # Act
    local_run = LocalRun(path, asked, tmp_path / "out", modality, window)
    segment_files(local_run, models, lambda _, turn: None)

    # Assert
    (target,) = read_trace(tmp_path / "out" / "trace.json").targets
    assert target.conditions is not None
    assert target.conditions.levels == pytest.approx(shown, abs=60)  # CT is measured
    slices = RequestReplay(tmp_path / "out").slices(0)
    low, high = target.conditions.levels or (0, 1)
    expected = (bright_blob()[5][:, ::-1] - low) / (high - low)
    assert slices.levels == target.conditions.levels
    assert set(np.unique(slices.image(4))) <= set(np.unique(expected.clip(0, 1)))


@pytest.mark.parametrize("window", ["wide", "240,-160", "5"])
def test_what_is_no_window_is_refused(models: LocalModels, tmp_path: Path, window: str) -> None:
    path = tmp_path / "ct.nii.gz"
    nibabel.save(nibabel.Nifti1Image(bright_blob().T, np.eye(4)), path)

    with pytest.raises(InputError, match="a window"):
        source_at(path, ()).seen_through(window)


def test_a_picture_in_colour_has_no_window(models: LocalModels, tmp_path: Path) -> None:
    Image.new("RGB", (32, 32), (9, 99, 200)).save(tmp_path / "skin.png")
    asked = asked_targets(["bright"], CATALOGUE)
    local_run = LocalRun(tmp_path / "skin.png", asked, tmp_path / "out", "", "0,200")

    with pytest.raises(InputError, match="in colour has no window"):
        segment_files(local_run, models, lambda _, turn: None)

    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("modality", ["ct", "C T", "CT\\MR", "-"])
def test_a_modality_that_is_none_is_refused(
    ct_only: LocalModels, tmp_path: Path, modality: str
) -> None:
    path = crop_without_air(tmp_path)

    with pytest.raises(InputError, match="no modality as DICOM writes it"):
        source_at(path, (), modality)


def test_dicom_says_its_own_modality(tmp_path: Path) -> None:
    phantoms.torso_ct(tmp_path / "ct", shape=(4, 32, 32))

    with pytest.raises(InputError, match="says its own modality"):
        source_at(tmp_path / "ct", (), "MR")


def test_a_picture_gives_a_picture_for_each_structure(models: LocalModels, tmp_path: Path) -> None:
    grey = np.clip((bright_blob()[5] + 160) / 400, 0, 1) * 255
    Image.fromarray(grey.astype(np.uint8)).save(tmp_path / "slice.png")

    found = run(models, tmp_path / "slice.png", tmp_path / "out", "bright", "left kidney")

    with Image.open(tmp_path / "out" / "bright.png") as picture:
        mask = np.asarray(picture)
    assert mask.shape == (80, 100)
    assert set(np.unique(mask)) == {0, 255}
    assert mask[40, 30] == 255
    assert found["left kidney"].status == "absent"
    assert not (tmp_path / "out" / "left_kidney.png").exists()
    sidecar = json.loads((tmp_path / "out" / "segmentation.json").read_text("utf-8"))
    (bright,), (kidney,) = sidecar["structures"], sidecar["without_label"]
    assert (bright["picture"], bright["area_px"]) == ("bright.png", np.count_nonzero(mask))
    assert (kidney["text"], kidney["status"]) == ("left kidney", "absent")
    assert [t.target.text for t in read_trace(tmp_path / "out" / "trace.json").targets] == [
        "bright",
        "left kidney",
    ]


def test_a_picture_of_an_earlier_run_is_not_left_among_those_of_this_one(
    models: LocalModels, tmp_path: Path
) -> None:
    grey = np.clip((bright_blob()[5] + 160) / 400, 0, 1) * 255
    Image.fromarray(grey.astype(np.uint8)).save(tmp_path / "slice.png")
    out = tmp_path / "out"
    run(models, tmp_path / "slice.png", out, "bright")
    assert (out / "bright.png").is_file()

    run(models, tmp_path / "slice.png", out, "left kidney")

    assert not (out / "bright.png").exists()


def test_a_damaged_picture_leaves_no_empty_folder(models: LocalModels, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 50), np.uint8)
    Image.fromarray(noise).save(tmp_path / "slice.png")
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes((tmp_path / "slice.png").read_bytes()[:600])
    (tmp_path / "here").mkdir()

    for out in (tmp_path / "new", tmp_path / "here"):
        with pytest.raises(UnreadableFile):
            run(models, damaged, out, "bright")

    assert not (tmp_path / "new").exists()
    assert (tmp_path / "here").is_dir()


def test_nothing_but_unknown_targets_still_leaves_trace_and_preview(
    models: LocalModels, tmp_path: Path
) -> None:
    phantoms.torso_ct(tmp_path / "ct", shape=(24, 96, 96))

    found = run(models, tmp_path / "ct", tmp_path / "out", "unicorn")

    assert found["unicorn"].status == "failed"
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"trace.json", "source.json", "preview.png"}


def test_a_file_of_two_series_is_refused_by_name_and_no_folder_is_touched(
    models: LocalModels, tmp_path: Path
) -> None:
    # Arrange: behind the pixels another Series Instance UID, which is the path of a folder of
    # somebody else
    path = phantoms.torso_ct(tmp_path / "ct", shape=(6, 96, 96)).paths[3]
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o755)
    value = str(outside).encode() + b"\0" * (len(str(outside)) % 2)
    with path.open("ab") as file:
        file.write(b"\x20\x00\x0e\x00UI" + len(value).to_bytes(2, "little") + value)

    # Act
    with pytest.raises(InputError) as refused:
        run(models, tmp_path / "ct", tmp_path / "out", "bright")

    # Assert
    assert str(refused.value) == (
        f"{path.name} cannot be used: the data set has two values of Series Instance UID "
        "(0020,000E)"
    )
    assert outside.stat().st_mode & 0o777 == 0o755


def test_bad_input_is_a_sentence(models: LocalModels, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no image at all")
    single = phantoms.torso_ct(tmp_path / "single", shape=(1, 96, 96)).paths[0]

    with pytest.raises(InputError, match="nothing at"):
        run(models, tmp_path / "nowhere", tmp_path / "out", "liver")
    with pytest.raises(InputError, match="no DICOM files"):
        run(models, tmp_path / "empty", tmp_path / "out", "liver")
    with pytest.raises(InputError, match="neither DICOM nor"):
        run(models, tmp_path / "notes.txt", tmp_path / "out", "liver")
    with pytest.raises(NotAVolume, match="slice"):
        run(models, single, tmp_path / "out", "liver")
    with pytest.raises(InputError, match="nothing to look for"):
        run(models, single, tmp_path / "out", "  ")


def directory(folder: Path) -> Path:
    """A DICOMDIR that names a study's files, and no study at its top level."""
    ds = pydicom.Dataset()
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    ds.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.FileSetID = "DISC"
    record = pydicom.Dataset()
    record.DirectoryRecordType, record.StudyInstanceUID = "STUDY", "1.2.3.4"
    ds.DirectoryRecordSequence = [record]
    ds.save_as(folder / "DICOMDIR", enforce_file_format=True)
    return folder / "DICOMDIR"


@pytest.mark.parametrize("images", ["IM", "."])
def test_what_else_lies_on_a_disc_is_left_out_and_counted(
    models: LocalModels, tmp_path: Path, caplog: pytest.LogCaptureFixture, images: str
) -> None:
    # Arrange
    disc = tmp_path / "disc"
    phantoms.torso_ct(disc / images, shape=(24, 96, 96))
    directory(disc)
    for name in ("README.TXT", ".DS_Store", "Thumbs.db"):
        (disc / name).write_bytes(b"\0\1nothing of ours")
    (disc / "empty").touch()
    (disc / "broken.dcm").write_bytes(bytes(128) + b"DICM" + b"\xff" * 40)

    # Act
    found = run(models, disc, tmp_path / "out", "liver")

    # Assert
    assert found["liver"].status == "segmented"
    (sentence,) = [record.getMessage() for record in caplog.records if "Left out" in record.msg]
    assert sentence == "Left out of 30 files: 4 no DICOM, 1 DICOMDIR, 1 damaged DICOM."


@pytest.mark.parametrize("given", ["file", "folder"])
def test_a_dicomdir_alone_is_said_to_be_one(
    models: LocalModels, tmp_path: Path, given: str
) -> None:
    path = directory(tmp_path)

    with pytest.raises(InputError, match="is a DICOMDIR, the list of what a disc holds"):
        run(models, path if given == "file" else tmp_path, tmp_path / "out", "liver")
