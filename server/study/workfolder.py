"""What one request leaves on disk: arrays and JSON, each written whole or not at all.

<folder>/intensities.npy    (z, y, x) float32 on the source grid, read back memory-mapped
<folder>/colour.npy         (z, y, x, 3) uint8 RGB, only where the image has colours
<folder>/volume.json        affine, frames, UIDs, warnings
<folder>/target-000.json    the target's summary and turns; written last, so it vouches for the mask
<folder>/target-000.npz     its mask: the bits of the smallest box around it
<folder>/outline-000.npz    what the target has come to before it is finished
<folder>/turns.masks        the mask of every turn that drew (server/study/turn_mask_file.py)
<folder>/source.json        the files that the volume was made of, and its digest
<folder>/seg.dcm sr.dcm trace.json preview.png

Results, trace, target files, turns.masks and source.json stay when the request has ended.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agent.trace import Trace, TracedTarget, trace_from_record, trace_record, write_trace
from agent.values import TargetStatus
from agent.volume.outline import Outline
from dicom_node.durable import sync_folder
from dicom_node.receive.dataset_uids import is_uid
from dicom_node.values import Code, SourceFrame, SourceVolume
from dicom_node.voxels import Voxels
from server.files import private_folder, write_file, write_json
from server.study.outline_files import read_outline, write_outline
from server.study.source_files import SOURCE, StudySource, write_source
from server.study.turn_mask_file import TURN_MASKS
from server.values import TargetSummary

_NO_UID = "none"
_COLOUR = "colour.npy"
_INTERMEDIATES = ("intensities.npy", _COLOUR, "volume.json", "outline-*.npz")
_TARGET, _MASK, _OUTLINE = "target.json", "target.npz", "outline.npz"  # with an index in them


@dataclass(frozen=True)
class WorkFolder:
    """The files of one request under `path`."""

    path: Path

    @property
    def trace(self) -> Path:
        """Every turn of every target."""
        return self.path / "trace.json"

    @property
    def preview(self) -> Path:
        """Slices with contours."""
        return self.path / "preview.png"

    @property
    def has_volume(self) -> bool:
        """Whether `save_volume` ran to its end."""
        return (self.path / "volume.json").is_file()

    def save_volume(self, volume: SourceVolume) -> None:
        """Keep a volume for the later stages; makes the folder, private, if it is missing."""
        private_folder(self.path)
        write_source(self.path / SOURCE, StudySource.of(volume))
        write_file(
            self.path / "intensities.npy", lambda stream: np.save(stream, volume.intensities)
        )
        record = {
            "affine_zyx_to_lps": volume.affine_zyx_to_lps.tolist(),
            # seen from here, so that inbox and work folder can be moved together
            "frames": [
                asdict(frame) | {"path": os.path.relpath(frame.path, self.path)}
                for frame in volume.frames
            ],
            "study_instance_uid": volume.study_instance_uid,
            "series_instance_uid": volume.series_instance_uid,
            "frame_of_reference_uid": volume.frame_of_reference_uid,
            "modality": volume.modality,
            "warnings": volume.warnings,
            "picture": volume.single_image,
            "sized": volume.sized,
            "contrast": volume.contrast,
            "window": volume.window,
            "unit": None if volume.unit is None else asdict(volume.unit),
            "why_chosen": volume.why_chosen,
        }
        colour = volume.colour
        if colour is not None:
            write_file(self.path / _COLOUR, lambda stream: np.save(stream, colour))
        write_json(self.path / "volume.json", record)

    def load_volume(self) -> SourceVolume:
        """The volume of `save_volume`, memory-mapped; writing to it changes no file."""
        record = json.loads((self.path / "volume.json").read_text(encoding="utf-8"))
        frames = tuple(self._frame(frame) for frame in record["frames"])
        colour = self.path / _COLOUR
        return SourceVolume(
            intensities=np.load(self.path / "intensities.npy", mmap_mode="c"),
            affine_zyx_to_lps=np.array(record["affine_zyx_to_lps"], dtype=np.float64),
            frames=frames,
            study_instance_uid=record["study_instance_uid"],
            series_instance_uid=record["series_instance_uid"],
            frame_of_reference_uid=record["frame_of_reference_uid"],
            modality=record["modality"],
            warnings=tuple(record["warnings"]),
            colour=np.load(colour, mmap_mode="c") if colour.is_file() else None,
            single_image=record.get("picture", False),
            sized=record.get("sized", True),
            contrast=record.get("contrast", False),
            window=None if record.get("window") is None else tuple(record["window"]),
            unit=Code(**record["unit"]) if record.get("unit") else None,
            why_chosen=record.get("why_chosen", ""),
        )

    def _frame(self, record: Mapping[str, Any]) -> SourceFrame:
        path = Path(os.path.normpath(self.path / record["path"]))
        stated = tuple(map(tuple, record.get("stated", ())))
        return SourceFrame(**{**record, "path": path, "stated": stated})

    def save_target(
        self, summary: TargetSummary, voxels: Voxels | None, traced: TracedTarget
    ) -> None:
        """Keep a target's end: its mask, if any, first; the record that vouches for it last."""
        if voxels is not None:
            write_file(
                self._of(summary.index, _MASK),
                lambda stream: np.savez_compressed(
                    stream,
                    shape=np.array(voxels.shape),
                    origin=np.array(voxels.origin),
                    box_shape=np.array(voxels.box.shape),
                    bits=np.packbits(voxels.box),
                ),
            )
        record = {"summary": asdict(summary), "trace": trace_record(Trace((traced,)))}
        write_json(self._of(summary.index, _TARGET), record)

    def load_target(self, index: int) -> TargetSummary | None:
        """A target's summary as `save_target` left it, or None if it has not ended."""
        path = self._of(index, _TARGET)
        if not path.is_file():
            return None
        summary = json.loads(path.read_text(encoding="utf-8"))["summary"]
        typed = {
            "status": TargetStatus(summary["status"]),
            "warnings": tuple(summary["warnings"]),
        }
        return TargetSummary(**summary | typed)

    def save_trace(self, count: int) -> Trace:
        """Gather the turns of the first `count` targets into trace.json."""
        traces = [
            trace_from_record(json.loads(self._of(i, _TARGET).read_text(encoding="utf-8"))["trace"])
            for i in range(count)
        ]
        trace = Trace(tuple(target for trace in traces for target in trace.targets))
        write_trace(self.trace, trace)
        return trace

    def has_mask(self, index: int) -> bool:
        """Whether a target's mask is here."""
        return self._of(index, _MASK).is_file()

    def load_mask(self, index: int) -> Voxels:
        """A segmented target's mask on the source grid."""
        with np.load(self._of(index, _MASK)) as stored:
            depth, height, width = stored["shape"].tolist()
            z, y, x = stored["origin"].tolist()
            box_shape = tuple(stored["box_shape"].tolist())
            flat = np.unpackbits(stored["bits"], count=int(np.prod(box_shape)))
        return Voxels((depth, height, width), (z, y, x), flat.reshape(box_shape).view(np.bool_))

    def save_outline(self, index: int, outline: Outline) -> None:
        """Keep what a target has come to."""
        write_outline(self._of(index, _OUTLINE), outline)

    def load_outline(self, index: int) -> Outline | None:
        """What a target has come to, or None if it was not begun (by this version)."""
        path = self._of(index, _OUTLINE)
        return read_outline(path) if path.is_file() else None

    def discard_intermediates(self) -> None:
        """Remove what only unfinished work needs; results, masks, preview and trace stay."""
        for pattern in _INTERMEDIATES:
            for file in self.path.glob(pattern):
                file.unlink(missing_ok=True)

    def _of(self, index: int, name: str) -> Path:
        stem, suffix = name.split(".")
        return self.path / f"{stem}-{index:03d}.{suffix}"


def share_files(earlier: WorkFolder, later: WorkFolder) -> bool:
    """Give what stays of one request's folder to another's too; False where it has gone.

    Files that are only ever replaced are the same file in both; turns.masks grows, so it is copied.
    """
    if not earlier.trace.is_file():
        return False
    private_folder(later.path)
    for file in earlier.path.iterdir():
        here = later.path / file.name
        if not any(file.match(pattern) for pattern in _INTERMEDIATES):
            here.unlink(missing_ok=True)
            if file.name == TURN_MASKS:
                _copy(file, here)
            else:
                _same_file(file, here)
    sync_folder(later.path)
    return True


def _same_file(file: Path, here: Path) -> None:
    """One file under two names, or a copy where the file system has no such thing."""
    try:
        here.hardlink_to(file)
    except OSError:
        _copy(file, here)


def _copy(file: Path, here: Path) -> None:
    with file.open("rb") as source:
        write_file(here, lambda stream: shutil.copyfileobj(source, stream))


@dataclass(frozen=True)
class EncodingStore:
    """Slice encodings by series, shared by all requests for it; the longest unused go first.

    `limit_bytes` bounds the whole store: 500 slices take about 1 GB.
    """

    path: Path
    limit_bytes: int

    def of_series(self, series_instance_uid: str) -> Path:
        """The folder of a series, made if missing and marked as used now. Only a UID names one
        (dicom_node.receive.dataset_uids).
        """
        name = series_instance_uid if is_uid(series_instance_uid) else _NO_UID
        folder = private_folder(private_folder(self.path) / name)
        os.utime(folder)
        return folder

    def prune(self) -> None:
        """Remove the longest unused series until the rest fits; the last used one always stays."""
        if not self.path.is_dir():
            return
        folders = sorted(self.path.iterdir(), key=lambda f: f.stat().st_mtime, reverse=True)
        total_bytes = 0
        for number, folder in enumerate(folders):
            total_bytes += sum(file.stat().st_size for file in folder.iterdir())
            if number and total_bytes > self.limit_bytes:
                shutil.rmtree(folder, ignore_errors=True)
