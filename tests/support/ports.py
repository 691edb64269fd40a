"""Ports for the servers that tests start as processes of their own."""

from __future__ import annotations

import itertools
import os
import random
import socket

# below the ports that Linux gives to outgoing connections (from 32768), so that none of these
# takes a port between the moment it was found free and the moment its server listens
_FIRST, _A_PROCESS, _PROCESSES = 20_000, 700, 16
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _PROCESSES
_candidates = itertools.cycle(range(_A_PROCESS))
for _ in range(random.randrange(_A_PROCESS)):
    next(_candidates)


def free_port() -> int:
    """A port on the loopback that nobody has; no other call in this run gives it, unless 700 did.

    Each process of a parallel run has 700 ports of its own (20000 to 31199 for 16 of them).
    """
    for _ in range(_A_PROCESS):
        port = _FIRST + _WORKER * _A_PROCESS + next(_candidates)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"none of this process's {_A_PROCESS} ports is free")
