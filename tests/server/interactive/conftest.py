"""The segmentation API over the fake segmenter, with two tokens, and images to draw on."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from starlette.testclient import TestClient

from agent.fakes import FakeSegmenter, ellipse
from agent.ports import Segmenter
from agent.values import Box, Prompts, Segmentation
from models.entries import Needs
from models.runtime.memory import MemoryBudget
from models.serving.served import served
from server.http.tokens import tokens_of
from server.interactive.app import PREFIX, create_app
from server.interactive.bounds import Bounds
from server.interactive.drawing import SegmenterService
from server.interactive.encodings import Encodings
from server.interactive.memory import MemoryAccount
from server.interactive.service import Service, open_service

TOKEN, OTHER = "a-token-of-good-length", "another-token-of-good-length"


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def in_base64(content: bytes) -> str:
    """Bytes as JSON carries them."""
    return base64.b64encode(content).decode()


def png(pixels: NDArray[np.generic]) -> str:
    """A picture as base64 of a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return in_base64(buffer.getvalue())


def npy(array: NDArray[Any], **how: Any) -> str:
    """An array as base64 of a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array, **how)
    return in_base64(buffer.getvalue())


@pytest.fixture(scope="session", name="png")
def png_fixture() -> Callable[..., str]:
    return png


@pytest.fixture(scope="session", name="npy")
def npy_fixture() -> Callable[..., str]:
    return npy


@pytest.fixture
def disc() -> NDArray[np.bool_]:
    """An ellipse (60 rows, 80 columns) round (x 30, y 25), 12 wide and 8 high to each side."""
    return ellipse((60, 80), (30.0, 25.0), (12.0, 8.0))


@pytest.fixture
def drawn(disc: NDArray[np.bool_]) -> Segmentation:
    """What the fake draws of `image` in the box (16, 15, 44, 35) when it is asked without any
    API.
    """
    fake = FakeSegmenter()
    pixels = np.where(disc, 200, 40).astype(np.float32) / np.float32(255)
    answer = fake.segment(fake.encode(pixels), Prompts(Box(16, 15, 44, 35)))
    assert np.count_nonzero(answer.mask ^ disc) <= 8  # it rounds the ellipse's tips off
    return answer


@pytest.fixture
def image(disc: NDArray[np.bool_]) -> str:
    """The ellipse, bright on dark, as base64 of a PNG."""
    return png(np.where(disc, 200, 40).astype(np.uint8))


@pytest.fixture
def clock() -> Clock:
    """The clock that sessions expire by."""
    return Clock()


@pytest.fixture
def make_service(clock: Clock) -> Callable[..., Service]:
    """A service over `segmenters` (by name; the fake if none), with `bounds`."""

    def make(segmenters: dict[str, Segmenter] | None = None, **bounds: Any) -> Service:
        known = segmenters or {"fake": FakeSegmenter()}
        limits = Bounds(**bounds)

        def open_drawer(name: str, kept: Encodings, account: MemoryAccount) -> SegmenterService:
            shared = served(known[name], MemoryBudget(10**9), Needs(1, 1))
            return SegmenterService(shared, kept, account, limits.max_image_pixels)

        return open_service(limits, list(known), open_drawer, clock)

    return make


@pytest.fixture
def make_client(make_service: Callable[..., Service]) -> Callable[..., TestClient]:
    """A client of a service, with a token ("" for none)."""

    def make(service: Service | None = None, token: str = TOKEN) -> TestClient:
        app = create_app(service or make_service(), tokens_of((TOKEN, OTHER)))
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        client = TestClient(app, headers=headers, raise_server_exceptions=False)
        client.base_url = client.base_url.join(f"{PREFIX}/")
        return client

    return make


@pytest.fixture
def api(make_client: Callable[..., TestClient]) -> TestClient:
    """A client with a token; paths are relative to the API's own."""
    return make_client()


@pytest.fixture
def other_token() -> str:
    """Somebody else's token."""
    return OTHER


@pytest.fixture
def mask_from() -> Callable[[dict[str, Any]], NDArray[np.bool_]]:
    """Reads the mask of an answer, of either format."""

    def read(answer: dict[str, Any]) -> NDArray[np.bool_]:
        sent = answer["mask"]
        if sent["format"] == "rle":
            inside = np.arange(len(sent["counts"])) % 2 == 1
            return np.repeat(inside, sent["counts"]).reshape(sent["shape"])
        with Image.open(io.BytesIO(base64.b64decode(sent["data"]))) as picture:
            pixels = np.asarray(picture)
        assert set(np.unique(pixels)) <= {0, 255}
        return pixels == 255

    return read
