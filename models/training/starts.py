"""Where episodes of training begin: a slice of a case, its target, and the truth beside them."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.case import Case, Truth
from agent.ports import Observation, Segmenter
from agent.training.reader_settings import ReaderSettings
from agent.training.slice_tasks import SliceTask, corrected_slices
from agent.values import Role, Target
from models.errors import TrainingRefused
from models.images.preprocessing import WorkingGrid
from models.loaded_models import LoadedModels, PreparedVolume
from models.training.trajectory_run import on_working_grid

_OPEN_VOLUMES = 8  # prepared volumes in memory; images of one slice are small beside that


@dataclass(frozen=True, eq=False)
class Start:
    """An episode before its first turn; `truth` (rows, columns) bool on the same slice; `name` says
    which it is: case, structure and slice.
    """

    name: str
    observation: Observation
    truth: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _Place:
    case: Case
    target: Target
    task: SliceTask  # on the working grid

    @property
    def name(self) -> str:
        work = "" if self.task.role is Role.KEY else f", {self.task.role}"
        return f"{self.case.case_id}, {self.target.text}, slice {self.task.z}{work}"


class EpisodeStarts(Sequence[Start]):
    """The starts of all truths of `cases`, in their order: the `slices_per_truth` slices that show
    most of a structure, and the middle slice of a case without it. Of a correction as many of its
    wrong slices, the worst first, each begun on what had been drawn there.

    Slices are windowed and encoded by `models` as in serving, when a start is taken; encodings are
    kept in `folder`. TrainingRefused where there is nothing to start from.
    """

    def __init__(
        self,
        cases: Iterable[Case],
        models: LoadedModels,
        *,
        slices_per_truth: int = 1,
        folder: Path | None = None,
    ) -> None:
        self._models, self._folder = models, folder
        self._volumes: OrderedDict[int, PreparedVolume] = OrderedDict()
        self._places = [
            place
            for case in cases
            for truth in case.truths
            for place in _places(case, truth, slices_per_truth)
        ]
        if not self._places:
            raise TrainingRefused("the data hold no case with a truth: see what was skipped")

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, number: int) -> Start:  # type: ignore[override]  # no slices of starts
        place = self._places[number]
        target = place.target
        slices = self._prepared(place.case).slices_for(target.structure or target.text)
        return Start(place.name, place.task.start(target, slices), place.task.truth)

    def name(self, number: int) -> str:
        """Which start it is: case, structure and slice."""
        return self._places[number].name

    @property
    def digest(self) -> str:
        """SHA-256, hexadecimal, of all names in their order and of the truths beside them."""
        whole = hashlib.sha256()
        for place in self._places:
            task = place.task
            whole.update(f"{place.name}|{task.truth.shape}|".encode())
            for mask in (task.truth, task.opening, task.carried):
                whole.update(b"" if mask is None else np.packbits(mask).tobytes())
        return whole.hexdigest()

    @property
    def segmenter(self) -> Segmenter:
        """What draws in these episodes."""
        return self._models.segmenter

    def _prepared(self, case: Case) -> PreparedVolume:
        volume = self._volumes.pop(id(case), None) or self._models.prepare(
            case.volume, self._folder
        )
        self._volumes[id(case)] = volume
        while len(self._volumes) > _OPEN_VOLUMES:
            self._volumes.popitem(last=False)
        return volume


def _places(case: Case, truth: Truth, most: int) -> list[_Place]:
    on_grid = on_working_grid(truth, case, WorkingGrid.of(case.volume.geometry))
    return [_Place(case, truth.target, task) for task in _tasks(on_grid, most)]


def _tasks(truth: Truth, most: int) -> list[SliceTask]:
    voxels = truth.voxels
    if truth.corrected_from is not None:
        satisfied_iou = ReaderSettings().satisfied_iou
        return corrected_slices(voxels, truth.corrected_from, satisfied_iou)[:most]
    areas = voxels.sum(axis=(1, 2))
    largest_first = np.argsort(-areas, kind="stable")
    chosen = [int(z) for z in largest_first[:most] if areas[z]] or [len(areas) // 2]
    return [SliceTask(z, voxels[z]) for z in chosen]
