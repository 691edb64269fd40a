"""SAM against the predictor of segment-anything 1.0 with the same weights: the same numbers to
1e-4.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.ports import PromptedSlice
from agent.values import Prompts
from models.errors import WrongArchitecture
from models.runtime.resources import Resources
from models.segmenters.sam.architecture import VIT_B, VIT_H, VIT_L
from models.segmenters.sam.frame import Frame
from models.segmenters.sam.segmenter import SamSegmenter
from tests.support import parity, seeded_networks


@pytest.fixture(scope="module", params=[(90, 140), (160, 101)], ids=["lying", "upright"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> parity.Pair:
    """A narrow SAM at 1024 pixels, as upstream's builder has it."""
    from segment_anything import SamPredictor
    from segment_anything.build_sam import _build_sam

    architecture, folder = (
        replace(seeded_networks.NARROW_SAM, side_px=1024),
        tmp_path_factory.mktemp("sam"),
    )
    resources = Resources(cache_dir=folder, threads=1, device="cpu")
    path = seeded_networks.sam_checkpoint(folder, architecture)
    theirs = _build_sam(
        encoder_embed_dim=architecture.width,
        encoder_depth=architecture.depth,
        encoder_num_heads=architecture.heads,
        encoder_global_attn_indexes=list(architecture.global_blocks),
    )
    theirs.load_state_dict(seeded_networks.sam_state(architecture), strict=True)
    return parity.Pair.on(
        parity.slice_of(request.param),
        SamSegmenter("sam", path, architecture, resources=resources),
        SamPredictor(theirs),
    )


def test_the_embedding_is_upstreams(pair: parity.Pair) -> None:
    theirs = pair.theirs.features[0].numpy()

    assert parity.gap(pair.encoding.embedding, theirs) < parity.BOUND
    assert np.ptp(theirs) > 1


def test_prompts_give_upstreams_answer_and_so_does_going_on_from_it(
    pair: parity.Pair, prompts: Prompts
) -> None:
    first = pair.check(prompts)

    pair.check(replace(prompts, previous_logits=first.logits))


def test_logits_alone_are_a_prompt(pair: parity.Pair) -> None:
    first = pair.check(parity.PROMPTS["box"])

    pair.check(Prompts(previous_logits=first.logits))


def test_the_single_mask_is_upstreams_too(pair: parity.Pair, prompts: Prompts) -> None:
    low_res, ious = pair.ours.candidates([PromptedSlice(pair.encoding, prompts)], multimask=False)

    _, their_ious, their_low_res = pair.upstream(prompts, multimask=False)
    assert parity.gap(low_res[0], their_low_res) < parity.BOUND
    assert parity.gap(ious[0], their_ious) < parity.BOUND


@pytest.mark.parametrize(
    ("architecture", "size"), [(VIT_B, "vit_b"), (VIT_L, "vit_l"), (VIT_H, "vit_h")]
)
def test_the_sizes_have_upstreams_tensors(architecture: Any, size: str) -> None:
    """Shapes alone: the networks are built without memory for their weights."""
    import torch
    from segment_anything import sam_model_registry

    with torch.device("meta"):
        ours = architecture.build().state_dict()
        theirs = sam_model_registry[size]().state_dict()

    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


def test_a_checkpoint_of_sam2_is_no_sam(tmp_path: Path) -> None:
    with pytest.raises(WrongArchitecture, match=r"SAM 2\.1 of width 16 .* not SAM ViT-B"):
        SamSegmenter("sam", seeded_networks.sam2_checkpoint(tmp_path), VIT_B, resources=Resources())


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
def test_the_longest_side_fills_the_square(source: tuple[int, int], inner: tuple[int, int]) -> None:
    frame = Frame.of(source, 1024)

    assert frame.inner_shape == inner


def test_an_outline_becomes_a_prompt_where_it_lies() -> None:
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
