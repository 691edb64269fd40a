"""`segnode serve`: the supervisor with the node's own database, if it is embedded."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from server.compose.addresses import require_free_ports
from server.compose.database import database
from server.compose.soundness.configuration import require_sound
from server.nodes.gpus import gpus_for_workers
from server.nodes.lifecycle import stop_on_signals
from server.nodes.storage_lock import storage_of
from server.nodes.supervisor import DATABASE_VARIABLE, Supervisor, node_children
from server.settings import Settings

logger = logging.getLogger(__name__)


def run(settings: Settings, config_files: Sequence[Path]) -> int:
    """Keep listener, workers and API running until told to stop; the exit code. ConfigurationError
    for what `segnode check` calls a fault of the configuration, in the same words.
    """
    require_sound(settings)
    stop = stop_on_signals()
    with ExitStack() as held:
        held.enter_context(storage_of(settings.storage.dir, "serve"))
        require_free_ports(settings)  # now that a killed node's parts have ended
        url, keep_up = held.enter_context(database(settings))
        supervisor = Supervisor(
            node_children(
                [str(file) for file in config_files],
                gpus_for_workers(settings.models.device, os.environ),
            ),
            # a site's own URL holds a password, and others may look into a process's environment
            environment=os.environ
            | ({DATABASE_VARIABLE: url} if settings.database.embedded else {}),
            on_ready=lambda parts: logger.info("segnode is ready: %s", "; ".join(parts)),
            keep_up=keep_up,
        )
        return supervisor.run(stop)
