"""The data card says what was counted, whose data it is, and shows ten trajectories."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.errors import ExportFailed
from models.training.exports.data_card import write_data_card
from models.training.exports.gallery import draw_trajectory
from models.training.exports.trajectory_folder import end_folder, records
from tests.support.toy_cases import toy_cases
from tests.support.training.toy_trajectories import toy_run, write_toy_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trajectories")
    cases = [*toy_cases(8), *toy_cases(2, seed=5, depth=7)]
    write_toy_folder(folder, toy_run(per_case=2, image_px=128), cases)
    return folder


def test_the_card_holds_the_figures_and_the_licence(folder: Path) -> None:
    figures = end_folder(folder)

    card = write_data_card(folder).read_text()

    assert card.startswith("# Trajectories of a simulated reader\n\n")
    assert f"{figures.kept} trajectories of {figures.patients} patients" in card
    assert f"| share kept by the filter | {figures.share_kept:.3f} |" in card
    assert f"| mean turns | {figures.mean_turns:.2f} |" in card
    assert "| toy | CC0 | drawn by the test |" in card
    for kind, count in figures.kinds.items():
        assert f"| {kind} | {count} |" in card
    assert "## Settings\n\n- segmenter: fake" in card


def test_the_gallery_has_ten_of_all_kinds(folder: Path) -> None:
    card = write_data_card(folder).read_text()

    pictures = sorted(folder.glob("gallery/*.png"))
    assert len(pictures) == 10
    assert all(f"![](gallery/{picture.name})" in card for picture in pictures)
    kinds = {picture.stem.split("-", 1)[1] for picture in pictures}
    assert kinds == set(end_folder(folder).kinds)


def test_a_wrong_action_has_another_colour_than_a_right_one(folder: Path) -> None:
    drawn_wrong = [
        record
        for record in records(folder)
        if record["kind"] == "self-correction"
        and record["turns"][0]["action"]["kind"] == "box"
        and not next(m["train"] for m in record["messages"] if m["role"] == "assistant")
    ]
    right = next(record for record in records(folder) if record["kind"] == "box-to-point")

    magenta, cyan = np.array([255, 0, 255]), np.array([0, 200, 255])
    wrong_pixels = np.asarray(draw_trajectory(drawn_wrong[0], folder))
    right_pixels = np.asarray(draw_trajectory(right, folder))

    assert (wrong_pixels == magenta).all(axis=2).any()
    assert not (right_pixels == magenta).all(axis=2).any()
    assert (right_pixels == cyan).all(axis=2).any()


def test_a_panel_for_each_picture(folder: Path) -> None:
    for record in list(records(folder))[:20]:
        image = draw_trajectory(record, folder)
        side = 640 if record["kind"] == "volume" else 320
        assert image.width == side * len(record["images"])


def test_a_folder_without_trajectories_has_no_card(tmp_path: Path) -> None:
    write_toy_folder(tmp_path, cases=[])

    with pytest.raises(ExportFailed, match="there are no trajectories"):
        write_data_card(tmp_path)
    assert not (tmp_path / "README.md").exists()
