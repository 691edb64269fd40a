"""IMIS-Net as a segmenter: every prompt counts, several at once are each alone, text as CLIP reads
it.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agent.ports import PromptedSlice
from agent.values import Box, Point, PromptKind, Prompts
from models.errors import CheckpointUnreadable, PromptNotUnderstood, WrongArchitecture
from models.runtime.resources import Resources
from models.segmenters.imisnet.architecture import Architecture
from models.segmenters.imisnet.opening import open_imisnet
from models.segmenters.imisnet.segmenter import ImisNetSegmenter
from models.segmenters.imisnet.text import TextReader, sentence, text_reader
from tests.models.segmenters.imisnet.conftest import NetworkAt

BOX = Prompts(box=Box(10, 12, 40, 60))
CLICKS = Prompts(points=(Point(20, 30), Point(50, 71, positive=False)))
OUTLINE = np.zeros((90, 70), dtype=bool)
OUTLINE[20:50, 10:40] = True


def image(shape: tuple[int, ...] = (90, 70), seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


@pytest.fixture
def reader(clip_files: Path, tiny_architecture: Architecture) -> TextReader:
    return TextReader(clip_files, tiny_architecture.text_positions)


@pytest.fixture
def segmenter(tiny_at: NetworkAt, reader: TextReader) -> ImisNetSegmenter:
    return ImisNetSegmenter(tiny_at(64), reader=reader)


@pytest.mark.parametrize(
    "shape", [(90, 70), (1, 1), (8, 5000), (5000, 8), (64, 64), (90, 70, 3), (1, 1, 3)]
)
def test_slices_of_any_shape_are_drawn_at_their_own_size(
    segmenter: ImisNetSegmenter, shape: tuple[int, ...]
) -> None:
    # Arrange
    rows, columns = shape[:2]

    # Act
    encoding = segmenter.encode(image(shape))
    answer = segmenter.segment(encoding, Prompts(box=Box(0, 0, columns - 1, rows - 1)))

    # Assert
    assert encoding.embedding.shape == (32, 4, 4)
    assert encoding.embedding.dtype == np.float32
    assert encoding.source_shape == (rows, columns)
    assert answer.mask.shape == (rows, columns)
    assert answer.mask.dtype == np.bool_
    assert answer.logits.shape == (16, 16)
    assert answer.logits.dtype == np.float32


def test_grey_is_encoded_as_the_same_grey_in_rgb_and_colour_otherwise(
    segmenter: ImisNetSegmenter,
) -> None:
    grey = image()
    tinted = np.stack([grey, grey, 1 - grey], axis=2)

    same = segmenter.encode(np.repeat(grey[..., None], 3, axis=2)).embedding

    np.testing.assert_array_equal(segmenter.encode(grey).embedding, same)
    assert np.abs(segmenter.encode(tinted).embedding - same).max() > 0.1


def test_the_answer_is_the_best_of_masks_1_to_3(
    segmenter: ImisNetSegmenter, tiny_at: NetworkAt
) -> None:
    """Mask 0 never is, even where its own opinion is the highest."""
    # Arrange
    network = tiny_at(64)
    with torch.no_grad():
        network.mask_decoder.iou_prediction_head.layers[2].bias.copy_(
            torch.tensor([9.0, -2.0, 3.0, 0.5])
        )
    segmenter = ImisNetSegmenter(network)

    # Act
    answer = segmenter.segment(segmenter.encode(image()), BOX)

    # Assert
    assert answer.choice == 1
    assert len(answer.candidate_ious) == 3
    assert max(answer.candidate_ious) == answer.candidate_ious[1] > 1.0
    assert answer.predicted_iou == 1.0


@pytest.mark.parametrize(
    ("more", "than"),
    [
        (replace(CLICKS, box=BOX.box), BOX),
        (replace(CLICKS, box=BOX.box), CLICKS),
        (CLICKS, replace(CLICKS, points=CLICKS.points[1:])),
        (replace(BOX, mask=OUTLINE), BOX),
        (replace(BOX, previous_logits=np.full((16, 16), 3, dtype=np.float32)), BOX),
        (replace(BOX, text="liver"), BOX),
        (replace(BOX, text="liver"), replace(BOX, text="spleen")),
    ],
    ids=["clicks", "box", "an older click", "outline", "logits", "text", "which text"],
)
def test_every_part_of_a_prompt_counts(segmenter: ImisNetSegmenter, more: Any, than: Any) -> None:
    encoding = segmenter.encode(image())

    with_it, without = (segmenter.segment(encoding, prompts) for prompts in (more, than))

    assert np.abs(with_it.logits - without.logits).max() > 1e-3


def test_earlier_logits_come_before_an_outline(segmenter: ImisNetSegmenter) -> None:
    encoding = segmenter.encode(image())
    logits = np.full((16, 16), 3, dtype=np.float32)

    both = segmenter.segment(encoding, replace(BOX, previous_logits=logits, mask=OUTLINE))

    alone = segmenter.segment(encoding, replace(BOX, previous_logits=logits))
    np.testing.assert_array_equal(both.logits, alone.logits)


def test_an_outline_goes_in_where_it_lies(
    segmenter: ImisNetSegmenter, tiny_at: NetworkAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block of the slice becomes the same share of the mask prompt, positive inside."""
    # Arrange
    network = tiny_at(64)
    seen = []
    hook = network.prompt_encoder.mask_downscaling.register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0])
    )
    segmenter = ImisNetSegmenter(network)

    # Act
    segmenter.segment(
        segmenter.encode(image((64, 32))),
        Prompts(mask=np.eye(2, dtype=bool).repeat(32, 0).repeat(16, 1)),
    )
    hook.remove()

    # Assert
    inside = (seen[0][0, 0] > 0).numpy()
    assert seen[0].shape == (1, 1, 16, 16)
    np.testing.assert_array_equal(inside, np.eye(2, dtype=bool).repeat(8, 0).repeat(8, 1))


def test_many_asks_on_many_slices_are_what_each_is_alone(segmenter: ImisNetSegmenter) -> None:
    # Arrange
    one, other = segmenter.encode(image()), segmenter.encode(image((40, 130), seed=9))
    logits = segmenter.segment(one, BOX).logits
    asks = [
        PromptedSlice(one, BOX),
        PromptedSlice(other, replace(BOX, text="liver")),
        PromptedSlice(one, CLICKS),
        PromptedSlice(other, BOX),
        PromptedSlice(one, replace(BOX, text="left kidney")),
        PromptedSlice(one, replace(CLICKS, previous_logits=logits)),
        PromptedSlice(other, replace(CLICKS, previous_logits=-logits)),
        PromptedSlice(one, Prompts(text="spleen")),
    ]

    # Act
    together = segmenter.segment_many(asks)

    # Assert
    assert segmenter.segment_many([]) == []
    assert len(together) == len(asks)
    for ask, answer in zip(asks, together, strict=True):
        alone = segmenter.segment(ask.encoding, ask.prompts)
        assert answer.mask.shape == ask.encoding.source_shape
        assert answer.choice == alone.choice
        np.testing.assert_allclose(answer.logits, alone.logits, atol=5e-5)


def test_asks_of_one_form_are_one_run_of_the_decoder(
    segmenter: ImisNetSegmenter, tiny_at: NetworkAt
) -> None:
    # Arrange
    network = tiny_at(64)
    runs = []
    network.mask_decoder.register_forward_hook(lambda _, inputs, __: runs.append(len(inputs[0])))
    segmenter = ImisNetSegmenter(network)
    encodings = [segmenter.encode(image(seed=seed)) for seed in range(3)]

    # Act
    segmenter.segment_many(
        [PromptedSlice(encoding, prompts) for encoding in encodings for prompts in (BOX, CLICKS)]
    )

    # Assert
    assert runs == [3, 3]


@pytest.mark.parametrize(
    "prompts", [Prompts(), replace(BOX, text="liver"), Prompts(text="liver")], ids=str
)
def test_what_it_cannot_use_is_refused(tiny_at: NetworkAt, prompts: Prompts) -> None:
    segmenter = ImisNetSegmenter(tiny_at(64))
    encoding = segmenter.encode(image())

    with pytest.raises(PromptNotUnderstood, match=r"imisnet needs .*: box, mask, point"):
        segmenter.segment(encoding, prompts)


def test_logits_of_another_side_are_refused(segmenter: ImisNetSegmenter) -> None:
    encoding = segmenter.encode(image())

    with pytest.raises(ValueError, match=r"\(16, 16\).*\(64, 64\)"):
        segmenter.segment(encoding, replace(BOX, previous_logits=np.zeros((64, 64), np.float32)))


class TestText:
    @pytest.mark.parametrize(
        ("said", "read"),
        [
            ("liver", "A segmentation area of a liver."),
            ("Left_Kidney", "A segmentation area of a left kidney."),
            ("  non-enhancing   tumour\n", "A segmentation area of a non enhancing tumour."),
        ],
    )
    def test_names_are_read_in_the_sentence_of_the_training(self, said: str, read: str) -> None:
        assert sentence(said) == read

    def test_tokens_start_and_end_as_clip_wants_and_are_cut_at_the_last_position(
        self, reader: TextReader
    ) -> None:
        # Act
        short, mask = reader.tokens("li")
        long, _ = reader.tokens("li " * 50)

        # Assert
        assert short.shape == mask.shape
        assert (short[0, 0], short[0, -1]) == (598, 599)
        assert mask.all()
        assert long.shape == (1, 40)
        assert (long[0, 0], long[0, -1]) == (598, 599)

    def test_merges_are_used(self, reader: TextReader, clip_files: Path) -> None:
        """The words "liver" is cut into: li, v, er at the word's end."""
        import json

        vocabulary = json.loads((clip_files / "vocab.json").read_text())

        tokens = reader.tokens("liver")[0][0].tolist()

        liver = [vocabulary[part] for part in ("li", "v", "er</w>")]
        assert tokens[-5:-2] == liver
        assert tokens[-2] == vocabulary[".</w>"]

    def test_a_text_is_embedded_once(self, tiny_at: NetworkAt, reader: TextReader) -> None:
        # Arrange
        network = tiny_at(64)
        read = []
        network.text_model.register_forward_hook(lambda *_: read.append(1))
        segmenter = ImisNetSegmenter(network, reader=reader)
        encoding = segmenter.encode(image())

        # Act
        for text in ("liver", "liver", "spleen", "liver"):
            segmenter.segment(encoding, Prompts(text=text))

        # Assert
        assert len(read) == 2

    def test_it_takes_text_only_with_the_tokenizer(
        self, tiny_at: NetworkAt, reader: TextReader
    ) -> None:
        assert ImisNetSegmenter(tiny_at(64)).supported_prompts == {
            PromptKind.BOX,
            PromptKind.POINT,
            PromptKind.MASK,
        }
        with_text = ImisNetSegmenter(tiny_at(64), reader=reader).supported_prompts
        assert with_text == set(PromptKind) - {PromptKind.SCRIBBLE}

    def test_the_first_folder_with_both_files_is_taken(
        self, tmp_path: Path, clip_files: Path
    ) -> None:
        # Arrange: one file alone is no tokenizer
        (tmp_path / "vocab.json").write_text("{}")

        # Act, Assert
        assert text_reader([tmp_path, clip_files], 24) is not None

    def test_a_missing_tokenizer_is_said_with_the_files_and_the_place(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING):
            found = text_reader([tmp_path / "here", tmp_path / "there"], 24)

        assert found is None
        assert "vocab.json and merges.txt" in caplog.text
        assert str(tmp_path / "here") in caplog.text


class TestOpening:
    def test_another_networks_checkpoint_is_named(self, tmp_path: Path) -> None:
        # Arrange
        path = tmp_path / "sam.pth"
        weights = torch.zeros(768, 3, 16, 16)
        position = torch.zeros(1, 64, 64, 768)
        torch.save(
            {"image_encoder.patch_embed.proj.weight": weights, "image_encoder.pos_embed": position},
            path,
        )

        # Act, Assert
        with pytest.raises(WrongArchitecture, match=r"sam\.pth holds SAM ViT-B, not IMIS-Net"):
            open_imisnet(path, Resources(threads=1, device="cpu"))

    def test_what_is_no_checkpoint_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "imis.pth").write_bytes(b"nothing")

        with pytest.raises(CheckpointUnreadable, match=r"imis\.pth"):
            open_imisnet(tmp_path / "imis.pth", Resources(threads=1, device="cpu"))
