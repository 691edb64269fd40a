"""An exported network: the same numbers as torch, cached once, refused where it differs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.runtime.onnx_graph import (
    OnnxGraph,
    export,
    open_graph,
    run_eagerly,
)

INPUTS = {
    "first": np.random.default_rng(1).random((3, 5), dtype=np.float32),
    "second": np.random.default_rng(2).random(5, dtype=np.float32),
}


class TwoInputs(torch.nn.Module):
    """A network of two inputs and two outputs with seeded weights."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(5, 4)

    def forward(self, first: Any, second: Any) -> Any:
        """A projection, and a product."""
        return self.layer(first), first * second


@pytest.fixture
def network() -> TwoInputs:
    """A TwoInputs ready to run."""
    return TwoInputs().eval().requires_grad_(requires_grad=False)


def test_inputs_go_by_name_and_outputs_come_in_order(network: TwoInputs, tmp_path: Path) -> None:
    # Act
    projection, product = open_graph(network, INPUTS, key="two", cache_dir=tmp_path)(**INPUTS)

    # Assert
    expected = run_eagerly(network, *INPUTS.values())
    np.testing.assert_allclose(projection, expected[0], atol=1e-6)
    np.testing.assert_allclose(product, expected[1], atol=1e-6)


def test_a_second_process_takes_it_out_of_the_cache(
    network: TwoInputs, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Arrange
    caplog.set_level(logging.INFO)
    first = open_graph(network, INPUTS, key="two", cache_dir=tmp_path)
    exports = caplog.text.count("exporting a network")

    # Act
    second = open_graph(network, INPUTS, key="two", cache_dir=tmp_path)

    # Assert
    assert exports == caplog.text.count("exporting a network") == 1
    for ours, theirs in zip(first(**INPUTS), second(**INPUTS), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_an_export_that_differs_is_neither_used_nor_kept(tmp_path: Path) -> None:
    # Arrange
    class DataDependent(torch.nn.Module):
        def forward(self, first: Any, second: Any) -> Any:
            return first * 2 if first.sum() > 1 else first * 3 + second

    # Act, Assert
    with pytest.raises(ValueError, match="differs from torch by"):
        open_graph(DataDependent(), INPUTS, key="branching", cache_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_graph_is_told_as_such() -> None:
    with pytest.raises(ValueError, match="ONNXRuntimeError"):
        OnnxGraph(b"no graph at all")


def test_what_it_cannot_do_is_raised_as_torch_raises_it(network: TwoInputs) -> None:
    """So that whoever waits for "out of memory" hears it of either; its own errors have no root
    that could be caught.
    """
    graph = OnnxGraph(export(network, INPUTS, 2), threads=1)

    with pytest.raises(RuntimeError, match="ONNXRuntimeError"):
        graph(first=INPUTS["first"], second=np.zeros(7, dtype=np.float32))
