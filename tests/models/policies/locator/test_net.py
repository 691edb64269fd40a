"""The network's shapes, and where it believes the body to be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from models.policies.locator.net import Locator, body_position, load_locator, network_input


def test_maps_of_all_classes_come_out() -> None:
    inputs = network_input(
        torch.zeros(2, 256, 64, 64), torch.zeros(2, 256, 256), torch.zeros(2, 2, 64, 64)
    )

    logits = Locator().eval()(inputs)

    assert inputs.shape == (2, 274, 64, 64)
    assert logits.shape == (2, 14, 128, 128)


def test_it_is_small() -> None:
    assert sum(p.numel() for p in Locator().parameters()) < 2_000_000


def test_positions_run_from_edge_to_edge_of_the_body() -> None:
    square = np.zeros((256, 256), dtype=np.float32)
    square[64:192, 32:224] = 0.5
    square[240:246, :] = 0.9  # a couch

    y, x = body_position(square)

    assert y[16, 0] == pytest.approx(-1, abs=0.05)
    assert y[47, 0] == pytest.approx(1, abs=0.05)
    assert x[0, 8] == pytest.approx(-1, abs=0.05)
    assert x[0, 55] == pytest.approx(1, abs=0.05)


def test_a_moved_body_has_moved_positions() -> None:
    square = np.zeros((256, 256), dtype=np.float32)
    square[64:128, 64:128] = 0.5

    moved = np.roll(square, (32, 64), axis=(0, 1))

    there, here = body_position(moved), body_position(square)
    np.testing.assert_allclose(there[:, 24:40, 32:48], here[:, 16:32, 16:32], atol=1e-6)


def test_an_empty_slice_is_its_own_body() -> None:
    positions = body_position(np.zeros((256, 256), dtype=np.float32))

    assert positions[0, 0, 0] == pytest.approx(-1, abs=0.05)


def test_weights_come_back_from_half_precision(tmp_path: Path) -> None:
    network = Locator().eval()
    state = {name: value.half() for name, value in network.state_dict().items()}
    save_file(state, tmp_path / "weights.safetensors")

    loaded = load_locator(tmp_path / "weights.safetensors")

    inputs = torch.rand(1, 274, 64, 64)
    with torch.inference_mode():
        difference = (loaded(inputs) - network(inputs)).abs().max()
    assert difference < 0.05
    assert not any(p.requires_grad for p in loaded.parameters())
