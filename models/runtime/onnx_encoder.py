"""An image encoder through ONNX Runtime: exported once, checked against torch, kept in a cache
folder.

On two cores this halves the time of a slice and moves no value by more than 1e-5. Where ONNX
Runtime is not installed, or the export fails or differs, torch runs the encoder and a log line says
so.
"""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from models.runtime.cores import usable_cores
from models.runtime.devices import CPU, chosen_device, chosen_dtype, computing
from models.runtime.resources import Resources

_log = logging.getLogger(__name__)

OPSET = 17
TOLERANCE = 1e-3  # worst difference to eager torch that an export may show before it is refused
_LARGEST_BYTES = 1_900_000_000  # a protobuf message ends at 2 GiB; SAM ViT-H is larger
_RECIPE = 2  # part of the cache's key: raise it when the way of exporting changes


Maps = tuple[NDArray[np.float32], ...]
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
            made = self._module(torch.from_numpy(pixels).to(self._device))
        maps = (made,) if isinstance(made, torch.Tensor) else made
        return tuple(each.float().cpu().numpy() for each in maps)


class OnnxEncoder:
    """The encoder as ONNX Runtime runs it, float32, on `threads` cores (None: all that this process
    may use).

    ValueError when `graph` is nothing that it can run.
    """

    runtime = "onnxruntime"

    def __init__(self, graph: bytes, threads: int | None = None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or usable_cores()
        options.log_severity_level = (
            3  # errors: it warns of each shape in a trace that it finds again by itself
        )
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        try:
            self._session = onnxruntime.InferenceSession(
                graph, options, providers=["CPUExecutionProvider"]
            )
        except _runtime_faults() as fault:
            raise ValueError(str(fault)) from fault

    def __call__(self, pixels: NDArray[np.float32]) -> Maps:
        """Feature maps of prepared pixels; RuntimeError, as torch, for what ONNX Runtime cannot do
        or has no memory for.
        """
        try:
            return tuple(self._session.run(None, {"pixels": pixels}))
        except _runtime_faults() as fault:
            raise RuntimeError(str(fault)) from fault


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
) -> ImageEncoder:
    """The quickest encoder that this machine can run `module` with, the same in its results as
    torch.

    `input_shape` (n, 3, side, side) is fixed in the export; `key` names network and weights in the
    cache. On a GPU, and in another `dtype` than float32, torch runs it, on a GPU `compiled` by
    torch.compile if that is wished.
    """
    if _bytes_of(module) > _LARGEST_BYTES:
        _log.info("the image encoder is too large for an ONNX file: torch runs it")
        eager = True
    if eager or device.type != "cpu" or dtype is not torch.float32:
        return EagerEncoder(module, device, dtype, compiled=compiled and device.type != "cpu")
    try:
        import onnxruntime
    except ImportError:
        _log.warning(
            "onnxruntime is not installed: torch runs the image encoder, at half the speed"
        )
        return EagerEncoder(module)
    name = f"{key}-torch{torch.__version__}-onnxruntime{onnxruntime.__version__}-{_RECIPE}.onnx"
    path = (cache_dir or default_cache_dir()) / name
    try:
        return _from_cache(path, threads) or _exported(module, input_shape, path, threads)
    except (RuntimeError, ValueError, ImportError) as fault:
        _log.warning("the image encoder could not be exported (%s): torch runs it", fault)
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
    return sum(each.numel() * each.element_size() for each in module.parameters())


def default_cache_dir() -> Path:
    """`segnode` in the user's cache folder (XDG base directory specification)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "segnode"


def _runtime_faults() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises for a graph that it cannot run; these have no root of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as faults

    return (
        faults.Fail,
        faults.InvalidArgument,
        faults.InvalidGraph,
        faults.InvalidProtobuf,
        faults.NotImplemented,
        faults.RuntimeException,
    )


def _from_cache(path: Path, threads: int | None) -> ImageEncoder | None:
    """The encoder kept at `path`; None where there is none or it cannot be used."""
    try:
        return OnnxEncoder(path.read_bytes(), threads)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as fault:
        _log.warning("the cached image encoder %s is of no use (%s): made anew", path, fault)
        return None


def _exported(
    module: torch.nn.Module, input_shape: tuple[int, ...], path: Path, threads: int | None
) -> ImageEncoder:
    """The encoder exported now, compared with torch once, and kept at `path` if that can be
    written.
    """
    _log.info("exporting the image encoder for ONNX Runtime (once; kept at %s)", path)
    graph = export(module, input_shape)
    encoder = OnnxEncoder(graph, threads)
    probe = np.random.default_rng(0).random(input_shape, dtype=np.float32)
    pairs = zip(encoder(probe), EagerEncoder(module)(probe), strict=True)
    gap = max(float(np.abs(ours - theirs).max()) for ours, theirs in pairs)
    if not gap < TOLERANCE:
        raise ValueError(f"the export differs from torch by {gap:.1e}, more than {TOLERANCE:.0e}")
    try:
        write_atomically(path, graph)
    except OSError as fault:
        _log.warning("the image encoder could not be kept at %s (%s)", path, fault)
    return encoder


def export(module: torch.nn.Module, input_shape: tuple[int, ...]) -> bytes:
    """`module` as an ONNX graph with input "pixels" of `input_shape` and outputs "features_0",
    "features_1" …
    """
    maps = len(EagerEncoder(module)(np.zeros(input_shape, dtype=np.float32)))
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # the trace-based exporter is announced as legacy and warns of each constant that it folds;
        # the comparison with torch afterwards is what tells a good trace from a bad one
        warnings.simplefilter("ignore")
        path = Path(folder) / "encoder.onnx"
        torch.onnx.export(
            module,
            (torch.zeros(input_shape),),
            path,
            dynamo=False,
            opset_version=OPSET,
            input_names=["pixels"],
            output_names=[f"features_{number}" for number in range(maps)],
        )
        return path.read_bytes()


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that is whole or not there, also when several processes write it at once."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:  # whatever happened, leave no half file behind
        Path(temporary).unlink(missing_ok=True)
        raise
