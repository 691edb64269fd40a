"""SAM 2.1 on a slice against the package sam2 with the same weights: the same numbers to 1e-4."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from yaml import safe_load

from agent.ports import PromptedSlice
from agent.values import Prompts
from models.runtime.resources import Resources
from models.segmenters.sam2.architecture import BASE_PLUS, LARGE, MEDSAM2, SMALL, TINY, Architecture
from models.segmenters.sam2.decoder import SliceEncoder, model_input
from models.segmenters.sam2.network import load_network
from models.segmenters.sam2.segmenter import Sam2Segmenter
from tests.support import parity, seeded_networks

pytestmark = pytest.mark.filterwarnings(
    # upstream's transforms are scripted
    "ignore:`torch.jit.script` is deprecated:DeprecationWarning"
)


@pytest.fixture(scope="module")
def image() -> NDArray[np.uint8]:
    """An RGB slice (rows, columns, 3) uint8."""
    return parity.slice_of((90, 140))


@pytest.fixture(scope="module")
def beside(image: NDArray[np.uint8]) -> Callable[[Architecture, str, Path], parity.Pair]:
    """Puts a network with the weights of a size beside upstream's image predictor."""
    seeded_networks.upstream("sam2")
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    def build(architecture: Architecture, size: str, folder: Path) -> parity.Pair:
        resources = Resources(cache_dir=folder, threads=1, device="cpu")
        path = seeded_networks.sam2_checkpoint(folder, size)
        theirs = SAM2ImagePredictor(
            seeded_networks.upstream_sam2(
                architecture, seeded_networks.sam2_state(size), video=False
            )
        )
        grid = architecture.grid
        # upstream has the sizes of 1024 pixels written in
        theirs._bb_feat_sizes = [(4 * grid,) * 2, (2 * grid,) * 2, (grid,) * 2]
        return parity.Pair.on(
            image, Sam2Segmenter("sam2", path, architecture, resources=resources), theirs
        )

    return build


@pytest.fixture(scope="module")
def narrow(
    beside: Callable[[Architecture, str, Path], parity.Pair],
    tmp_path_factory: pytest.TempPathFactory,
) -> parity.Pair:
    """The narrow network at 128 pixels."""
    return beside(seeded_networks.NARROW, "narrow", tmp_path_factory.mktemp("narrow"))


def test_the_maps_are_upstreams(narrow: parity.Pair) -> None:
    theirs = narrow.theirs._features

    assert narrow.encoding.embedding.shape == (256, 8, 8)
    assert parity.gap(narrow.encoding.embedding, theirs["image_embed"][0]) < parity.BOUND
    assert parity.gap(narrow.encoding.high_res[0], theirs["high_res_feats"][0][0]) < parity.BOUND
    assert parity.gap(narrow.encoding.high_res[1], theirs["high_res_feats"][1][0]) < parity.BOUND
    assert np.ptp(narrow.encoding.embedding) > 1


def test_prompts_give_upstreams_answer(narrow: parity.Pair, prompts: Prompts) -> None:
    narrow.check(prompts)


def test_earlier_logits_go_back_in_as_upstream_takes_them(
    narrow: parity.Pair, prompts: Prompts
) -> None:
    first = narrow.check(parity.PROMPTS["box"])

    narrow.check(Prompts(prompts.box, prompts.points, first.logits))


def test_logits_alone_are_a_prompt(narrow: parity.Pair) -> None:
    first = narrow.check(parity.PROMPTS["points"])

    narrow.check(Prompts(previous_logits=first.logits))


def test_the_single_mask_is_upstreams_too(narrow: parity.Pair, prompts: Prompts) -> None:
    # Arrange
    batch = narrow.ours._batch([PromptedSlice(narrow.encoding, prompts)])

    # Act
    low_res, ious = narrow.ours._decoder(batch, multimask=False)

    # Assert
    _, their_ious, their_low_res = narrow.upstream(prompts, multimask=False)
    assert parity.gap(low_res[0].clamp(-32, 32), their_low_res) < parity.BOUND
    assert parity.gap(ious[0], their_ious) < parity.BOUND


@pytest.mark.parametrize(
    ("yaml", "architecture"),
    [
        ("sam2.1_hiera_t", TINY),
        ("sam2.1_hiera_s", SMALL),
        ("sam2.1_hiera_b+", BASE_PLUS),
        ("sam2.1_hiera_l", LARGE),
    ],
)
def test_the_sizes_are_those_of_upstreams_configuration(yaml: str, architecture: Any) -> None:
    # Arrange
    seeded_networks.upstream("sam2")
    import sam2
    from sam2.modeling.backbones.hieradet import Hiera as TheirHiera

    path = Path(sam2.__file__).parent / "configs" / "sam2.1" / f"{yaml}.yaml"
    said = safe_load(path.read_text())["model"]
    defaults = inspect.signature(TheirHiera).parameters

    # Act
    trunk = {name: default.default for name, default in defaults.items()}
    trunk |= said["image_encoder"]["trunk"]

    # Assert
    ours = architecture.trunk
    assert (ours.width, ours.heads) == (trunk["embed_dim"], trunk["num_heads"])
    assert ours.blocks == tuple(trunk["stages"])
    assert ours.global_blocks == tuple(trunk["global_att_blocks"])
    assert ours.windows == tuple(trunk["window_spec"])
    assert [ours.background] * 2 == list(trunk["window_pos_embed_bkg_spatial_size"])
    assert list(reversed(ours.channels)) == said["image_encoder"]["neck"]["backbone_channel_list"]
    assert architecture.memory_layers == said["memory_attention"]["num_layers"]
    assert architecture.side_px == said["image_size"]


@pytest.mark.parametrize(
    "changes",
    [{"heads": 2, "background": 14}, {"heads": 2, "windows": (8, 4, 16, 8)}],
    ids=["as base-plus", "as large"],
)
def test_the_other_sizes_trunks_give_upstreams_maps(image: NDArray[np.uint8], changes: Any) -> None:
    # Arrange
    trunk = replace(seeded_networks.NARROW.trunk, **changes)
    architecture = replace(seeded_networks.NARROW, trunk=trunk, side_px=256)
    shapes = {
        **seeded_networks.upstream_shapes("narrow"),
        "image_encoder.trunk.pos_embed": (1, 16, trunk.background, trunk.background),
    }
    state = seeded_networks.seeded(shapes)
    pixels = torch.from_numpy(model_input(image.astype(np.float32) / np.float32(255), 256))

    # Act
    with torch.inference_mode():
        network = load_network(state, architecture, torch.device("cpu"))
        ours = SliceEncoder(network)(pixels)[0]
        upstream = seeded_networks.upstream_sam2(architecture, state, video=False)
        theirs = upstream.forward_image(pixels)["backbone_fpn"][-1]

    # Assert
    assert ours.shape == (1, 256, 16, 16)
    assert parity.gap(ours - network.no_memory_embedding.view(1, -1, 1, 1), theirs) < parity.BOUND


@pytest.mark.slow
def test_medsam2_at_its_own_512_pixels_is_upstreams(
    beside: Callable[[Architecture, str, Path], parity.Pair], tmp_path: Path
) -> None:
    pair = beside(MEDSAM2, "tiny", tmp_path)

    assert pair.ours.runtime == "onnxruntime"
    assert pair.encoding.embedding.shape == (256, 32, 32)
    assert (
        parity.gap(pair.encoding.embedding, pair.theirs._features["image_embed"][0]) < parity.BOUND
    )
    first = pair.check(parity.PROMPTS["points_box"])
    pair.check(Prompts(points=parity.CLICKS, previous_logits=first.logits))


def test_upstream_was_asked_for_the_same_device(narrow: parity.Pair) -> None:
    assert narrow.theirs.device == torch.device("cpu") == narrow.ours.device
