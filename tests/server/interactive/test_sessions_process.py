"""`segnode sessions` as a process of its own, with the segmenter that needs nothing fetched, over a
real socket.
"""

from __future__ import annotations

import base64
import io
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from server.compose.sessions import run, segmentation_service
from server.errors import ConfigurationError
from server.interactive.service import box_of
from server.interactive.wire import image_of
from server.settings import load_settings

BOX = [16, 15, 44, 35]


@pytest.fixture
def site(tmp_path: Path) -> tuple[Path, int]:
    """A site's configuration, and the port it names."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    file = tmp_path / "site.toml"
    file.write_text(
        f'[storage]\ndir = "{tmp_path}"\n[agent]\nsegmenter = "litemedsam"\nthreads = 1\n'
        f'[sessions]\nport = {port}\nsegmenters = ["litemedsam", "fake"]\n'
    )
    return file, port


@pytest.fixture
def process(site: tuple[Path, int], tmp_path: Path) -> Iterator[httpx.Client]:
    """The process, ready, and a client with its token."""
    file, port = site
    command = [sys.executable, "-m", "server.cli", "sessions", "--config", str(file)]
    with (tmp_path / "log").open("wb") as log:
        running = subprocess.Popen(command, stderr=log, env=os.environ | {"PYTHONSAFEPATH": "1"})
    base = f"http://127.0.0.1:{port}/api/v1/segmentation/"
    for _ in range(1200):
        time.sleep(0.1)
        assert running.poll() is None, (tmp_path / "log").read_text()
        try:
            httpx.get(f"{base}health", trust_env=False)
            break
        except httpx.ConnectError:
            continue
    token = (tmp_path / "token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=base, headers=headers, trust_env=False, timeout=60) as client:
        yield client
    running.send_signal(signal.SIGTERM)
    assert running.wait(60) == 0


def mask_of(answer: dict[str, Any]) -> NDArray[np.bool_]:
    with Image.open(io.BytesIO(base64.b64decode(answer["mask"]["data"]))) as picture:
        return np.asarray(picture) > 0


@pytest.mark.slow
def test_a_mask_by_a_real_model_over_a_real_socket(
    process: httpx.Client, image: str, disc: NDArray[np.bool_]
) -> None:
    created = process.post("sessions", json={"image": image}).json()
    session = f"sessions/{created['id']}"
    process.post(f"{session}/boxes", json={"box": BOX})

    drawn = process.post(f"{session}/segment", json={"logits": True})
    click = process.post(f"{session}/points", json={"x": 30, "y": 25})
    stateless = process.post("predict", json={"image": image, "box": BOX})
    other = process.post("predict", json={"image": image, "box": BOX, "segmenter": "fake"})

    assert created["understands"] == ["box"]
    assert drawn.json()["logits"]["shape"] == [256, 256]
    mask = mask_of(drawn.json())
    assert 2 * np.count_nonzero(mask & disc) / (mask.sum() + disc.sum()) > 0.9
    assert np.array_equal(mask_of(stateless.json()), mask)
    assert not np.array_equal(mask_of(other.json()), mask)
    assert (click.status_code, click.json()["detail"]) == (
        422,
        "litemedsam needs a prompt of one of these kinds and no other: box.",
    )
    assert process.get("health").json()["encoder_passes"] == 2  # once by each segmenter


@pytest.mark.slow
def test_the_answer_is_that_of_the_segmenter_itself(
    tmp_path: Path, image: str, disc: NDArray[np.bool_]
) -> None:
    from agent.values import Prompts
    from models.segmenters.litemedsam import LiteMedSam

    environment = {
        "SEGNODE_STORAGE__DIR": str(tmp_path),
        "SEGNODE_AGENT__SEGMENTER": "litemedsam",
        "SEGNODE_AGENT__THREADS": "1",
    }
    drawer = segmentation_service(load_settings([], environment)).segmenters.get()
    sent, prompts = image_of(image), Prompts(box_of((16, 15, 44, 35)))
    alone = LiteMedSam(cache_dir=tmp_path / "cache", threads=1)

    drawn = drawer.draw(sent, prompts)

    own = alone.segment(alone.encode(sent.pixels(10**6)), prompts)
    assert np.array_equal(drawn.mask, own.mask)
    assert np.array_equal(drawn.logits, own.logits)


def test_a_wrong_name_is_told_at_the_start(site: tuple[Path, int]) -> None:
    from models.errors import UnknownModel

    settings = load_settings([site[0]], {"SEGNODE_SESSIONS__SEGMENTERS": '["sam3"]'})

    with pytest.raises(UnknownModel, match="sam3"):
        segmentation_service(settings)


def test_a_taken_port_is_named(site: tuple[Path, int]) -> None:
    file, port = site
    settings = load_settings([file], {"SEGNODE_SESSIONS__SEGMENTERS": '["fake"]'})

    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(ConfigurationError, match=r"sessions\.port"),
    ):
        run(settings)
