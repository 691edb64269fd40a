"""A network through ONNX Runtime: exported once, checked against torch, kept in a cache folder."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.runtime.cache import default_cache_dir, write_atomically
from models.runtime.cores import usable_cores
from models.runtime.onnx_int8 import quantised

_log = logging.getLogger(__name__)

OPSET = 17
TOLERANCE = 1e-3  # worst difference to eager torch that an export may show before it is refused
INT8_TOLERANCE = 0.25
"""Worst root mean square of the difference to eager torch, as a share of that of the outputs
themselves, that a graph in int8 may show before it is refused."""
_RECIPE = 3  # part of the cache's key: raise it when the way of exporting changes

Arrays = tuple[NDArray[np.float32], ...]
"""What a network gives: one or several float32 arrays, in the module's order."""


class OnnxGraph:
    """A graph as ONNX Runtime runs it, float32, on `threads` cores (None: all that this process
    may use).

    ValueError when `content` is nothing that it can run.
    """

    def __init__(self, content: bytes, threads: int | None = None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or usable_cores()
        # errors alone: it warns of each shape in a trace that it finds again by itself
        options.log_severity_level = 3
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        try:
            self._session = onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except _runtime_faults() as fault:
            raise ValueError(str(fault)) from fault

    def __call__(self, **inputs: NDArray[np.float32]) -> Arrays:
        """The outputs for arrays by input name.

        RuntimeError, as torch, for what ONNX Runtime cannot do or has no memory for.
        """
        try:
            return tuple(self._session.run(None, inputs))
        except _runtime_faults() as fault:
            raise RuntimeError(str(fault)) from fault


def open_graph(
    module: torch.nn.Module,
    examples: Mapping[str, NDArray[np.float32]],
    *,
    key: str,
    cache_dir: Path | None = None,
    threads: int | None = None,
    int8: bool = False,
) -> OnnxGraph:
    """`module` as a graph, out of the cache, or else exported now and compared with torch.

    `examples` are the inputs by name, in the order of the module's arguments: their shapes are
    fixed in the export, their values are what the comparison runs on. `key` names network and
    weights. `int8` rounds its weight matrices (models.runtime.onnx_int8). ImportError where ONNX
    Runtime is not installed, RuntimeError or ValueError where the export fails or differs.
    """
    import onnxruntime

    key = f"{key}-int8" if int8 else key
    name = f"{key}-torch{torch.__version__}-onnxruntime{onnxruntime.__version__}-{_RECIPE}.onnx"
    path = (cache_dir or default_cache_dir()) / name
    return _from_cache(path, threads) or _exported(module, examples, path, threads, int8=int8)


def run_eagerly(module: torch.nn.Module, *inputs: NDArray[np.float32]) -> Arrays:
    """What torch gives for the same inputs."""
    with torch.inference_mode():
        outputs = module(*(torch.from_numpy(array) for array in inputs))
    tensors = (outputs,) if isinstance(outputs, torch.Tensor) else outputs
    return tuple(tensor.numpy() for tensor in tensors)


def export(
    module: torch.nn.Module, examples: Mapping[str, NDArray[np.float32]], outputs: int = 1
) -> bytes:
    """`module` as an ONNX graph with the inputs of `examples` and outputs "output_0", "output_1" …

    The trace runs on zeros, so that a comparison on `examples` shows whether a branch was fixed.
    """
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # the trace-based exporter is announced as legacy and warns of each constant that it folds;
        # the comparison with torch afterwards is what tells a good trace from a bad one
        warnings.simplefilter("ignore")
        path = Path(folder) / "graph.onnx"
        torch.onnx.export(
            module,
            tuple(torch.zeros(array.shape) for array in examples.values()),
            path,
            dynamo=False,
            opset_version=OPSET,
            input_names=list(examples),
            output_names=[f"output_{number}" for number in range(outputs)],
        )
        return path.read_bytes()


def _from_cache(path: Path, threads: int | None) -> OnnxGraph | None:
    """The graph kept at `path`; None where there is none or it cannot be used."""
    try:
        return OnnxGraph(path.read_bytes(), threads)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as fault:
        _log.warning("the cached network %s is of no use (%s): made anew", path, fault)
        return None


def _exported(
    module: torch.nn.Module,
    examples: Mapping[str, NDArray[np.float32]],
    path: Path,
    threads: int | None,
    *,
    int8: bool,
) -> OnnxGraph:
    """The graph exported now, compared with torch once, and kept at `path` if that can be
    written.
    """
    _log.info("exporting a network for ONNX Runtime (once; kept at %s)", path)
    reference = run_eagerly(module, *examples.values())
    content = export(module, examples, len(reference))
    graph = OnnxGraph(content, threads)
    pairs = zip(graph(**examples), reference, strict=True)
    gap = max(float(np.abs(array - expected).max()) for array, expected in pairs)
    if not gap < TOLERANCE:
        raise ValueError(f"the export differs from torch by {gap:.1e}, more than {TOLERANCE:.0e}")
    if int8:
        content = quantised(content)
        graph = OnnxGraph(content, threads)
        _check_rounded(graph(**examples), reference)
    try:
        write_atomically(path, content)
    except OSError as fault:
        _log.warning("the exported network could not be kept at %s (%s)", path, fault)
    return graph


def _check_rounded(outputs: Arrays, reference: Arrays) -> None:
    """ValueError when outputs in int8 are too far from those of torch."""
    share = max(
        float(np.sqrt(np.square(array - expected).mean() / np.square(expected).mean()))
        for array, expected in zip(outputs, reference, strict=True)
    )
    if not share < INT8_TOLERANCE:
        raise ValueError(
            f"in int8 it differs from torch by {share:.2f} of its outputs, more than "
            f"{INT8_TOLERANCE:.2f}"
        )


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
