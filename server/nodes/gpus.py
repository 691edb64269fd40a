"""Which NVIDIA GPUs there are, found without loading anything: the supervisor starts a worker for
each.
"""

from __future__ import annotations

import logging
import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

logger = logging.getLogger(__name__)

VISIBLE_VARIABLE = "CUDA_VISIBLE_DEVICES"
DRIVER_FOLDER = Path("/proc/driver/nvidia/gpus")
LIMIT_S = 20.0
_GPU = re.compile(r"GPU \d+: .*\(UUID: (GPU-[^)]+)\)")
_SLICE = re.compile(r"\s+MIG .*\(UUID: (MIG-[^)]+)\)")


def gpus_for_workers(
    device: str,
    environment: Mapping[str, str],
    listed: Callable[[], tuple[str, ...]] | None = None,
) -> tuple[str, ...]:
    """What CUDA_VISIBLE_DEVICES shall be for each worker; () for one worker with what it finds.

    `device` is models.device: only "auto" spreads over all GPUs. Those that `environment` lets this
    process see are taken as they are named there, else those that `listed` finds.
    """
    if device != "auto":
        return ()
    visible = environment.get(VISIBLE_VARIABLE)
    if visible is None:
        return (listed or list_gpus)()
    named = [name.strip() for name in visible.split(",")]
    # as CUDA reads it: what comes after the first that is no device is not there
    end = next((index for index, name in enumerate(named) if name in ("", "-1")), len(named))
    return tuple(named[:end])


def list_gpus(driver_folder: Path = DRIVER_FOLDER) -> tuple[str, ...]:
    """The GPUs as the driver's own tool lists them, by UUID; by number where only the driver says
    how many; () for none.
    """
    listing = _tool_says()
    if listing is not None:
        return gpus_in(listing)
    try:
        return tuple(str(number) for number, _ in enumerate(driver_folder.iterdir()))
    except OSError:
        return ()


def gpus_in(listing: str) -> tuple[str, ...]:
    """The UUIDs in what `nvidia-smi -L` says; of a GPU in MIG slices, those of its slices."""
    gpus: list[tuple[str, list[str]]] = []
    for line in listing.splitlines():
        if gpu := _GPU.match(line):
            gpus.append((gpu[1], []))
        elif (part := _SLICE.match(line)) and gpus:
            gpus[-1][1].append(part[1])
    return tuple(uuid for gpu, slices in gpus for uuid in (slices or [gpu]))


def _tool_says() -> str | None:
    try:
        completed = subprocess.run(
            ["nvidia-smi", "-L"],  # noqa: S607 - where the driver's package puts it differs
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        logger.debug("nvidia-smi does not say: %s", type(error).__name__)
        return None
    return completed.stdout
