"""`segnode trajectories` as a person runs it: volumes in, a folder of trajectories out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from agent.protocol.dialects import Dialect
from models.training.exports.trajectory_folder import read_manifest, records
from models.training.trajectory_choices import TrajectoryChoices
from server.cli import main
from server.commands.trajectories import ALL
from server.compose.training.trajectories import run
from server.settings import load_settings
from tests.support.dataset_folders import index_png_folder, write_nifti
from tests.support.toy_cases import BRIGHTNESS, toy_cases

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Toy volumes in nnU-Net's layout; the last has an image that is none."""
    folder = tmp_path_factory.mktemp("data")
    for number, case in enumerate(toy_cases(4, depth=5)):
        labels = sum(
            value * truth.voxels.astype(np.uint8)
            for value, truth in enumerate(case.truths, start=1)
        )
        name = f"toy_{number:03}"
        write_nifti(folder / "imagesTr" / f"{name}_0000.nii.gz", case.volume.intensities * 1000)
        write_nifti(folder / "labelsTr" / f"{name}.nii.gz", np.asarray(labels, np.uint8))
    (folder / "imagesTr" / "toy_003_0000.nii.gz").write_bytes(b"no image")
    index = {
        "name": "toy",
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, **{name: n for n, name in enumerate(BRIGHTNESS, start=1)}},
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(index))
    return folder


def words(data: Path, out: Path, *more: str) -> list[str]:
    return [
        *("trajectories", str(data), "--segmenter", "fake", "--split", ALL),
        *("--out", str(out), *more),
    ]


def test_one_command_gives_trajectories_exports_and_a_card(
    data: Path, tmp_path: Path, capsys: Capture
) -> None:
    pytest.importorskip("pyarrow", reason="needs the extra segnode[train]")
    out = tmp_path / "out"
    more = ("--publish", "--export", "llama-factory", "--export", "rl-parquet", "--per-case", "2")

    code = main(words(data, out, *more, "--encodings", str(tmp_path / "encodings")))

    printed = capsys.readouterr().out
    assert code == 0
    kept = list(records(out))
    assert len(kept) > 20
    assert {"volume", "review", "box-to-point"} <= {record["kind"] for record in kept}
    assert f"{len(kept)} trajectories of 3 patients" in printed
    assert (out / "README.md").is_file()
    assert (out / "rl.parquet").is_file()
    assert (out / "llama-factory" / "dataset_info.json").is_file()


def test_what_serving_is_set_to_is_what_is_shown(data: Path, tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text("[language]\nimage_px = 128\nnative_tools = true\n")

    main(words(data, tmp_path / "out", "--dialect", "think_action", "--config", str(site)))

    manifest = read_manifest(tmp_path / "out")
    assert manifest is not None
    assert manifest["settings"]["pictures"]["image_px"] == 128
    assert all("<action>" in record["turns"][0]["reply"] for record in records(tmp_path / "out"))


def test_a_broken_image_is_named_and_left_out(data: Path, tmp_path: Path, capsys: Capture) -> None:
    main(words(data, tmp_path / "out"))

    printed = capsys.readouterr().out
    assert "left out: imagesTr/toy_003_0000.nii.gz: " in printed
    assert {record["case_id"] for record in records(tmp_path / "out")} == {
        *("toy_000", "toy_001", "toy_002"),
    }


def test_where_nothing_can_be_used_the_reasons_are_told_and_no_card_is_written(
    tmp_path: Path, capsys: Capture
) -> None:
    data = index_png_folder(tmp_path / "data")
    for image in (data / "image").iterdir():
        image.write_bytes(b"no image")

    assert main(words(data, tmp_path / "out", "--publish", "--export", "llama-factory")) == 1

    told = capsys.readouterr()
    assert told.out.count("left out: image/P_") == 6
    assert "0 trajectories of 0 patients" in told.out
    assert told.err == ""
    assert not (tmp_path / "out" / "README.md").exists()


def test_progress_counts_what_is_kept_dropped_and_failed(data: Path, tmp_path: Path) -> None:
    choices = TrajectoryChoices(data, tmp_path / "out", split=None, dialect=Dialect.TOOL_CALL)
    settings = load_settings([])
    agent = settings.agent.model_copy(update={"segmenter": "fake"})
    told: list[str] = []

    made = run(settings.model_copy(update={"agent": agent}), choices, told.append)

    dropped = sum(made.figures.dropped.values())
    assert len(told) == 3
    assert told[-1].startswith(
        f"3 cases of 4 in all shards, {made.figures.kept} kept, {dropped} dropped, 0 failed"
    )
    assert len(made.skipped) == 1


def test_shards_and_resume_give_the_same_lines(data: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    main(words(data, whole))
    for shard in ("2/2", "1/2"):
        main(words(data, parts, "--shards", shard))
    main(words(data, parts, "--shards", "1/2", "--resume"))

    lines = [
        sorted(line for path in at.glob("trajectories-*") for line in path.read_text().splitlines())
        for at in (whole, parts)
    ]

    assert lines[0] == lines[1]
    assert lines[0]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("--shards", "4"), "--shards is I/K"),
        (("--shards", "3/2"), "there is no part 3 of 2"),
        (("--shards", "0/2"), "there is no part 0 of 2"),
        (("--per-case", "0"), "one trajectory or more"),
        (("--min-iou", "7"), "least_final_iou is a share"),
    ],
)
def test_what_means_nothing_is_one_line(
    data: Path, tmp_path: Path, capsys: Capture, more: tuple[str, str], sentence: str
) -> None:
    assert main(words(data, tmp_path / "out", *more)) == 1

    assert sentence in capsys.readouterr().err


def test_a_folder_of_another_run_is_not_mixed_in(
    data: Path, tmp_path: Path, capsys: Capture
) -> None:
    main(words(data, tmp_path / "out"))

    assert main(words(data, tmp_path / "out")) == 1
    assert "go on with --resume" in capsys.readouterr().err
    assert main(words(data, tmp_path / "out", "--seed", "1", "--resume")) == 1
    assert "made with another seed" in capsys.readouterr().err
