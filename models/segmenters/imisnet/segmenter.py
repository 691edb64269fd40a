"""IMIS-Net as the agent's segmenter: points, boxes, earlier masks and text, several asks in one run
of the decoder.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agent.ports import Encoding, PromptedSlice
from agent.values import PromptKind, Prompts, Segmentation
from models.runtime.encoding import Features
from models.runtime.onnx_encoder import EagerEncoder, ImageEncoder
from models.segmenters.imisnet.frames import model_input, rgb_of, source_logits
from models.segmenters.imisnet.network import ImisNet
from models.segmenters.imisnet.prompts import NAME, Form, draw
from models.segmenters.imisnet.text import Tokenizer
from models.segmenters.prompting import in_groups, require_understood

_PIXELS_AT_ONCE = 8 * 1024 * 1024  # of the model's square in one run of the decoder: about 1.5 GB
_TEXTS_KEPT = 256


class ImisNetSegmenter:
    """A promptable segmenter (agent.ports.Segmenter) on a loaded `network`, at the side that this
    works at.

    `reader` of text (None: it takes no text); `encoder` of images at that side (None: the network's
    own, in torch). All clicks, the box, the earlier logits (or an outline) and the text go in
    together; of masks 1 to 3 the one of the highest predicted IoU is the answer. One instance
    serves one thread at a time.
    """

    name = NAME

    def __init__(
        self,
        network: ImisNet,
        *,
        reader: Tokenizer | None = None,
        encoder: ImageEncoder | None = None,
    ) -> None:
        self._network, self._reader = network, reader
        self._encoder = encoder or EagerEncoder(network.image_encoder, network.device)
        self._texts: OrderedDict[str, Tensor] = OrderedDict()

    @property
    def supported_prompts(self) -> frozenset[PromptKind]:
        """Everything, but text only where CLIP's tokenizer is at hand."""
        kinds = frozenset({PromptKind.BOX, PromptKind.POINT, PromptKind.MASK})
        return kinds if self._reader is None else kinds | {PromptKind.TEXT}

    def encode(self, image: NDArray[np.float32]) -> Features:
        """Run the image encoder on a slice (rows, columns) or (rows, columns, 3) float32 in 0..1,
        of any shape.
        """
        rows, columns = image.shape[:2]
        (embedding,) = self._encoder(model_input(rgb_of(image), self._network.side_px))
        return Features(embedding[0], (rows, columns))

    def segment(self, encoding: Encoding, prompts: Prompts) -> Segmentation:
        """The mask for everything that `prompts` holds; PromptNotUnderstood when that is nothing it
        takes.
        """
        return self.segment_many([PromptedSlice(encoding, prompts)])[0]

    def segment_many(self, asks: Sequence[PromptedSlice]) -> list[Segmentation]:
        """One mask an ask, in order; asks of the same form go in one run of the decoder, whatever
        their slices.
        """
        for ask in asks:
            require_understood(self.name, self.supported_prompts, ask.prompts)
        return in_groups(asks, Form.of, self._draw)

    def _draw(self, asks: Sequence[PromptedSlice]) -> list[Segmentation]:
        """The answers to asks of one form, as many at once as memory should hold."""
        at_once = max(1, _PIXELS_AT_ONCE // self._network.side_px**2)
        answers: list[Segmentation] = []
        with torch.inference_mode():
            for first in range(0, len(asks), at_once):
                some = asks[first : first + at_once]
                texts = [self._embedding(ask.prompts.text) for ask in some if ask.prompts.text]
                candidates = draw(self._network, some, torch.cat(texts) if texts else None)
                pairs = zip(candidates.logits, candidates.ious, some, strict=True)
                answers += [self._chosen(low, ious, ask.encoding) for low, ious, ask in pairs]
        return answers

    def _chosen(self, low: Tensor, ious: Tensor, encoding: Encoding) -> Segmentation:
        """Of `low` (4, s, s) the best of masks 1 to 3; mask 0 is for networks that give a single
        one.
        """
        # the mask is where the logit at the slice's own size is above 0, a probability above 1/2
        opinions = ious[1:].tolist()
        choice = int(ious[1:].argmax())
        chosen = low[1 + choice]
        full = source_logits(chosen[None], self._network.side_px, encoding.source_shape)[0]
        return Segmentation(
            mask=(full > 0).cpu().numpy(),
            logits=chosen.cpu().numpy(),
            predicted_iou=float(np.clip(opinions[choice], 0.0, 1.0)),
            choice=choice,
            candidate_ious=tuple(opinions),
        )

    def _embedding(self, text: str) -> Tensor:
        """The text's embedding (1, width), read once and kept."""
        if text not in self._texts and self._reader is not None:
            token_ids, mask = (
                table.to(self._network.device) for table in self._reader.tokens(text)
            )
            self._texts[text] = self._network.text_embedding(token_ids, mask)
        self._texts.move_to_end(text)
        while len(self._texts) > _TEXTS_KEPT:
            self._texts.popitem(last=False)
        return self._texts[text]
