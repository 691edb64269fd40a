"""A database that is away, and the two places where a process is asked how it is."""

from __future__ import annotations

import pytest

from server.errors import RecordUnavailable

AWAY = RecordUnavailable("PostgreSQL does not answer (connection refused)")
BOTH_PLACES = pytest.mark.parametrize("at", ["", "/api/v1"])
