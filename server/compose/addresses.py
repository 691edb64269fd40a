"""Addresses that a process listens on, and what a peer may take of an HTTP server."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from server.errors import ConfigurationError
from server.http.connections import ConnectionLimits
from server.settings import Settings


@contextmanager
def address(host_and_port: str, key: str) -> Iterator[None]:
    """Name the setting `key` to change when `host_and_port` ("host:port") cannot be listened on;
    ConfigurationError.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES):
            raise
        raise ConfigurationError(
            f"{key}: cannot listen on {host_and_port} ({error.strerror})"
        ) from error


def connection_limits(settings: Settings) -> ConnectionLimits:
    """What a peer may take of an HTTP server."""
    http = settings.http
    return ConnectionLimits(http.max_connections, http.max_connections_per_address, http.timeout_s)
