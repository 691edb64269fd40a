"""The best answer without looking, against figures reckoned by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from agent.fakes import FakeSegmenter
from agent.values import Box, PromptKind
from server.demo.blind_box import blind_dice, central_box


class ClickSegmenter(FakeSegmenter):
    supported_prompts = frozenset({PromptKind.POINT})


@pytest.fixture
def squares(tmp_path: Path) -> Path:
    """Slices of 40 x 40 with a bright square of 10 x 10, by its left edge; row 10 to 19."""
    names: dict[str, list[str]] = {"training": [], "validation": []}
    lefts = {"training": (4, 8, 9, 20), "validation": (8, 12, 28)}
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for split, edges in lefts.items():
        for left in edges:
            labels = np.zeros((40, 40), np.uint8)
            labels[10:20, left : left + 10] = 1
            name = f"P_{split[0]}{left:02d}_00.png"
            Image.fromarray(labels).save(tmp_path / "labels" / name)
            Image.fromarray(labels * np.uint8(200)).save(tmp_path / "images" / name)
            names[split].append(name)
    index = {
        "name": "squares",
        "modality": "CT",
        "image_dir": "images",
        "label_dir": "labels",
        "file_name": "P_<patient>_<slice>.png",
        "labels": {"0": "background", "1": "liver"},
    }
    (tmp_path / "dataset.json").write_text(json.dumps(index | names))
    return tmp_path


def test_the_box_in_the_middle_of_the_others_is_taken() -> None:
    # IoU of squares of side 10 that lie d apart: (10 - d) / (10 + d). The sums over the others:
    # 0: 6/14 + 5/15, 4: 6/14 + 9/11, 5: 5/15 + 9/11
    boxes = [Box(left, 0, left + 9, 9) for left in (0, 4, 5)]
    assert central_box(boxes) == boxes[1]
    with pytest.raises(ValueError, match="no box"):
        central_box([])


def test_its_dice_is_of_the_validation_slices(squares: Path) -> None:
    # the box of left 8 in all three: that very square, six tenths of the one at 12, nothing of 28
    part = 2 * 60 / (60 + 100)
    dice = blind_dice(squares, FakeSegmenter())
    assert dice == {"liver": pytest.approx((1 + part + 0) / 3, abs=0.03)}


def test_a_segmenter_of_clicks_cannot_draw_it(squares: Path) -> None:
    with pytest.raises(ValueError, match="fake takes no box"):
        blind_dice(squares, ClickSegmenter())
