"""Memory attention against the plain computation: each token turned by sines and cosines, all
memories projected before they are weighed.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models.segmenters.sam2.attention import MemoryAttention, _weighed, sine_encoding
from models.segmenters.sam2.memory import Recall
from models.segmenters.sam2.network import load_network
from tests.support import seeded_networks

GRID, CHANNELS, AGREE = 8, 256, 2e-5


@pytest.fixture(scope="module")
def network() -> Any:
    state = seeded_networks.sam2_state()
    return load_network(state, seeded_networks.NARROW, torch.device("cpu"))


@pytest.fixture(scope="module")
def attention(network: Any) -> MemoryAttention:
    return MemoryAttention(network)


def noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def turned(tokens: np.ndarray) -> np.ndarray:
    """Tokens (n, h·w, 256) turned pair by pair: columns in the first 64 pairs, rows in the rest."""
    out = np.empty_like(tokens)
    for place in range(tokens.shape[1]):
        row, column = divmod(place % (GRID * GRID), GRID)
        for pair in range(CHANNELS // 2):
            along, number = (column, pair) if pair < CHANNELS // 4 else (row, pair - CHANNELS // 4)
            angle = along * 10000 ** (-4 * number / CHANNELS)
            even, odd = tokens[:, place, 2 * pair], tokens[:, place, 2 * pair + 1]
            out[:, place, 2 * pair] = even * math.cos(angle) - odd * math.sin(angle)
            out[:, place, 2 * pair + 1] = even * math.sin(angle) + odd * math.cos(angle)
    return out


def softmax(scores: np.ndarray) -> np.ndarray:
    share = np.exp(scores - scores.max(-1, keepdims=True))
    return np.asarray(share / share.sum(-1, keepdims=True))


def projected(layer: Any, name: str, x: np.ndarray) -> np.ndarray:
    linear = getattr(layer, name)
    return np.asarray(x @ linear.weight.detach().double().numpy().T + linear.bias.detach().numpy())


def test_queries_meet_rotated_memories_and_pointers_without_a_place(
    network: Any, attention: MemoryAttention
) -> None:
    # Arrange
    layer = network.memory_attention.layers[0]
    area, pointers = GRID * GRID, 4
    tokens = noise(1, area, CHANNELS, seed=1)
    memory, keys = noise(2, 2, 2 * area + pointers, 64, seed=2)

    # Act
    with torch.inference_mode():
        mixed = attention._with_memories(layer, tokens, memory, keys, pointers)

    # Assert
    cross = layer.cross_attn_image
    with torch.inference_mode():
        normed = layer.layer_norm2(tokens).double().numpy()
    query = turned(projected(cross, "q_proj", normed))
    key = projected(cross, "k_proj", keys.double().numpy())
    key[:, : 2 * area] = turned(key[:, : 2 * area])
    values = projected(cross, "v_proj", memory.double().numpy())
    share = softmax(query @ key.swapaxes(1, 2) / math.sqrt(CHANNELS))
    expected = projected(cross, "o_proj", share @ values)
    np.testing.assert_allclose(mixed.numpy(), expected, atol=AGREE)


def test_a_slice_meets_itself_the_same_way(network: Any, attention: MemoryAttention) -> None:
    layer = network.memory_attention.layers[0]
    tokens = noise(1, GRID * GRID, CHANNELS, seed=3)

    with torch.inference_mode():
        attended = attention._with_itself(layer, tokens)
        normed = layer.layer_norm1(tokens).double().numpy()

    own = layer.self_attn
    query, key = (turned(projected(own, f"{part}_proj", normed)) for part in "qk")
    share = softmax(query @ key.swapaxes(1, 2) / math.sqrt(CHANNELS))
    mixed = projected(own, "o_proj", share @ projected(own, "v_proj", normed))
    np.testing.assert_allclose(attended.numpy(), tokens.numpy() + mixed, atol=AGREE)


def test_a_memory_is_told_how_long_ago_it_was(network: Any, attention: MemoryAttention) -> None:
    area = GRID * GRID
    features = noise(area, 64, seed=4).to(torch.bfloat16)
    recall = Recall(((0, features), (6, features), (1, features)), (), 16)

    with torch.inference_mode():
        memory, keys = attention._memory(recall)

    outline, six_ago, one_ago = (keys - memory).split(area)
    times = network.memory_temporal_positional_encoding.detach()[:, 0, 0]
    assert torch.equal(memory[:area], features.float())
    # an outline has the last row, six slices ago the one before, one slice ago the first
    np.testing.assert_allclose(outline - six_ago, (times[6] - times[5]).expand(area, -1), atol=1e-5)
    np.testing.assert_allclose(outline - one_ago, (times[6] - times[0]).expand(area, -1), atol=1e-5)


def test_a_pointers_time_is_its_share_of_the_furthest(
    network: Any, attention: MemoryAttention
) -> None:
    pointer = noise(256, seed=5)
    with torch.inference_mode():
        near, near_places = attention._pointers(Recall((), ((3, pointer),), 7))
        _, far_places = attention._pointers(Recall((), ((3, pointer),), 16))

    # 256 channels are four tokens of 64, in order, at one place
    assert torch.equal(near.flatten(), pointer)
    assert torch.equal(near_places[0].expand(4, -1), near_places)
    encoded = np.array([[0.5 * 10000 ** (-2 * (n // 2) / 128) for n in range(128)]])
    expected = np.concatenate([np.sin(encoded), np.cos(encoded)], axis=1)
    np.testing.assert_allclose(sine_encoding(torch.tensor([0.5]), 256), expected, atol=1e-6)
    projection = network.temporal_positional_encoding_projection_layer
    with torch.inference_mode():
        assert torch.allclose(projection(sine_encoding(torch.tensor([0.5]), 256)), near_places[:1])
    assert not torch.allclose(near_places, far_places)


@pytest.mark.parametrize("queries", [1, 511, 512, 513])
def test_queries_in_blocks_are_all_answered(queries: int) -> None:
    key, memory = noise(2, 9, 16, seed=6), noise(2, 9, 5, seed=7)
    for objects in (1, 2):  # one query for all objects, or each its own
        query = noise(objects, queries, 16, seed=8)

        weighed = _weighed(query, key, memory)

        plain = softmax((query @ key.transpose(1, 2)).double().numpy() / 4) @ memory.numpy()
        np.testing.assert_allclose(weighed, plain, atol=AGREE)
