"""The arrays of SAM 2.1 and MedSAM2 through a volume that trials outside compare: each kind of
prompt, both ways.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional
from transformers import Sam2VideoModel

from models.runtime.encoding import Features
from models.segmenters.prompting import CORNER_FIRST, CORNER_LAST
from models.segmenters.sam2.decoder import SliceEncoder, model_input
from models.segmenters.sam2.heads import Question
from models.segmenters.sam2.memory import Bank, Capacity, Memory
from models.segmenters.sam2.tracker import SliceFeatures, Tracker

Arrays = dict[str, NDArray[Any]]


def dump_sam2_video(network: Sam2VideoModel, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
    """Follow one object through a case's volume as MedSAM2's scripts do: each direction from a
    fresh state.

    `inputs` by the names of the case's inputs.npz: `volume` (D, H, W) uint8 grey, `key_slice`,
    `points` (k, 2) xy and `box` (4,) in source pixels, `point_labels` (k,). Gives video/{points,
    box, mask}/{forward, backward} (slices, H, W) float32 logits, slices in rising order, the key
    slice in. The mask is the filled box: pixels from a corner up to the other, x0 <= x < x1.
    """
    case = _VideoCase(network, inputs)
    arrays: Arrays = {}
    with torch.inference_mode():
        for kind in ("points", "box", "mask"):
            key_logits, memory = case.begin(kind)
            for name, step in (("forward", 1), ("backward", -1)):
                logits = [key_logits, *case.follow(memory, step)]
                arrays[f"video/{kind}/{name}"] = case.at_source(logits[::step])
    return arrays


class _VideoCase:
    """A volume, encoded slice by slice, and the prompts on its key slice."""

    def __init__(self, network: Sam2VideoModel, inputs: Mapping[str, NDArray[Any]]) -> None:
        self._tracker = Tracker(network)
        self._inputs, self._volume = inputs, np.asarray(inputs["volume"], dtype=np.uint8)
        self._key = int(inputs["key_slice"])
        self._side_px = int(network.config.image_size)
        encode = SliceEncoder(network)
        shape = (self._volume.shape[1], self._volume.shape[2])
        self._encodings = [
            Features(embedding[0].numpy(), shape, (finest[0].numpy(), finer[0].numpy()))
            for embedding, finest, finer in (encode(self._pixels(plane)) for plane in self._volume)
        ]

    def begin(self, kind: str) -> tuple[Tensor, Memory]:
        """The key slice's low-resolution logits after the prompt of this kind, and its memory."""
        look = self._look(self._key)
        if kind == "mask":
            return self._tracker.outline(look, self._filled_box())
        points, labels = self._inputs["points"], self._inputs["point_labels"]
        if kind == "box":
            points, labels = self._inputs["box"], np.array([CORNER_FIRST, CORNER_LAST])
        xy = torch.from_numpy(np.asarray(points, dtype=np.float32).reshape(-1, 2))
        rows, columns = self._volume.shape[1:]
        scaled = xy / torch.tensor([columns, rows]) * self._side_px
        question = Question(scaled, torch.from_numpy(np.asarray(labels, dtype=np.int32)))
        answer, memory = self._tracker.prompted(look, question)
        return answer.logits[0], memory

    def follow(self, memory: Memory, step: int) -> list[Tensor]:
        """Low-resolution logits of every slice beyond the key slice, in the order they are
        reached.
        """
        depth, logits = len(self._volume), []
        bank = Bank({self._key: memory}, step, depth, Capacity())
        for z in range(self._key + step, depth if step > 0 else -1, step):
            ((answer, remembered),) = self._tracker.follow(self._look(z), [bank.recall(z)])
            bank.remember(remembered)
            logits.append(answer.logits)
        return logits

    def at_source(self, logits: list[Tensor]) -> NDArray[np.float32]:
        """Low-resolution logits at the slices' own size (n, H, W)."""
        rows, columns = self._volume.shape[1:]
        full = functional.interpolate(
            torch.stack(logits)[:, None], size=(rows, columns), mode="bilinear", align_corners=False
        )
        source_logits: NDArray[np.float32] = full[:, 0].numpy()
        return source_logits

    def _look(self, z: int) -> SliceFeatures:
        return self._tracker.look(z, self._encodings[z])

    def _pixels(self, plane: NDArray[np.uint8]) -> Tensor:
        """A slice as MedSAM2's scripts prepare it: RGB, PIL's bicubic resize of the bytes, less
        mean over deviation.
        """
        side = (self._side_px,) * 2
        image = Image.fromarray(plane).convert("RGB")
        square = np.asarray(image if image.size == side else image.resize(side))
        pixels = np.asarray(square, dtype=np.float32) / np.float32(255)
        return torch.from_numpy(model_input(pixels, self._side_px))

    def _filled_box(self) -> NDArray[np.bool_]:
        x0, y0, x1, y1 = np.asarray(self._inputs["box"], dtype=np.float64).reshape(4)
        y, x = np.ogrid[: self._volume.shape[1], : self._volume.shape[2]]
        return np.asarray((x >= x0) & (x < x1) & (y >= y0) & (y < y1))
