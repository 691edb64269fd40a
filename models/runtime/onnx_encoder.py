"""The quickest way to run an image encoder here: ONNX Runtime on a CPU, torch elsewhere.

On two cores ONNX Runtime halves the time of a slice and moves no value by more than 1e-5. Where it
is not installed, or the export fails or differs, torch runs the encoder and a log line says so.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from models.runtime.devices import CPU, chosen_device, chosen_dtype, computing
from models.runtime.onnx_graph import Arrays, OnnxGraph, open_graph
from models.runtime.resources import Resources

_log = logging.getLogger(__name__)

_LARGEST_BYTES = 1_900_000_000  # a protobuf message ends at 2 GiB; SAM ViT-H is larger

Maps = Arrays
"""What an encoder gives: one or several feature maps (n, channels, h, w) float32, in the module's
order.
"""


class ImageEncoder(Protocol):
    """An image encoder as a function of pixels."""

    @property
    def runtime(self) -> str:
        """What runs it."""

    def __call__(self, pixels: NDArray[np.float32]) -> Maps:
        """Feature maps of prepared pixels (n, 3, side, side) float32."""


class EagerEncoder:
    """The encoder as torch runs it, on `device` and with `dtype`; `compiled` by torch.compile."""

    runtime = "torch"

    def __init__(
        self,
        module: torch.nn.Module,
        device: torch.device = CPU,
        dtype: torch.dtype = torch.float32,
        *,
        compiled: bool = False,
    ) -> None:
        self._device, self._dtype = device, dtype
        self._module = torch.compile(module) if compiled else module

    def __call__(self, pixels: NDArray[np.float32]) -> Maps:
        """Feature maps of prepared pixels."""
        with torch.inference_mode(), computing(self._device, self._dtype):
            features = self._module(torch.from_numpy(pixels).to(self._device))
        maps = (features,) if isinstance(features, torch.Tensor) else features
        return tuple(feature_map.float().cpu().numpy() for feature_map in maps)


class OnnxEncoder:
    """The encoder as ONNX Runtime runs it, float32; `graph` has the input "pixels"."""

    runtime = "onnxruntime"

    def __init__(self, graph: OnnxGraph) -> None:
        self._graph = graph

    def __call__(self, pixels: NDArray[np.float32]) -> Maps:
        """Feature maps of prepared pixels; RuntimeError as of OnnxGraph."""
        return self._graph(pixels=pixels)


def fastest_encoder(
    module: torch.nn.Module,
    *,
    input_shape: tuple[int, int, int, int],
    key: str,
    cache_dir: Path | None = None,
    threads: int | None = None,
    eager: bool = False,
    device: torch.device = CPU,
    dtype: torch.dtype = torch.float32,
    compiled: bool = False,
    int8: bool = False,
) -> ImageEncoder:
    """The quickest encoder that this machine can run `module` with, the same in its results as
    torch.

    `input_shape` (n, 3, side, side) is fixed in the export; `key` names network and weights in the
    cache. On a GPU, and in another `dtype` than float32, torch runs it, on a GPU `compiled` by
    torch.compile if that is wished. `int8` rounds its weight matrices where ONNX Runtime runs it.
    """
    if _bytes_of(module) > _LARGEST_BYTES:
        _log.info("the image encoder is too large for an ONNX file: torch runs it")
        eager = True
    if eager or device.type != "cpu" or dtype is not torch.float32:
        return EagerEncoder(module, device, dtype, compiled=compiled and device.type != "cpu")
    pixels = np.random.default_rng(0).random(input_shape, dtype=np.float32)
    try:
        graph = open_graph(
            module, {"pixels": pixels}, key=key, cache_dir=cache_dir, threads=threads, int8=int8
        )
        return OnnxEncoder(graph)
    except (RuntimeError, ValueError, ImportError) as fault:
        _log.warning(
            "ONNX Runtime cannot run the image encoder (%s): torch runs it, at half the speed",
            fault,
        )
        return EagerEncoder(module)


def site_encoder(
    module: torch.nn.Module, resources: Resources, *, side_px: int, key: str
) -> ImageEncoder:
    """`fastest_encoder` for squares of `side_px`, with what the site gives."""
    device = chosen_device(resources.device)
    return fastest_encoder(
        module,
        input_shape=(1, 3, side_px, side_px),
        key=f"{key}-{side_px}",
        cache_dir=resources.cache_dir,
        threads=resources.threads,
        device=device,
        dtype=chosen_dtype(resources.precision, device),
        compiled=resources.compiled,
    )


def _bytes_of(module: torch.nn.Module) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in module.parameters())
