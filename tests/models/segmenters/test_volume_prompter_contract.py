"""What every VolumePrompter promises (agent.ports): the object for its prompts, and nothing else.

A further prompter is one line in PROMPTERS: how it is built, with its smallest network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from agent.errors import AgentError
from agent.fakes import ArraySlices, FakeVolumePrompter
from agent.ports import PromptedSlice, Segmenter, VolumePrompter
from agent.values import (
    Box,
    PromptKind,
    Prompts,
    Scribble,
    VolumePrompts,
    VoxelBox,
    VoxelPoint,
)
from models.errors import ModelsError

PROMPTERS: dict[str, Callable[[], VolumePrompter]] = {
    "fake": FakeVolumePrompter,
}

SHAPE = (9, 40, 48)
MIDDLE = 4
REFUSED = (AgentError, ModelsError)
BOX = VoxelBox(MIDDLE, 9, 13, MIDDLE, 30, 34)


@pytest.fixture(scope="module", params=PROMPTERS)
def prompter(request: pytest.FixtureRequest) -> VolumePrompter:
    """Each prompter once."""
    return PROMPTERS[request.param]()


def volume(seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """A bright block on slices 2 to 6 in noise (z, y, x) float32 in 0..1."""
    array = np.random.default_rng(seed).random(shape, dtype=np.float32) * 0.03
    array[2:7, 10:30, 14:34] += 0.6
    return array


@pytest.fixture
def slices(prompter: VolumePrompter) -> ArraySlices:
    return ArraySlices(volume(), prompter, spacing_mm=(3.0, 1.0, 1.0))


def one_of_each(kinds: Any) -> VolumePrompts:
    """Prompts that hold exactly these kinds, each of which asks for other voxels."""
    mask = np.zeros(SHAPE, dtype=np.bool_)
    mask[3:5, 34:38, 2:9] = True
    return VolumePrompts(
        boxes=(BOX,) if PromptKind.BOX in kinds else (),
        points=(VoxelPoint(7, 5, 6),) if PromptKind.POINT in kinds else (),
        scribbles=(Scribble(np.array([[1, 3, x] for x in range(38, 45)])),)
        if PromptKind.SCRIBBLE in kinds
        else (),
        mask=mask if PromptKind.MASK in kinds else None,
        text="spleen" if PromptKind.TEXT in kinds else "",
    )


def first_prompt(prompter: VolumePrompter) -> VolumePrompts:
    """A prompt that asks for the block, of the first kind that the prompter takes."""
    if PromptKind.BOX in prompter.supported_prompts:
        return VolumePrompts(boxes=(BOX,))
    return one_of_each({min(prompter.supported_prompts)})


def test_it_is_a_segmenter_that_is_prompted_in_volumes(prompter: VolumePrompter) -> None:
    assert isinstance(prompter, VolumePrompter)
    assert prompter.name
    assert prompter.supported_prompts <= frozenset(PromptKind)


def test_the_answer_fills_the_volume(prompter: VolumePrompter, slices: ArraySlices) -> None:
    answer = prompter.segment_volume(slices, first_prompt(prompter))

    assert answer.mask.dtype == np.bool_
    assert answer.mask.shape == SHAPE
    assert 0.0 <= answer.score <= 1.0
    assert answer.logits is None or answer.logits.shape == SHAPE


def test_a_prompt_on_one_slice_gives_the_object_on_others(
    prompter: VolumePrompter, slices: ArraySlices
) -> None:
    if PromptKind.BOX not in prompter.supported_prompts:
        pytest.skip(f"{prompter.name} takes no box")

    answer = prompter.segment_volume(slices, VolumePrompts(boxes=(BOX,)))

    assert answer.mask[MIDDLE].any()
    assert np.count_nonzero(answer.mask.any(axis=(1, 2))) > 1


def test_the_same_prompts_give_the_same_answer_whatever_was_asked_between(
    prompter: VolumePrompter, slices: ArraySlices
) -> None:
    # Arrange
    prompts = first_prompt(prompter)
    other_volume = ArraySlices(np.roll(volume(seed=1), 2, axis=1), prompter)
    further = replace(prompts, points=(VoxelPoint(7, 5, 6),))

    # Act
    first = prompter.segment_volume(slices, prompts)
    if PromptKind.POINT in prompter.supported_prompts:
        prompter.segment_volume(slices, further)
    other = prompter.segment_volume(other_volume, prompts)
    again = prompter.segment_volume(slices, prompts)

    # Assert
    np.testing.assert_array_equal(again.mask, first.mask)
    assert again.score == pytest.approx(first.score, abs=1e-4)
    assert (other.mask != first.mask).any()


@pytest.mark.parametrize("kind", PromptKind)
def test_every_kind_of_prompt_is_used_or_refused(
    prompter: VolumePrompter, slices: ArraySlices, kind: Any
) -> None:
    # Arrange
    prompts = first_prompt(prompter)
    with_kind = replace(one_of_each({kind}), boxes=(BOX,) if prompts.boxes else ())

    # Act, Assert
    if kind not in prompter.supported_prompts:
        with pytest.raises(REFUSED, match=prompter.name):
            prompter.segment_volume(slices, one_of_each({kind}))
        return
    without = prompter.segment_volume(slices, prompts)
    answer = prompter.segment_volume(slices, with_kind)
    if with_kind.kinds != prompts.kinds:
        assert (answer.mask != without.mask).any(), f"{kind} changes nothing"


def test_the_sign_of_a_click_counts(prompter: VolumePrompter, slices: ArraySlices) -> None:
    if not {PromptKind.BOX, PromptKind.POINT} <= prompter.supported_prompts:
        pytest.skip(f"{prompter.name} takes no clicks after a box")
    click = VoxelPoint(MIDDLE, 20, 24)

    inside, outside = (
        prompter.segment_volume(slices, VolumePrompts(boxes=(BOX,), points=(point,))).mask
        for point in (click, replace(click, positive=False))
    )

    assert np.count_nonzero(inside) > np.count_nonzero(outside)


def test_no_prompt_is_refused(prompter: VolumePrompter, slices: ArraySlices) -> None:
    with pytest.raises(REFUSED):
        prompter.segment_volume(slices, VolumePrompts())


@pytest.mark.parametrize(
    "prompts",
    [
        VolumePrompts(boxes=(replace(BOX, z1=SHAPE[0]),)),
        VolumePrompts(boxes=(replace(BOX, z0=-1),)),
        VolumePrompts(points=(VoxelPoint(SHAPE[0], 5, 5),)),
        VolumePrompts(points=(VoxelPoint(0, SHAPE[1], 5),)),
        VolumePrompts(scribbles=(Scribble(np.array([[0, 0, SHAPE[2]]])),)),
    ],
    ids=["box above", "box below", "click above", "click beside", "scribble beside"],
)
def test_a_prompt_outside_the_volume_is_refused(
    prompter: VolumePrompter, slices: ArraySlices, prompts: VolumePrompts
) -> None:
    with pytest.raises(REFUSED):
        prompter.segment_volume(slices, prompts)


def test_nothing_it_is_given_is_written_into(prompter: VolumePrompter) -> None:
    # Arrange
    array, prompts = volume(), one_of_each(prompter.supported_prompts)
    before = array.copy()
    array.setflags(write=False)
    if prompts.mask is not None:
        prompts.mask.setflags(write=False)

    # Act
    answer = prompter.segment_volume(ArraySlices(array, prompter), prompts)

    # Assert
    np.testing.assert_array_equal(array, before)
    assert answer.mask is not prompts.mask


def test_a_slice_alone_is_a_volume_of_one(prompter: VolumePrompter) -> None:
    # Arrange
    segmenter: Segmenter = prompter
    if PromptKind.BOX not in segmenter.supported_prompts:
        pytest.skip(f"{prompter.name} takes no box")
    image, prompts = volume()[MIDDLE], Prompts(box=Box(13, 9, 34, 30))

    # Act
    encoding = segmenter.encode(image)
    answer = segmenter.segment(encoding, prompts)
    (same,) = segmenter.segment_many([PromptedSlice(encoding, prompts)])

    # Assert
    assert encoding.source_shape == answer.mask.shape == image.shape
    assert answer.mask[20, 24]
    assert 0.0 <= answer.predicted_iou <= 1.0
    np.testing.assert_array_equal(same.mask, answer.mask)


def test_a_slice_in_colour_is_taken(prompter: VolumePrompter) -> None:
    colours = np.repeat(volume()[MIDDLE][..., None], 3, axis=2)

    assert prompter.encode(colours).source_shape == colours.shape[:2]
