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
from agent.values import Role
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
    truth: Truth
    slice_index: int  # on the working grid
    mask: NDArray[np.bool_]

    @property
    def name(self) -> str:
        return f"{self.case.case_id}, {self.truth.target.text}, slice {self.slice_index}"


class EpisodeStarts(Sequence[Start]):
    """The starts of all truths of `cases`, in their order: the `slices_per_truth` slices that show
    most of a structure, and the middle slice of a case without it.

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
        target = place.truth.target
        slices = self._prepared(place.case).slices_for(target.structure or target.text)
        observation = Observation(target, slices, place.slice_index, Role.KEY)
        return Start(place.name, observation, place.mask)

    def name(self, number: int) -> str:
        """Which start it is: case, structure and slice."""
        return self._places[number].name

    @property
    def digest(self) -> str:
        """SHA-256, hexadecimal, of all names in their order and of the truths beside them."""
        whole = hashlib.sha256()
        for place in self._places:
            whole.update(f"{place.name}|{place.mask.shape}|".encode())
            whole.update(np.packbits(place.mask).tobytes())
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
    voxels = on_working_grid(truth, case, WorkingGrid.of(case.volume.geometry)).voxels
    areas = voxels.sum(axis=(1, 2))
    largest_first = np.argsort(-areas, kind="stable")
    chosen = [int(z) for z in largest_first[:most] if areas[z]] or [len(areas) // 2]
    return [_Place(case, truth, z, voxels[z]) for z in chosen]
