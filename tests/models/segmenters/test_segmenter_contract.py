"""What every segmenter keeps to (agent.ports.Segmenter), whatever it is built of. A new one is a
line in OPENERS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agent.errors import SegmenterFailed
from agent.fakes import FakeSegmenter, FakeVolumeSegmenter
from agent.ports import Encoding, PromptedSlice, Segmenter
from agent.values import Box, Point, PromptKind, Prompts
from models.errors import PromptNotUnderstood
from models.runtime.encoding import Features
from models.runtime.resources import Resources
from tests.support import seeded_networks


def _sam2(folder: Path) -> Any:
    from models.segmenters.sam2.segmenter import Sam2Segmenter

    return _opened(
        Sam2Segmenter, seeded_networks.sam2_checkpoint(folder), seeded_networks.NARROW, folder
    )


def _medsam2(folder: Path) -> Any:
    from models.segmenters.sam2.volume import Sam2VolumeSegmenter

    return _opened(
        Sam2VolumeSegmenter, seeded_networks.sam2_checkpoint(folder), seeded_networks.NARROW, folder
    )


def _sam(folder: Path) -> Any:
    from models.segmenters.sam.segmenter import SamSegmenter

    return _opened(
        SamSegmenter, seeded_networks.sam_checkpoint(folder), seeded_networks.NARROW_SAM, folder
    )


def _opened(kind: Any, checkpoint: Any, architecture: Any, folder: Path) -> Any:
    resources = Resources(cache_dir=folder, threads=1, device="cpu")
    return kind("segmenter", checkpoint, architecture, resources=resources)


def _imisnet(folder: Path) -> Any:
    from models.segmenters.imisnet.segmenter import ImisNetSegmenter

    return ImisNetSegmenter(seeded_networks.narrow_imisnet(), reader=seeded_networks.LetterReader())


OPENERS = {
    "sam2": _sam2,
    "medsam2": _medsam2,
    "sam": _sam,
    "imisnet": _imisnet,
    "fake": lambda *_: FakeSegmenter(),
    "fake-volume": lambda *_: FakeVolumeSegmenter(),
}


@pytest.fixture(scope="module", params=["litemedsam", *OPENERS])
def segmenter(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Segmenter]:
    """Each segmenter once, with its smallest network; LiteMedSAM has one size, and is there for all
    tests.
    """
    before = torch.get_num_threads()
    if request.param == "litemedsam":
        yield request.getfixturevalue("litemedsam")
    else:
        yield OPENERS[request.param](tmp_path_factory.mktemp(request.param))
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def encoded(segmenter: Segmenter) -> Callable[..., Encoding]:
    """Slices of a shape as the segmenter sees them, each encoded once."""
    return cache(lambda shape, seed=0: segmenter.encode(picture(shape, seed)))


def picture(shape: tuple[int, ...], seed: int = 0) -> Any:
    """A slice of this shape, grey or RGB, float32 in 0..1: noise with a brighter block in the
    middle.
    """
    image = np.random.default_rng(seed).random(shape, dtype=np.float32) * 0.3
    rows, columns = shape[:2]
    image[rows // 4 : rows - rows // 4, columns // 4 : columns - columns // 4] += 0.5
    return image


def middle(shape: tuple[int, ...]) -> Box:
    """A box in the middle half of a slice, at least a pixel."""
    rows, columns = shape[:2]
    return Box(columns // 4, rows // 4, 3 * (columns - 1) // 4, 3 * (rows - 1) // 4)


def prompt_of(kinds: Any, shape: tuple[int, ...], text: str = "spleen") -> Prompts:
    """Prompts that hold exactly these kinds."""
    mask = np.zeros(shape[:2], dtype=np.bool_)
    mask[shape[0] // 4 : shape[0] // 2 + 1, shape[1] // 4 : shape[1] // 2 + 1] = True
    return Prompts(
        box=middle(shape) if PromptKind.BOX in kinds else None,
        points=(Point(shape[1] // 2, shape[0] // 2),) if PromptKind.POINT in kinds else (),
        mask=mask if PromptKind.MASK in kinds else None,
        text=text if PromptKind.TEXT in kinds else "",
    )


def same(one: Any, other: Any) -> None:
    """Whether two answers agree to rounding: batches may be summed in another order."""
    np.testing.assert_allclose(one.logits, other.logits, atol=2e-4, rtol=1e-4)
    assert one.predicted_iou == pytest.approx(other.predicted_iou, abs=1e-4)
    assert one.choice == other.choice
    assert one.candidate_ious == pytest.approx(other.candidate_ious, abs=1e-4)
    assert np.mean(one.mask != other.mask) < 0.002


SHAPES = [(64, 64), (150, 40), (30, 200), (1, 50), (50, 1), (2, 3), (1, 1), (257, 129)]


@pytest.mark.parametrize("colours", [(), (3,)], ids=["grey", "RGB"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_slice_of_any_shape_is_drawn_at_its_own_size(
    segmenter: Segmenter, shape: Any, colours: Any
) -> None:
    # Act
    encoding = segmenter.encode(picture(shape + colours))
    answer = segmenter.segment(encoding, Prompts(box=middle(shape)))

    # Assert
    assert encoding.source_shape == shape
    for each in (encoding.embedding, *encoding.high_res):
        assert each.ndim == 3
        assert each.dtype == np.float32
        assert np.isfinite(each).all()
    assert answer.mask.shape == shape
    assert answer.mask.dtype == np.bool_
    assert answer.logits.ndim == 2
    assert answer.logits.dtype == np.float32
    assert np.isfinite(answer.logits).all()
    assert 0.0 <= answer.predicted_iou <= 1.0


def test_colours_are_seen_and_grey_is_the_same_grey_three_times(segmenter: Segmenter) -> None:
    # Arrange
    grey = picture((48, 40))
    tinted = np.stack([grey, grey, np.zeros_like(grey)], axis=2)

    # Act
    one, repeated, other = (
        segmenter.encode(image).embedding
        for image in (grey, np.repeat(grey[..., None], 3, axis=2), tinted)
    )

    # Assert
    np.testing.assert_allclose(one, repeated, atol=1e-5)
    assert np.abs(one - other).max() > 1e-3


ON_A_SLICE = [kind for kind in PromptKind if kind is not PromptKind.SCRIBBLE]
SUBSETS = [
    frozenset(kinds)
    for size in range(len(ON_A_SLICE) + 1)
    for kinds in combinations(ON_A_SLICE, size)
]


@pytest.mark.parametrize("kinds", SUBSETS, ids=lambda kinds: "+".join(sorted(kinds)) or "nothing")
def test_every_prompt_is_used_or_refused_and_none_is_ignored(
    segmenter: Segmenter, encoded: Callable[..., Encoding], kinds: Any
) -> None:
    # Arrange
    shape = (60, 44)
    encoding, prompts = encoded(shape), prompt_of(kinds, shape)

    # Act, Assert
    if not kinds or kinds - segmenter.supported_prompts:
        with pytest.raises((PromptNotUnderstood, SegmenterFailed), match=segmenter.name):
            segmenter.segment(encoding, prompts)
        with pytest.raises((PromptNotUnderstood, SegmenterFailed), match=segmenter.name):
            segmenter.segment_many([PromptedSlice(encoding, prompts)])
        return
    answer = segmenter.segment(encoding, prompts)
    for kind in kinds if len(kinds) > 1 else ():
        without = segmenter.segment(encoding, prompt_of(kinds - {kind}, shape))
        assert np.abs(answer.logits - without.logits).max() > 1e-3, f"{kind} changes nothing"


def test_every_click_counts_and_so_does_its_sign(
    segmenter: Segmenter, encoded: Callable[..., Encoding]
) -> None:
    # Arrange
    if PromptKind.POINT not in segmenter.supported_prompts:
        pytest.skip(f"{segmenter.name} takes no clicks")
    encoding = encoded((64, 64))
    two = (Point(30, 30), Point(10, 50))
    flipped = (two[0], replace(two[1], positive=False))

    # Act
    both, first, signed = (
        segmenter.segment(encoding, Prompts(points=points)).logits
        for points in (two, two[:1], flipped)
    )

    # Assert
    assert np.abs(both - first).max() > 1e-3
    assert np.abs(both - signed).max() > 1e-3


def test_what_it_drew_can_go_back_in(
    segmenter: Segmenter, encoded: Callable[..., Encoding]
) -> None:
    # Arrange
    encoding = encoded((64, 80))
    first = segmenter.segment(encoding, Prompts(box=middle((64, 80))))

    # Act
    again = segmenter.segment(
        encoding, Prompts(box=Box(10, 10, 50, 50), previous_logits=first.logits)
    )

    # Assert
    assert again.logits.shape == first.logits.shape
    fresh = segmenter.segment(encoding, Prompts(box=Box(10, 10, 50, 50)))
    used = np.abs(again.logits - fresh.logits).max() > 1e-3
    assert used == (PromptKind.MASK in segmenter.supported_prompts)


def test_many_asks_at_once_are_what_each_is_alone(
    segmenter: Segmenter, encoded: Callable[..., Encoding]
) -> None:
    """Mixed prompts on slices of different shapes, interleaved, one twice: each answer in its
    place.
    """
    # Arrange
    slices = {
        shape: encoded(shape, seed) for seed, shape in enumerate([(64, 64), (90, 31), (20, 75)])
    }
    understood = [
        kinds
        for kinds in SUBSETS
        if not kinds - segmenter.supported_prompts
        and (len(kinds) == 1 or kinds == segmenter.supported_prompts)
    ]
    asks = [
        PromptedSlice(encoding, prompt_of(kinds, shape))
        for kinds in understood
        for shape, encoding in slices.items()
    ]
    asks += [
        PromptedSlice(encoding, Prompts(box=Box(1, 1, 5 + number, 9)))
        for number, encoding in enumerate(slices.values())
    ]
    asks.append(asks[0])

    # Act
    together = segmenter.segment_many(asks)

    # Assert
    assert segmenter.segment_many([]) == []
    assert len(together) == len(asks)
    for ask, answer in zip(asks, together, strict=True):
        assert answer.mask.shape == ask.encoding.source_shape
        same(answer, segmenter.segment(ask.encoding, ask.prompts))


def test_the_same_question_has_the_same_answer(segmenter: Segmenter) -> None:
    # Arrange
    image, prompts = picture((70, 55)), Prompts(box=Box(8, 9, 40, 50))

    # Act
    encodings = [segmenter.encode(image) for _ in range(2)]
    answers = [segmenter.segment(encoding, prompts) for encoding in encodings]

    # Assert
    np.testing.assert_array_equal(encodings[0].embedding, encodings[1].embedding)
    np.testing.assert_array_equal(answers[0].logits, answers[1].logits)
    np.testing.assert_array_equal(answers[0].mask, answers[1].mask)


def test_what_it_is_given_stays_as_it_was(segmenter: Segmenter) -> None:
    """Images and encodings that nobody may write to, views with strides of their own: read, and
    left alone.
    """
    # Arrange
    image = picture((40, 96))[:, ::2]
    before = image.copy()
    image.setflags(write=False)

    # Act
    encoding = segmenter.encode(image)
    for each in (encoding.embedding, *encoding.high_res):
        each.setflags(write=False)
    answer = segmenter.segment(encoding, Prompts(box=middle((40, 48))))

    # Assert
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(segmenter.encode(before).embedding, encoding.embedding)
    assert answer.mask.shape == (40, 48)


def test_an_encoding_is_all_that_is_needed_later(segmenter: Segmenter) -> None:
    """Features that were kept on disk and read again, by another process even, are as good as
    new.
    """
    # Arrange
    encoding = segmenter.encode(picture((64, 48)))
    if not isinstance(encoding, Features):
        pytest.skip(f"{segmenter.name} keeps no encodings")
    segmenter.encode(picture((30, 30), seed=5))

    # Act
    kept = Features(
        encoding.embedding.copy(), (64, 48), tuple(each.copy() for each in encoding.high_res)
    )

    # Assert
    prompts = Prompts(box=middle((64, 48)))
    same(segmenter.segment(kept, prompts), segmenter.segment(encoding, prompts))


@pytest.mark.parametrize(
    "box",
    [Box(0, 0, 0, 0), Box(0, 0, 63, 47), Box(63, 47, 63, 47), Box(10.25, 3.5, 10.75, 40)],
    ids=["first pixel", "whole slice", "last pixel", "a line between pixels"],
)
def test_boxes_at_the_edges_are_drawn(
    segmenter: Segmenter, encoded: Callable[..., Encoding], box: Any
) -> None:
    answer = segmenter.segment(encoded((48, 64)), Prompts(box=box))

    assert answer.mask.shape == (48, 64)
    assert np.isfinite(answer.logits).all()


def test_of_several_candidates_the_choice_is_the_best(
    segmenter: Segmenter, encoded: Callable[..., Encoding]
) -> None:
    answer = segmenter.segment(encoded((64, 64)), Prompts(box=middle((64, 64))))

    if answer.candidate_ious:
        assert answer.choice == int(np.argmax(answer.candidate_ious))
        chosen = answer.candidate_ious[answer.choice]
        assert answer.predicted_iou == pytest.approx(min(max(chosen, 0.0), 1.0))
    else:
        assert answer.choice == 0


def test_another_models_logits_are_refused(
    segmenter: Segmenter, encoded: Callable[..., Encoding]
) -> None:
    if PromptKind.MASK not in segmenter.supported_prompts:
        pytest.skip(f"{segmenter.name} takes no logits")
    encoding = encoded((64, 64))

    with pytest.raises(ValueError, match="takes back logits of"):
        segmenter.segment(
            encoding, Prompts(box=middle((64, 64)), previous_logits=np.zeros((7, 9), np.float32))
        )


def test_a_name_and_the_kinds_of_prompt_are_said(segmenter: Segmenter) -> None:
    assert segmenter.name
    assert segmenter.supported_prompts
    assert segmenter.supported_prompts <= frozenset(PromptKind)
