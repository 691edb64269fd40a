"""The arrays of IMIS-Net that trials outside compare: every prompt, each once choosing of three
masks and once single.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agent.ports import PromptedSlice
from agent.values import Box, Point, Prompts
from models.runtime.encoding import Features
from models.segmenters.imisnet.architecture import VIT_B, Architecture
from models.segmenters.imisnet.checkpoint import from_upstream
from models.segmenters.imisnet.frames import model_input, source_logits
from models.segmenters.imisnet.network import ImisNet
from models.segmenters.imisnet.prompts import draw

Arrays = dict[str, NDArray[Any]]


def dump_imisnet(
    state: Mapping[str, Tensor],
    inputs: Mapping[str, NDArray[Any]],
    architecture: Architecture = VIT_B,
) -> Arrays:
    """Run a case: upstream's `state` (key → tensor) and `inputs` by the names of the case's
    inputs.npz.

    `image` (H, W, 3) uint8, `points` (k, 2) xy and `box` (4,) in its pixels, `point_labels` (k,),
    `text_ids` and `text_mask` (1, L), `image_size`. Gives `image_embedding`, `dense_pe`,
    `text_embedding`, and under KIND/ and single/KIND/ `logits` (1, 1, H, W), `low_res` (1, s, s),
    `iou` (1, 1), `semantic` (1, 1, 512), `mask` (1, 1, H, W) bool. WrongArchitecture.
    """
    network = from_upstream(state, architecture).at_side(int(inputs["image_size"]))
    with torch.inference_mode():
        encoding, text = _encoded(network, inputs), _text(network, inputs)
        arrays: Arrays = {
            "image_embedding": encoding.embedding[None],
            "dense_pe": network.prompt_encoder.get_dense_pe().numpy(),
            "text_embedding": text.numpy(),
        }
        for single in (False, True):
            case = _Case(network, encoding, text, single=single)
            prefix = "single/" if single else ""
            for kind, arrays_of_kind in case.all_kinds(inputs).items():
                arrays |= {
                    f"{prefix}{kind}/{name}": array for name, array in arrays_of_kind.items()
                }
    return arrays


def _encoded(network: ImisNet, inputs: Mapping[str, NDArray[Any]]) -> Features:
    image = np.asarray(inputs["image"], dtype=np.uint8)
    pixels = torch.from_numpy(model_input(image, network.side_px))
    rows, columns = image.shape[:2]
    return Features(network.image_encoder(pixels)[0].numpy(), (rows, columns))


def _text(network: ImisNet, inputs: Mapping[str, NDArray[Any]]) -> Tensor:
    token_ids, mask = (
        torch.from_numpy(np.asarray(inputs[name], dtype=np.int64).reshape(1, -1))
        for name in ("text_ids", "text_mask")
    )
    return network.text_embedding(token_ids, mask)


class _Case:
    """One image, prompted in all ways; `single` takes mask 0, else the best of masks 1 to 3."""

    def __init__(self, network: ImisNet, encoding: Features, text: Tensor, *, single: bool) -> None:
        self._network, self._encoding, self._text = network, encoding, text
        self._single = single

    def all_kinds(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, Arrays]:
        """The arrays of each kind of prompt."""
        points, box = _points(inputs), _box(inputs)
        by_points = self._drawn(Prompts(points=points))
        fed_back = by_points["low_res"][0]
        return {
            "points": by_points,
            "box": self._drawn(Prompts(box=box)),
            "points_box": self._drawn(Prompts(points=points, box=box)),
            "points_mask": self._drawn(Prompts(points=points, previous_logits=fed_back)),
            "text": self._drawn(Prompts(), reads=True),
            "text_box": self._drawn(Prompts(box=box), reads=True),
        }

    def _drawn(self, prompts: Prompts, *, reads: bool = False) -> Arrays:
        network, shape = self._network, self._encoding.source_shape
        candidates = draw(
            network, [PromptedSlice(self._encoding, prompts)], self._text if reads else None
        )
        choice = 0 if self._single else 1 + int(candidates.ious[0, 1:].argmax())
        low = candidates.logits[:, choice]
        logits = source_logits(low, network.side_px, shape)[:, None]
        return {
            "logits": logits.numpy(),
            "low_res": low.numpy(),
            "iou": candidates.ious[:, choice : choice + 1].numpy(),
            "semantic": candidates.semantics[:, choice : choice + 1].numpy(),
            "mask": (logits > 0).numpy(),
        }


def _points(inputs: Mapping[str, NDArray[Any]]) -> tuple[Point, ...]:
    xy = np.asarray(inputs["points"], dtype=np.float64).reshape(-1, 2).tolist()
    labels = np.asarray(inputs["point_labels"]).reshape(-1).tolist()
    return tuple(Point(x, y, bool(label)) for (x, y), label in zip(xy, labels, strict=True))


def _box(inputs: Mapping[str, NDArray[Any]]) -> Box:
    x0, y0, x1, y1 = np.asarray(inputs["box"], dtype=np.float64).reshape(4).tolist()
    return Box(x0, y0, x1, y1)
