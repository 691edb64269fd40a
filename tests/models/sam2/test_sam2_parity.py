"""SAM 2.1 on a slice against the package sam2 with the same weights: the same numbers to 1e-4."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from yaml import safe_load

from agent.ports import Ask
from agent.values import Box, Point, Prompts
from models.resources import Resources
from models.sam2.architecture import BASE_PLUS, LARGE, MEDSAM2, SMALL, TINY
from models.sam2.decoder import SliceEncoder, model_input
from models.sam2.network import load_network
from models.sam2.segmenter import Sam2Segmenter

pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script` is deprecated:DeprecationWarning"  # upstream's transforms are scripted
)

BOUND = 1e-4
SHAPE = (90, 140)
BOX = Box(30, 20, 100, 70)
CLICKS = (Point(60, 40), Point(20, 10, positive=False), Point(81.5, 52.25))
PROMPTS = {
    "points": Prompts(points=CLICKS),
    "box": Prompts(box=BOX),
    "points_box": Prompts(box=BOX, points=CLICKS),
    "one click": Prompts(points=CLICKS[:1]),
}


@pytest.fixture(scope="module")
def image():
    """An RGB slice (rows, columns, 3) uint8 with a bright ellipse on noise."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    noise = np.random.default_rng(4).integers(0, 90, (*SHAPE, 3))
    inside = ((x - 65) / 35) ** 2 + ((y - 45) / 25) ** 2 <= 1
    return (noise + np.where(inside, 120, 30)[..., None]).astype(np.uint8)


class Pair:
    """Our segmenter and upstream's image predictor, with the same weights on the same slice."""

    def __init__(self, networks, architecture, size, folder, image):
        from sam2.sam2_image_predictor import SAM2ImagePredictor

        path = networks.sam2_checkpoint(folder, size)
        resources = Resources(cache_dir=folder, threads=1, device="cpu")
        self.ours = Sam2Segmenter("sam2", path, architecture, resources=resources)
        self.encoding = self.ours.encode(image.astype(np.float32) / 255)
        self.theirs = SAM2ImagePredictor(
            networks.upstream_sam2(architecture, networks.sam2_state(size), video=False)
        )
        grid = architecture.grid
        # upstream has the sizes of 1024 pixels written in
        self.theirs._bb_feat_sizes = [(4 * grid,) * 2, (2 * grid,) * 2, (grid,) * 2]
        self.theirs.set_image(image)

    def upstream(self, prompts, *, multimask=True, return_logits=True):
        """(logits at the slice's size, predicted IoU, low-resolution logits) as upstream answers."""
        points, box, earlier = prompts.points, prompts.box, prompts.previous_logits
        return self.theirs.predict(
            point_coords=np.array([(p.x, p.y) for p in points]) if points else None,
            point_labels=np.array([int(p.positive) for p in points]) if points else None,
            box=np.array([box.x0, box.y0, box.x1, box.y1]) if box else None,
            mask_input=None if earlier is None else earlier[None],
            multimask_output=multimask,
            return_logits=return_logits,
        )


@pytest.fixture(scope="module")
def narrow(networks, tmp_path_factory, image):
    """The narrow network at 128 pixels."""
    networks.upstream("sam2")
    return Pair(networks, networks.NARROW, "narrow", tmp_path_factory.mktemp("narrow"), image)


def gap(ours, theirs):
    """The worst difference of two arrays of one shape."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max())


def check(pair, prompts):
    """Our answer is upstream's best of three, and so are the candidates' predicted IoUs."""
    answer = pair.ours.segment(pair.encoding, prompts)
    logits, ious, low_res = pair.upstream(prompts)
    best = int(ious.argmax())
    assert answer.choice == best
    assert gap(answer.candidate_ious, ious) < BOUND
    assert gap(answer.logits, low_res[best]) < BOUND
    certain = np.abs(logits[best]) > BOUND
    np.testing.assert_array_equal(answer.mask[certain], logits[best][certain] > 0)
    assert np.ptp(low_res[best]) > 1  # numbers that say something
    return answer


def test_the_maps_are_upstreams(narrow):
    theirs = narrow.theirs._features

    assert narrow.encoding.embedding.shape == (256, 8, 8)
    assert gap(narrow.encoding.embedding, theirs["image_embed"][0]) < BOUND
    assert gap(narrow.encoding.high_res[0], theirs["high_res_feats"][0][0]) < BOUND
    assert gap(narrow.encoding.high_res[1], theirs["high_res_feats"][1][0]) < BOUND
    assert np.ptp(narrow.encoding.embedding) > 1


@pytest.mark.parametrize("prompts", PROMPTS.values(), ids=PROMPTS.keys())
def test_prompts_give_upstreams_answer(narrow, prompts):
    check(narrow, prompts)


@pytest.mark.parametrize("prompts", PROMPTS.values(), ids=PROMPTS.keys())
def test_earlier_logits_go_back_in_as_upstream_takes_them(narrow, prompts):
    first = check(narrow, PROMPTS["box"])

    check(narrow, Prompts(prompts.box, prompts.points, first.logits))


def test_logits_alone_are_a_prompt(narrow):
    first = check(narrow, PROMPTS["points"])

    check(narrow, Prompts(previous_logits=first.logits))


@pytest.mark.parametrize("prompts", PROMPTS.values(), ids=PROMPTS.keys())
def test_the_single_mask_is_upstreams_too(narrow, prompts):
    # Arrange
    batch = narrow.ours._batch([Ask(narrow.encoding, prompts)])

    # Act
    low_res, ious = narrow.ours._decoder(batch, multimask=False)

    # Assert
    _, their_ious, their_low_res = narrow.upstream(prompts, multimask=False)
    assert gap(low_res[0].clamp(-32, 32), their_low_res) < BOUND
    assert gap(ious[0], their_ious) < BOUND


@pytest.mark.parametrize(
    ("yaml", "architecture"),
    [
        ("sam2.1_hiera_t", TINY),
        ("sam2.1_hiera_s", SMALL),
        ("sam2.1_hiera_b+", BASE_PLUS),
        ("sam2.1_hiera_l", LARGE),
    ],
)
def test_the_sizes_are_those_of_upstreams_configuration(networks, yaml, architecture):
    # Arrange
    networks.upstream("sam2")
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
def test_the_other_sizes_trunks_give_upstreams_maps(networks, image, changes):
    # Arrange
    trunk = replace(networks.NARROW.trunk, **changes)
    architecture = replace(networks.NARROW, trunk=trunk, side_px=256)
    shapes = {
        **networks.upstream_shapes("narrow"),
        "image_encoder.trunk.pos_embed": (1, 16, trunk.background, trunk.background),
    }
    state = networks.seeded(shapes)
    pixels = torch.from_numpy(model_input(image.astype(np.float32) / 255, 256))

    # Act
    with torch.inference_mode():
        network = load_network(state, architecture, torch.device("cpu"))
        ours = SliceEncoder(network)(pixels)[0]
        upstream = networks.upstream_sam2(architecture, state, video=False)
        theirs = upstream.forward_image(pixels)["backbone_fpn"][-1]

    # Assert
    assert ours.shape == (1, 256, 16, 16)
    assert gap(ours - network.no_memory_embedding.view(1, -1, 1, 1), theirs) < BOUND


@pytest.mark.slow
def test_medsam2_at_its_own_512_pixels_is_upstreams(networks, tmp_path, image):
    # Arrange
    networks.upstream("sam2")

    # Act
    pair = Pair(networks, MEDSAM2, "tiny", tmp_path, image)

    # Assert
    assert pair.ours.runtime == "onnxruntime"
    assert pair.encoding.embedding.shape == (256, 32, 32)
    assert gap(pair.encoding.embedding, pair.theirs._features["image_embed"][0]) < BOUND
    first = check(pair, PROMPTS["points_box"])
    check(pair, Prompts(points=CLICKS, previous_logits=first.logits))


def test_upstream_was_asked_for_the_same_device(narrow):
    assert narrow.theirs.device == torch.device("cpu") == narrow.ours.device
