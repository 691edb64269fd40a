"""What a request's volume was made of, so that it can be read again: source.json."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import numpy as np

from agent.geometry import Geometry
from agent.values import Volume
from dicom_node.errors import DicomNodeError
from dicom_node.series.header import read_header
from dicom_node.values import SourceVolume
from dicom_node.volume.volume import load_volume
from models.errors import ModelsError
from models.images.readers import read_volume
from server.errors import ReplayError
from server.files import write_json

SOURCE = "source.json"


class SourceKind(StrEnum):
    """How a volume's files are read."""

    DICOM = "dicom"
    FILE = "file"


@dataclass(frozen=True)
class StudySource:
    """`files` of a volume, and the `digest` (hex of BLAKE2b) of its intensities, colours and
    affine. `modality` as it was said by hand; "" where the files were asked.
    """

    kind: SourceKind
    files: tuple[Path, ...]
    digest: str
    modality: str = ""

    @classmethod
    def of(cls, volume: SourceVolume) -> StudySource:
        """The instances of a volume, each once, in the order of its slices; none of a volume that
        was made of no instances.
        """
        files = tuple(dict.fromkeys(frame.path for frame in volume.frames))
        return cls(SourceKind.DICOM, files, volume_digest(agent_volume(volume)))

    def of_file(self, path: Path, modality: str = "") -> StudySource:
        """The same volume as made of a volume file or an image, whose `modality` was said."""
        return replace(self, kind=SourceKind.FILE, files=(path,), modality=modality)

    def read(self) -> Volume:
        """The volume once more; ReplayError when files are missing or hold something else."""
        self.check_here()
        try:
            volume = self._volume()
        except (DicomNodeError, ModelsError) as error:
            raise ReplayError(f"the study cannot be read any more: {error}") from error
        if volume_digest(volume) != self.digest:
            raise ReplayError("the study's files were changed since these turns were taken")
        return volume

    def check_here(self) -> None:
        """ReplayError when files are missing."""
        gone = [path.name for path in self.files if not path.is_file()]
        if gone:
            raise ReplayError(
                f"the study is not here any more: {len(gone)} of its {len(self.files)} files are "
                f"missing, {gone[0]} first"
            )

    def _volume(self) -> Volume:
        if self.kind is SourceKind.FILE:
            return read_volume(self.files[0], modality=self.modality or None)
        return agent_volume(load_volume([read_header(path) for path in self.files]))


def agent_volume(volume: SourceVolume) -> Volume:
    """The DICOM edge's volume as the agent's: the same arrays, the same affine."""
    geometry = Geometry(volume.intensities.shape, volume.affine_zyx_to_lps)
    return Volume(
        volume.intensities,
        geometry,
        volume.modality,
        volume.colour,
        placed=not volume.single_image,
        sized=volume.sized,
        contrast=volume.contrast,
        window=volume.window,
    )


def volume_digest(volume: Volume) -> str:
    """Tells two volumes apart; about a second for 500 slices of 512 by 512."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(volume.geometry.affine_zyx_to_lps.tobytes())
    for plane in volume.intensities:
        digest.update(np.ascontiguousarray(plane).data)
    for plane in () if volume.colour is None else volume.colour:
        digest.update(np.ascontiguousarray(plane).data)
    return digest.hexdigest()


def write_source(path: Path, source: StudySource) -> None:
    """Write source.json; files are named as seen from its folder, so that both can be moved."""
    files = [os.path.relpath(file, path.parent) for file in source.files]
    by_hand = {"modality": source.modality} if source.modality else {}
    write_json(path, {"kind": source.kind, "files": files, "digest": source.digest, **by_hand})


def read_source(path: Path) -> StudySource:
    """The inverse of `write_source`; ReplayError when there is none."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        files = tuple(Path(os.path.normpath(path.parent / file)) for file in record["files"])
        return StudySource(
            SourceKind(record["kind"]), files, str(record["digest"]), record.get("modality", "")
        )
    except FileNotFoundError as error:
        raise ReplayError(
            f"there is no {path.name} in {path.parent}: nothing says what was segmented"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ReplayError(f"{path.name} cannot be read: {error!r}") from error
