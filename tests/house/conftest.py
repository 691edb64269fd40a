"""Fixtures of the house's own tests."""

from __future__ import annotations

import pytest

from tests.support import ports


@pytest.fixture
def free_port() -> int:
    """A TCP port on the loopback that was free a moment ago."""
    return ports.free_port()
