"""SAM against the predictor of segment-anything 1.0 with the same weights: the same numbers to 1e-4."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from agent.ports import Ask
from agent.values import Box, Point, Prompts
from models.errors import WrongArchitecture
from models.resources import Resources
from models.sam.architecture import VIT_B, VIT_H, VIT_L
from models.sam.frame import Frame
from models.sam.segmenter import SamSegmenter

BOUND = 1e-4
BOX = Box(30, 20, 100, 70)
CLICKS = (Point(60, 40), Point(20, 10, positive=False), Point(81.5, 52.25))
PROMPTS = {
    "points": Prompts(points=CLICKS),
    "box": Prompts(box=BOX),
    "points_box": Prompts(box=BOX, points=CLICKS),
    "one click": Prompts(points=CLICKS[:1]),
}


def slice_of(shape):
    """An RGB slice (rows, columns, 3) uint8 with a bright ellipse on noise."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    noise = np.random.default_rng(4).integers(0, 90, (*shape, 3))
    inside = ((x - 65) / 35) ** 2 + ((y - 45) / 25) ** 2 <= 1
    return (noise + np.where(inside, 120, 30)[..., None]).astype(np.uint8)


class Pair:
    """Our segmenter and upstream's predictor, with the same weights on the same slice."""

    def __init__(self, networks, architecture, folder, image):
        from segment_anything import SamPredictor
        from segment_anything.build_sam import _build_sam

        path = networks.sam_checkpoint(folder, architecture)
        resources = Resources(cache_dir=folder, threads=1, device="cpu")
        self.ours = SamSegmenter("sam", path, architecture, resources=resources)
        self.encoding = self.ours.encode(image.astype(np.float32) / 255)
        theirs = _build_sam(
            encoder_embed_dim=architecture.width,
            encoder_depth=architecture.depth,
            encoder_num_heads=architecture.heads,
            encoder_global_attn_indexes=list(architecture.global_blocks),
        )
        theirs.load_state_dict(networks.sam_state(architecture), strict=True)
        self.theirs = SamPredictor(theirs)
        self.theirs.set_image(image)

    def upstream(self, prompts, *, multimask=True):
        """(logits at the slice's size, predicted IoU, low-resolution logits) as upstream answers."""
        points, box, earlier = prompts.points, prompts.box, prompts.previous_logits
        return self.theirs.predict(
            point_coords=np.array([(p.x, p.y) for p in points]) if points else None,
            point_labels=np.array([int(p.positive) for p in points]) if points else None,
            box=np.array([box.x0, box.y0, box.x1, box.y1]) if box else None,
            mask_input=None if earlier is None else earlier[None],
            multimask_output=multimask,
            return_logits=True,
        )


@pytest.fixture(scope="module", params=[(90, 140), (160, 101)], ids=["lying", "upright"])
def pair(request, networks, tmp_path_factory):
    """A narrow SAM at 1024 pixels, as upstream's builder has it."""
    architecture = replace(networks.NARROW_SAM, side_px=1024)
    return Pair(networks, architecture, tmp_path_factory.mktemp("sam"), slice_of(request.param))


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
    assert gap(answer.logits, low_res[best].clip(-32, 32)) < BOUND
    certain = np.abs(logits[best]) > BOUND
    np.testing.assert_array_equal(answer.mask[certain], logits[best][certain] > 0)
    assert np.ptp(low_res[best]) > 0.5  # numbers that say something
    return answer


def test_the_embedding_is_upstreams(pair):
    theirs = pair.theirs.features[0].numpy()

    assert gap(pair.encoding.embedding, theirs) < BOUND
    assert np.ptp(theirs) > 1


@pytest.mark.parametrize("prompts", PROMPTS.values(), ids=PROMPTS.keys())
def test_prompts_give_upstreams_answer_and_so_does_going_on_from_it(pair, prompts):
    first = check(pair, prompts)

    check(pair, replace(prompts, previous_logits=first.logits))


def test_logits_alone_are_a_prompt(pair):
    first = check(pair, PROMPTS["box"])

    check(pair, Prompts(previous_logits=first.logits))


@pytest.mark.parametrize("prompts", PROMPTS.values(), ids=PROMPTS.keys())
def test_the_single_mask_is_upstreams_too(pair, prompts):
    low_res, ious = pair.ours.candidates([Ask(pair.encoding, prompts)], multimask=False)

    _, their_ious, their_low_res = pair.upstream(prompts, multimask=False)
    assert gap(low_res[0], their_low_res) < BOUND
    assert gap(ious[0], their_ious) < BOUND


@pytest.mark.parametrize(
    ("architecture", "size"), [(VIT_B, "vit_b"), (VIT_L, "vit_l"), (VIT_H, "vit_h")]
)
def test_the_sizes_have_upstreams_tensors(architecture, size):
    """Shapes alone: the networks are built without memory for their weights."""
    import torch
    from segment_anything import sam_model_registry

    with torch.device("meta"):
        ours = architecture.build().state_dict()
        theirs = sam_model_registry[size]().state_dict()

    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


def test_a_checkpoint_of_sam2_is_no_sam(networks, tmp_path):
    with pytest.raises(WrongArchitecture, match=r"SAM 2\.1 of width 16 .* not SAM ViT-B"):
        SamSegmenter("sam", networks.sam2_checkpoint(tmp_path), VIT_B, resources=Resources())


@pytest.mark.parametrize(
    ("source", "inner"),
    [
        ((512, 512), (1024, 1024)),
        ((100, 50), (1024, 512)),
        ((3, 1000), (3, 1024)),  # 3.07
        ((5, 2048), (3, 1024)),  # 2.5 rounds up
        ((1, 4000), (1, 1024)),  # upstream has no row left and fails
    ],
)
def test_the_longest_side_fills_the_square(source, inner):
    frame = Frame.of(source, 1024)

    assert frame.inner_shape == inner


def test_an_outline_becomes_a_prompt_where_it_lies():
    # Arrange: the lower half of an upright slice; the square's right half is padding
    mask = np.zeros((100, 50), dtype=np.bool_)
    mask[50:] = True

    # Act
    prompt = Frame.of((100, 50), 1024).prompt(mask, 256).numpy()

    # Assert
    assert prompt.shape == (256, 256)
    np.testing.assert_allclose(prompt[140:, :120], 10, atol=1e-4)
    np.testing.assert_allclose(prompt[:120], -10, atol=1e-4)
    np.testing.assert_allclose(prompt[:, 136:], -10, atol=1e-4)
