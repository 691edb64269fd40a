"""Which model a training goes on from, and trajectories of what readers corrected."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("trl")

from models.errors import TrainingRefused
from server.compose.training.serving_model import base_folder
from server.compose.training.sft import Corrections, made_of
from server.errors import InputError
from server.settings import Settings, load_settings
from tests.support.dataset_folders import index_png_folder, labelled, write_nifti


def settings(tmp_path: Path, **more: str) -> Settings:
    return load_settings(
        [],
        environment={
            "SEGNODE_STORAGE__DIR": str(tmp_path / "var"),
            "SEGNODE_AGENT__SEGMENTER": "fake",
            **more,
        },
    )


def corrections_folder(folder: Path, *, right: bool = False) -> Path:
    """Three patients whose block was drawn at half its width, or as it is."""
    cases = []
    for number in range(3):
        image, labels = labelled(number)
        drawn = (labels == 1).astype(labels.dtype)
        if not right:
            drawn[:, :, 6:] = 0
        place = folder / str(number)
        write_nifti(place / "image.nii.gz", image)
        write_nifti(place / "drawn.nii.gz", drawn)
        write_nifti(place / "corrected.nii.gz", (labels == 1).astype(labels.dtype))
        files = {name: f"{number}/{name}.nii.gz" for name in ("image", "drawn", "corrected")}
        cases.append({"case": str(number), "patient": f"p{number}", **files})
    index = {"labels": {"1": "liver"}, "modality": "MR", "cases": cases}
    (folder / "corrections.json").write_text(json.dumps(index))
    return folder


class TestTheModelToBeginWith:
    def test_a_named_folder_is_taken(self, tmp_path: Path) -> None:
        assert base_folder(settings(tmp_path), Path("mine")) == Path("mine")

    def test_else_the_version_that_serves_now(self, tmp_path: Path) -> None:
        version = tmp_path / "var" / "weights" / "reader.versions" / "one"
        version.mkdir(parents=True)
        (version.parents[1] / "reader").symlink_to(version)
        site = settings(tmp_path, SEGNODE_LANGUAGE__MODEL="reader")

        assert base_folder(site, None) == version

    @pytest.mark.parametrize("named", ["", "nowhere"])
    def test_without_either_it_is_asked_for(self, tmp_path: Path, named: str) -> None:
        with pytest.raises(InputError, match="Say --base DIR"):
            base_folder(settings(tmp_path, SEGNODE_LANGUAGE__MODEL=named), None)


class TestTrajectories:
    def test_they_lie_in_the_run_and_are_made_once(self, tmp_path: Path) -> None:
        told: list[str] = []
        of = Corrections(corrections_folder(tmp_path / "data"), "training", tmp_path / "run")

        folder = made_of(settings(tmp_path), of, told.append)
        content = (folder / "manifest.json").read_bytes()
        made_of(settings(tmp_path), of, lambda _: pytest.fail("it was made again"))

        assert folder == tmp_path / "run" / "trajectories"
        assert len(told) == 1
        assert json.loads(content)["figures"]["roles"]["inspect"] == 1
        assert (folder / "manifest.json").read_bytes() == content

    def test_the_dialect_is_that_of_the_model_that_serves(self, tmp_path: Path) -> None:
        site = settings(tmp_path, SEGNODE_LANGUAGE__DIALECT="think_action")
        of = Corrections(corrections_folder(tmp_path / "data"), "training", tmp_path / "run")

        folder = made_of(site, of, lambda _: None)

        made_with = json.loads((folder / "manifest.json").read_bytes())["settings"]
        assert (made_with["dialect"], made_with["corrections_only"]) == ("think_action", True)

    def test_a_truth_alone_is_no_correction(self, tmp_path: Path) -> None:
        of = Corrections(index_png_folder(tmp_path / "data"), "training", tmp_path / "run")

        with pytest.raises(TrainingRefused, match="holds no correction in the split training"):
            made_of(settings(tmp_path), of, lambda _: None)

    def test_a_run_that_is_there_is_not_begun_again(self, tmp_path: Path) -> None:
        of = Corrections(corrections_folder(tmp_path / "data"), "training", tmp_path / "run")
        (tmp_path / "run" / "model").mkdir(parents=True)

        with pytest.raises(TrainingRefused, match="holds a run already"):
            made_of(settings(tmp_path), of, lambda _: None)

    def test_several_processes_are_told_to_make_them_first(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("WORLD_SIZE", "2")
        of = Corrections(tmp_path / "data", "training", tmp_path / "run")

        with pytest.raises(TrainingRefused, match="make it first by `segnode trajectories"):
            made_of(settings(tmp_path), of, lambda _: None)
