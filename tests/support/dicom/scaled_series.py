"""Small series on every scale, and what reading them gives."""

from __future__ import annotations

from typing import Any

import pytest

from dicom_node.errors import NotAVolume
from dicom_node.series.header import read_header
from dicom_node.values import SourceVolume
from dicom_node.volume.volume import load_volume
from tests.support import phantoms

SMALL: dict[str, Any] = {"shape": (4, 40, 48), "spacing_mm": (5.0, 8.0, 8.0)}


def volume_of(phantom: phantoms.Phantom) -> SourceVolume:
    return load_volume([read_header(path) for path in phantom.paths])


def refusal(phantom: phantoms.Phantom) -> str:
    with pytest.raises(NotAVolume) as caught:
        volume_of(phantom)
    return str(caught.value)
