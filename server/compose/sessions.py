"""`segnode sessions`: the segmentation API with models of its own."""

from __future__ import annotations

import time
from dataclasses import replace

from models.registry import segmenter_entry
from models.serving.opening import open_served
from server.compose.addresses import address, connection_limits
from server.compose.choice import choice, resources
from server.http.serving import serve
from server.http.tokens import load_tokens
from server.interactive.app import create_app
from server.interactive.bounds import Bounds
from server.interactive.drawing import SegmenterService
from server.interactive.encodings import Encodings
from server.interactive.memory import MemoryAccount
from server.interactive.service import Service, open_service
from server.nodes.lifecycle import announce_ready, end_with_parent
from server.settings import Settings


def run(settings: Settings) -> int:
    """Answer the segmentation API until told to stop; the exit code. UnknownModel."""
    end_with_parent()
    tokens = load_tokens(settings.http.tokens_file, settings.storage.dir)
    service = segmentation_service(settings)
    service.segmenters.get()  # the default segmenter is loaded before this process is called ready
    host, port = settings.sessions.host, settings.sessions.port
    description = f"http://{host}:{port} with {', '.join(service.segmenters.names)}"
    with address(f"{host}:{port}", "sessions.port"):
        app = create_app(service, tokens)
        serve(app, host, port, lambda: announce_ready(description), connection_limits(settings))
    return 0


def segmentation_service(settings: Settings) -> Service:
    """What the segmentation API does, on the segmenters that the site offers; none is loaded yet.
    UnknownModel.
    """
    interactive, default_name = settings.sessions, choice(settings).segmenter
    names = interactive.segmenters or (default_name,)
    for name in names:
        segmenter_entry(name)  # a wrong name is reported at the start, not at its first use
    bounds = Bounds(
        max_sessions=interactive.max_sessions,
        idle_s=interactive.idle_s,
        max_image_pixels=interactive.max_image_pixels,
        memory_bytes=interactive.memory_bytes,
        working_bytes=interactive.working_bytes,
    )

    def open_segmenter(name: str, encodings: Encodings, account: MemoryAccount) -> SegmenterService:
        available = resources(settings)
        if name != default_name:  # agent.checkpoint belongs to the default segmenter
            available = replace(available, checkpoint=None)
        return SegmenterService(
            open_served(name, available), encodings, account, bounds.max_image_pixels
        )

    return open_service(bounds, names, open_segmenter, time.monotonic)
