"""`segnode check`: configuration, database, destinations, models, disk, one line each."""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from dicom_node.errors import DicomNodeError, StorageFull
from dicom_node.ports import Destination
from models.errors import ModelsError
from models.registry import all_plugins, weights_of
from models.weights.weights import Weights
from server.commands.console import say
from server.commands.options import Load, add_config, settings_of
from server.errors import ServerError
from server.nodes.gpus import gpus_for_workers
from server.settings import Settings

Check = tuple[str, Callable[[], str]]
"""What is looked at, and the look: what was found in words, or one of the rooms' errors."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `check` takes."""
    add_config(parser, _check)


def _check(arguments: argparse.Namespace, load: Load) -> int:
    # without settings there is nothing else to look at: their error is the command's
    settings = settings_of(arguments)
    faults = 0
    for what, look in checks(settings, load("check")):
        try:
            say(f"ok    {what}: {look()}")
        except (ServerError, DicomNodeError, ModelsError) as error:
            say(f"FAIL  {what}: {error}")
            faults += 1
    return 1 if faults else 0


def checks(settings: Settings, process: Any) -> Iterator[Check]:
    """What there is to look at with these settings, in order."""
    yield "configuration", lambda: _described(settings, process)
    yield "database", lambda: process.database_version(settings)
    for destination in process.destinations(settings):
        yield f"destination {destination.name}", partial(_answered, destination)
    yield from _models(settings, process)
    yield "disk", lambda: _room(settings.storage.dir, settings.storage.minimum_free_bytes)


def _models(settings: Settings, process: Any) -> Iterator[Check]:
    chosen, resources = process.choice(settings), process.resources(settings)
    yield "models", lambda: f"{chosen}; {_device(settings)}"
    try:
        parts = weights_of(policy=chosen.policy, segmenter=chosen.segmenter, resources=resources)
    except ModelsError as error:
        yield "models", partial(_raise, error)
    else:
        for part in parts:
            yield f"models, {part.name}", partial(_whole, part, resources.weights_dir)
    for plugin in all_plugins():
        yield f"models, plug-in {plugin.kind} {plugin.name}", plugin.usable


def _device(settings: Settings) -> str:
    device = settings.models.device
    if device != "auto":
        return f"on {device}"
    gpus = gpus_for_workers(device, os.environ)
    return f"a worker for each of {', '.join(gpus)}" if gpus else "on the processor: no GPU is seen"


def _raise(error: ModelsError) -> str:
    raise error


def _described(settings: Settings, process: Any) -> str:
    process.rules(settings)
    return (
        f"{settings.node.ae_title} on port {settings.node.port}, "
        f"{len(settings.destinations)} destinations, {len(settings.routes)} routes"
    )


def _answered(destination: Destination) -> str:
    destination.echo()
    return "answers C-ECHO"


def _whole(weights: Weights, weights_dir: Path | None) -> str:
    digest = weights.verify(weights_dir)
    sha256 = "as published" if weights.sha256 else digest
    return f"SHA-256 {sha256}, {weights.locate(weights_dir)}"


def _room(folder: Path, minimum_bytes: int) -> str:
    # the folder may still have to be made: then the one it will stand in counts
    existing = next(
        path for path in (folder.absolute(), *folder.absolute().parents) if path.exists()
    )
    free = shutil.disk_usage(existing).free
    if free < minimum_bytes:
        raise StorageFull(
            f"{free / 1e9:.1f} GB free in {folder}, storage.minimum_free_bytes asks for "
            f"{minimum_bytes / 1e9:.1f} GB: make room or choose another storage.dir"
        )
    return f"{free / 1e9:.1f} GB free in {folder}"
