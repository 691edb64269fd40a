"""A finished request gone through again: its turns checked and drawn, without any model.

What is needed lies in one folder, a request's work folder or what `segnode segment` left: the
trace, the turns' masks, and the names of the files that the volume was made of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.conditions import Conditions
from agent.errors import ReplayDiffers
from agent.ports import Slices
from agent.recorded import RecordedSegmenter, Recording, ReplayedTurn, name_of
from agent.replay import ReplayedTarget, replay_target
from agent.trace import TracedTarget, read_trace
from agent.turn_masks import TurnMasks
from agent.turns import Turn
from agent.values import Volume
from models.images.normalise import Scale
from models.images.preprocessing import WorkingGrid
from models.images.slices import EncodedSlices
from server.errors import ReplayError
from server.study.source_files import SOURCE, read_source
from server.study.turn_mask_file import TURN_MASKS, Key, read_turn_masks
from server.study.turn_pictures import Pixels, turn_picture
from server.study.workfolder import WorkFolder

TRACE = "trace.json"

RowTurns = Mapping[tuple[int, int, int], Turn]
"""The record's turns by (target, slice, turn)."""

_OF_A_ROW = ("role", "action", "outcome", "area_px", "score", "masks")


class RequestReplay:
    """The replay of what lies in `folder`; ReplayError where it holds no trace of a request.

    `rows` are the turns of the database, where there is one: each has to agree with the trace.
    """

    def __init__(self, folder: Path, rows: RowTurns | None = None) -> None:
        self._folder, self._rows = folder, rows
        if not (folder / TRACE).is_file():
            raise ReplayError(f"there is no {TRACE} in {folder}: only what has ended can be shown")
        self.targets = read_trace(folder / TRACE).targets
        self._slices: dict[tuple[float, tuple[float, float] | None], Slices] = {}

    def target(self, index: int) -> ReplayedTarget:
        """Target number `index` gone through again; ReplayDiffers names the first turn that does
        not agree, ReplayError says which masks are missing or were changed.
        """
        traced = self.targets[index]
        if self._rows is not None:
            _check_rows(index, traced.turns, self._rows)
        return replay_target(traced, self._masks_of(index))

    def check_mask(self, index: int, replayed: ReplayedTarget) -> None:
        """ReplayDiffers where the target's mask in the folder is another than its turns lead to;
        ReplayError where the study is gone. A folder without masks of targets has nothing to say.
        """
        folder, voxels = WorkFolder(self._folder), replayed.result.voxels
        if voxels is None or not folder.has_mask(index):
            return
        grid = self._grid(_conditions(self.targets[index]))
        if not np.array_equal(grid.to_source(voxels).voxels, folder.load_mask(index).whole()):
            raise ReplayDiffers("the turns lead to another mask than the one that was kept")

    def picture(self, index: int, turn: ReplayedTurn) -> Pixels:
        """A replayed turn of target `index` as a picture; ReplayError where the study is gone."""
        traced = self.targets[index]
        slices = self.slices(index)
        return turn_picture(turn, traced.target, slices, _conditions(traced).pictures)

    def slices(self, index: int) -> Slices:
        """The slices as they were: on the working grid, through the recorded window."""
        traced = self.targets[index]
        conditions = _conditions(traced)
        key = conditions.spacing_mm[0], conditions.levels
        if key not in self._slices:
            working = self._grid(conditions).to_working(self._volume)
            if working.geometry.shape != conditions.shape:
                raise ReplayError(
                    f"the study makes a working grid of {working.geometry.shape}, "
                    f"the turns were taken on {conditions.shape}"
                )
            self._slices[key] = EncodedSlices(
                working,
                RecordedSegmenter(Recording(traced, {}), conditions.supported_prompts),
                Scale(*(conditions.levels or (0.0, 1.0))).apply,
                window=traced.window,
                levels=conditions.levels,
            )
        return self._slices[key]

    def _masks_of(self, index: int) -> Mapping[tuple[int, int], Mapping[int, NDArray[np.bool_]]]:
        return {
            (turn.slice_index, turn.index): _unpacked(self._stored, index, turn, turn.masks)
            for turn in self.targets[index].turns
            if turn.masks is not None
        }

    def _grid(self, conditions: Conditions) -> WorkingGrid:
        step_mm = conditions.spacing_mm[0]
        return WorkingGrid.of(self._volume.geometry, slice_step_mm=step_mm)

    @cached_property
    def _stored(self) -> Mapping[Key, TurnMasks]:
        return read_turn_masks(self._folder / TURN_MASKS)

    @cached_property
    def _volume(self) -> Volume:
        return read_source(self._folder / SOURCE).read()


def summary_of(replayed: ReplayedTarget) -> str:
    """What agreed, in a line: "41 turns agree (30 kept, 11 stopped), 33 masks; segmented, …"."""
    turns, result = [each.turn for each in replayed.turns], replayed.result
    counts = Counter(str(turn.outcome).replace("_", " ") for turn in turns)
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    masks = sum(len(each.masks) for each in replayed.turns)
    end = str(result.status)
    if result.voxels is not None:
        end += f", {np.count_nonzero(result.voxels)} voxels, confidence {result.confidence:.2f}"
    return f"{len(turns)} turns agree ({outcomes or 'none was taken'}), {masks} masks; {end}"


def check_row(turn: Turn, row: Turn) -> None:
    """ReplayDiffers where a turn of the trace is another in the database."""
    for label in _OF_A_ROW:
        if getattr(row, label) != getattr(turn, label):
            raise ReplayDiffers(f"{name_of(turn)}: trace and database differ in its {label}")


def _check_rows(index: int, turns: Sequence[Turn], rows: RowTurns) -> None:
    for turn in turns:
        row = rows.get((index, turn.slice_index, turn.index))
        if row is None:
            raise ReplayDiffers(f"{name_of(turn)} is in the trace and not in the database")
        check_row(turn, row)


def _conditions(traced: TracedTarget) -> Conditions:
    if traced.conditions is None:
        raise ReplayDiffers("its turns are of trace version 1, which kept no masks")
    return traced.conditions


def _unpacked(
    stored: Mapping[Key, TurnMasks], index: int, turn: Turn, masks: TurnMasks
) -> Mapping[int, NDArray[np.bool_]]:
    key = (index, turn.slice_index, turn.index, masks.digest)
    if key not in stored:
        raise ReplayError(f"the mask of {name_of(turn)} is not in {TURN_MASKS} any more")
    try:
        return stored[key].unpacked()
    except ValueError as error:
        raise ReplayError(f"{TURN_MASKS} was changed at {name_of(turn)}: {error}") from error
