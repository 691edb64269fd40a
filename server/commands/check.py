"""`segnode check`: configuration, database, destinations, models, disk, one line each."""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Callable, Iterator
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

from dicom_node.errors import DeliveryError, DicomNodeError, StorageFull
from models.errors import ModelsError
from models.registry import all_plugins, weights_of
from models.weights.weights import Weights
from server.commands.console import say
from server.commands.options import Load, add_config, settings_of
from server.errors import ServerError
from server.nodes.gpus import gpus_for_workers
from server.settings import Settings


class Severity(StrEnum):
    """What a line begins with; a doubt (`WARN`) does not make the command fail."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


MODELS = "models"
"""What findings about policy and segmenter are of."""

Line = tuple[Severity, str, str]
"""The severity, what was looked at, and what is to be said of it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `check` takes."""
    add_config(parser, _check)


def _check(arguments: argparse.Namespace, load: Load) -> int:
    # without settings there is nothing else to look at: their error is the command's
    settings = settings_of(arguments)
    faults = 0
    for severity, what, sentence in lines(settings, load("check")):
        say(f"{severity:<5} {what}: {sentence}")
        faults += severity is Severity.FAIL
    return 1 if faults else 0


def lines(settings: Settings, process: Any) -> Iterator[Line]:
    """What there is to say of a node with these settings, in order."""
    findings = process.findings(settings)
    for finding in findings:
        yield Severity.FAIL if finding.is_fault else Severity.WARN, finding.what, finding.sentence
    if not findings:
        yield Severity.OK, "configuration", _described(settings)
    yield _looked("database", lambda: process.database_version(settings))
    for destination, answer in process.answers(settings):
        severity = Severity.FAIL if isinstance(answer, DeliveryError) else Severity.OK
        yield severity, f"destination {destination.name}", str(answer)
    if not any(finding.what == MODELS and finding.is_fault for finding in findings):
        yield from _models(settings, process)
    for plugin in all_plugins():
        yield _looked(f"models, plug-in {plugin.kind} {plugin.name}", plugin.usable)
    yield _looked("disk", lambda: _room(settings.storage.dir, settings.storage.minimum_free_bytes))


def _looked(what: str, look: Callable[[], str]) -> Line:
    try:
        return Severity.OK, what, look()
    except (ServerError, DicomNodeError, ModelsError) as error:
        return Severity.FAIL, what, str(error)


def _models(settings: Settings, process: Any) -> Iterator[Line]:
    chosen, resources = process.choice(settings), process.resources(settings)
    yield Severity.OK, MODELS, f"{chosen}; {_device(settings)}"
    parts = weights_of(policy=chosen.policy, segmenter=chosen.segmenter, resources=resources)
    for part in (*parts, *process.second_weights(settings)):
        yield _looked(f"models, {part.name}", partial(_whole, part, resources.weights_dir))


def _device(settings: Settings) -> str:
    device = settings.models.device
    if device != "auto":
        return f"on {device}"
    gpus = gpus_for_workers(device, os.environ)
    return f"a worker for each of {', '.join(gpus)}" if gpus else "on the processor: no GPU is seen"


def _described(settings: Settings) -> str:
    return (
        f"{settings.node.ae_title} on port {settings.node.port}, "
        f"{len(settings.destinations)} destinations, {len(settings.routes)} routes"
    )


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
