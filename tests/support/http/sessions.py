"""A session on an image, opened over HTTP."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from starlette.testclient import TestClient

Mask = NDArray[np.bool_]
BOX = {"box": [16, 15, 44, 35]}


def opened(api: TestClient, image: str, **more: str) -> str:
    """A new session's path."""
    answer = api.post("sessions", json={"image": image, **more})
    assert answer.status_code == 201, answer.text
    return f"sessions/{answer.json()['id']}"
