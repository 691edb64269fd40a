"""A graph in int8: near the numbers of float32, its weights in bytes, everything else as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from models.runtime.onnx_graph import INT8_TOLERANCE, OnnxGraph, export, open_graph, run_eagerly
from models.runtime.onnx_int8 import quantised

TOKENS = {"tokens": np.random.default_rng(3).normal(size=(1, 40, 64)).astype(np.float32)}


class Attending(torch.nn.Module):
    """A perceptron, and a product of two arrays as attention has it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.widen, self.narrow = torch.nn.Linear(64, 128), torch.nn.Linear(128, 64)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """What the tokens make of each other."""
        changed: torch.Tensor = self.narrow(torch.nn.functional.gelu(self.widen(tokens)))
        return (changed @ changed.transpose(1, 2)) @ changed


@pytest.fixture
def network() -> Attending:
    """An Attending ready to run."""
    return Attending().eval().requires_grad_(requires_grad=False)


def test_the_numbers_stay_near_those_of_float32(network: Attending) -> None:
    content = export(network, TOKENS)

    (rounded,) = OnnxGraph(quantised(content), 1)(**TOKENS)

    (exact,) = run_eagerly(network, *TOKENS.values())
    share = np.sqrt(np.square(rounded - exact).mean() / np.square(exact).mean())
    assert rounded.dtype == np.float32
    assert 1e-4 < share < 0.05


def test_only_products_with_weights_are_rounded(network: Attending) -> None:
    content = export(network, TOKENS)

    before, after = (onnx.load_from_string(part).graph for part in (content, quantised(content)))

    operators = [node.op_type for node in after.node]
    assert operators.count("MatMulInteger") == 2  # the two layers of the perceptron
    assert operators.count("MatMul") == 2  # attention's own
    weights = [tensor for tensor in after.initializer if len(tensor.dims) == 2]
    assert {tensor.data_type for tensor in weights} == {onnx.TensorProto.INT8}
    assert [value.name for value in after.input] == [value.name for value in before.input]
    assert [value.name for value in after.output] == [value.name for value in before.output]


def test_it_is_kept_beside_the_exact_one(network: Attending, tmp_path: Path) -> None:
    exact, rounded = (
        open_graph(network, TOKENS, key="net", cache_dir=tmp_path, int8=int8)(**TOKENS)[0]
        for int8 in (False, True)
    )
    again = open_graph(network, TOKENS, key="net", cache_dir=tmp_path, int8=True)(**TOKENS)[0]

    assert np.abs(exact - rounded).max() > 0
    assert np.array_equal(again, rounded)
    assert len(list(tmp_path.iterdir())) == 2


def test_one_that_is_too_far_from_torch_is_neither_used_nor_kept(tmp_path: Path) -> None:
    # Arrange: what counts is small beside a value that does not count
    layer = torch.nn.Linear(64, 8)
    with torch.no_grad():
        layer.weight[:, 0] = 0
        layer.bias.zero_()
    tokens = TOKENS["tokens"].copy()
    tokens[..., 0] = 1e5

    # Act, Assert
    with pytest.raises(ValueError, match=f"more than {INT8_TOLERANCE:.2f}"):
        open_graph(layer.eval(), {"tokens": tokens}, key="net", cache_dir=tmp_path, int8=True)
    assert not list(tmp_path.iterdir())
