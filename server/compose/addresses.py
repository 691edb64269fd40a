"""Addresses that a process listens on, and what a peer may take of an HTTP server."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from server.errors import ConfigurationError
from server.http.connections import ConnectionLimits
from server.nodes.storage_lock import LEAVING_S
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
            f"{key}: cannot listen on {host_and_port} ({os.strerror(error.errno)})"
        ) from error


_LOOK_AGAIN_S = 0.2


def require_free_ports(settings: Settings, leaving_s: float = LEAVING_S) -> None:
    """ConfigurationError when another process listens where the node's parts are about to: they
    would be started again and again. Any other fault is left to the part that meets it.
    """
    node, http = settings.node, settings.http
    give_up_s = time.monotonic() + leaving_s
    for key, host, port in (
        ("node.port", node.host, node.port),
        ("http.port", http.host, http.port),
    ):
        while True:
            try:
                with suppress(OSError), address(f"{host}:{port}", key):
                    _listen_once(host, port)
                break
            except ConfigurationError:
                if time.monotonic() > give_up_s:
                    raise
                time.sleep(_LOOK_AGAIN_S)  # that a port is given up is no event


def _listen_once(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    socket.create_server((host, port), family=family).close()


def connection_limits(settings: Settings) -> ConnectionLimits:
    """What a peer may take of an HTTP server."""
    http = settings.http
    return ConnectionLimits(http.max_connections, http.max_connections_per_address, http.timeout_s)
