"""`segnode models dump`: a case on disk to the arrays that trials outside compare with
upstream's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.errors import CheckpointUnreadable, UnreadableFile, WrongArchitecture
from models.parity import dump
from models.parity.sam2_image import dump_sam2_image
from models.segmenters.sam2.network import load_network
from tests.support import seeded_networks

INPUTS = {
    "image": np.random.default_rng(3).integers(0, 256, (50, 76, 3), dtype=np.uint8),
    "volume": np.random.default_rng(4).integers(0, 256, (3, 40, 44), dtype=np.uint8),
    "key_slice": np.array(1),
    "points": np.array([[20.0, 30.0], [60.0, 5.0]]),
    "point_labels": np.array([1, 0]),
    "box": np.array([4.0, 6.0, 36.0, 30.0]),
    "image_size": np.array(128),
}
SIDE, GRID = 128, 8


@pytest.fixture
def case(tmp_path: Path) -> Path:
    """A case of the tiny size at 128 pixels."""
    folder = tmp_path / "case"
    folder.mkdir()
    torch.save(seeded_networks.sam2_state("tiny"), folder / "state.pt")
    np.savez(folder / "inputs.npz", allow_pickle=False, **INPUTS)
    return folder


@pytest.mark.parametrize("segmenter", ["sam2", "medsam2"])
def test_every_array_is_there_in_its_shape(case: Path, tmp_path: Path, segmenter: str) -> None:
    # Act
    out = tmp_path / "made" / "arrays.dump"
    dump(segmenter, case, out)

    # Assert
    expected: dict[str, tuple[int, ...]] = {
        "image/embedding": (1, 256, 8, 8),
        "image/high_res_0": (1, 32, 32, 32),
        "image/high_res_1": (1, 64, 16, 16),
    }
    for kind in ("points", "box", "points_box", "points_mask"):
        for name, masks in (("multi", 3), ("single", 1)):
            expected[f"image/{kind}/{name}/logits"] = (masks, 50, 76)
            expected[f"image/{kind}/{name}/iou"] = (masks,)
            expected[f"image/{kind}/{name}/low_res"] = (masks, 32, 32)
    for kind in ("points", "box", "mask"):
        expected[f"video/{kind}/forward"] = (2, 40, 44)
        expected[f"video/{kind}/backward"] = (2, 40, 44)
    with np.load(out) as arrays:
        assert {name: arrays[name].shape for name in arrays} == expected
        assert {arrays[name].dtype for name in arrays} == {np.dtype(np.float32)}
        assert all(np.isfinite(arrays[name]).all() for name in arrays)


def test_the_arrays_of_an_image_are_upstreams() -> None:
    # Arrange
    seeded_networks.upstream("sam2")
    from sam2.modeling.sam2_base import SAM2Base
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    state = seeded_networks.sam2_state()
    network = load_network(state, seeded_networks.NARROW, torch.device("cpu"))
    theirs = seeded_networks.upstream_sam2(seeded_networks.NARROW, state, video=False)
    assert isinstance(theirs, SAM2Base)
    with pytest.warns(DeprecationWarning, match=r"torch\.jit\.script"):
        predictor = SAM2ImagePredictor(theirs)
    predictor._bb_feat_sizes = [(4 * GRID,) * 2, (2 * GRID,) * 2, (GRID,) * 2]
    predictor.set_image(INPUTS["image"])
    points = {"point_coords": INPUTS["points"], "point_labels": INPUTS["point_labels"]}
    box = {"box": INPUTS["box"]}
    _, ious, low_res = predictor.predict(**box)
    asked = {
        "points": points,
        "box": box,
        "points_box": points | box,
        "points_mask": points | {"mask_input": low_res[[ious.argmax()]]},
    }

    # Act
    arrays = dump_sam2_image(network, INPUTS)

    # Assert
    for kind, prompts in asked.items():
        for name, several in (("multi", True), ("single", False)):
            answer = predictor.predict(**prompts, multimask_output=several, return_logits=True)
            for part, array in zip(("logits", "iou", "low_res"), answer, strict=True):
                ours = arrays[f"image/{kind}/{name}/{part}"]
                np.testing.assert_allclose(ours, array, atol=1e-4, rtol=0, err_msg=f"{kind} {part}")


def test_a_case_without_a_volume_gives_the_image_alone(case: Path, tmp_path: Path) -> None:
    _without("volume")(case)

    dump("medsam2", case, tmp_path / "out.npz")

    with np.load(tmp_path / "out.npz") as arrays:
        assert {name.split("/")[0] for name in arrays} == {"image"}


def _without(name: str) -> Any:
    arrays: dict[str, Any] = {k: v for k, v in INPUTS.items() if k != name}
    return lambda case: np.savez(case / "inputs.npz", **arrays)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda case: (case / "state.pt").unlink(), CheckpointUnreadable, "no such file"),
        (lambda case: (case / "inputs.npz").unlink(), UnreadableFile, "no such file"),
        (lambda case: (case / "inputs.npz").write_bytes(b"x"), UnreadableFile, "no archive"),
        (_without("box"), UnreadableFile, "'box' is missing"),
        (_without("image_size"), UnreadableFile, "'image_size' is missing"),
    ],
    ids=["no weights", "no inputs", "no archive", "no box", "no side"],
)
def test_a_case_that_is_not_whole_is_said(
    case: Path, tmp_path: Path, change: Any, error: Any, said: str
) -> None:
    change(case)

    with pytest.raises(error, match=said):
        dump("sam2", case, tmp_path / "out.npz")

    assert not (tmp_path / "out.npz").exists()


def test_another_networks_weights_are_named(case: Path, tmp_path: Path) -> None:
    torch.save(seeded_networks.sam2_state("narrow"), case / "state.pt")

    with pytest.raises(
        WrongArchitecture, match=r"holds SAM 2\.1 of width 16 .*, not SAM 2\.1 tiny\."
    ):
        dump("medsam2", case, tmp_path / "out.npz")
    with pytest.raises(WrongArchitecture, match="not IMIS-Net ViT-B"):
        dump("imisnet", case, tmp_path / "out.npz")
