"""Pictures of cases for a report: a slice with the truth and the result outlined."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from agent.case import Case
from agent.values import Box
from models.evaluation.records import TargetRecord
from models.images.preprocessing import axis_codes
from models.images.presentation import Presentation
from models.images.windows import window_for

SIDE_PX = 300
TRUTH_RGB, RESULT_RGB = (64, 224, 120), (255, 140, 40)
_LEAST_SHARE = 0.25  # of the image's longer side: what is around tells where it is
_MARGIN = 0.35  # of the structure's box, on each side

CaseKey = tuple[str, str]


def draw_pictures(
    cases: Iterable[Case], wanted: Sequence[TargetRecord]
) -> dict[tuple[str, str, str, str], bytes]:
    """The pictures of `wanted` lines as JPEG, by their keys; none for those whose case is not among
    `cases` any more, or has another grid.
    """
    by_case: dict[CaseKey, list[TargetRecord]] = {}
    for record in wanted:
        by_case.setdefault((record.dataset, record.case_id), []).append(record)
    pictures = {}
    for case in cases:
        for record in by_case.pop((case.dataset, case.case_id), ()):
            picture = draw_picture(case, record)
            if picture is not None:
                pictures[record.key] = picture
        if not by_case:
            break
    return pictures


def draw_picture(case: Case, record: TargetRecord) -> bytes | None:
    """The pictured slice of a line as JPEG, cut to the surroundings of truth and result."""
    truths = {truth.target.text: truth.voxels for truth in case.truths}
    picture = record.picture
    if picture is None or record.target not in truths or picture.slice_index >= record.depth:
        return None
    z, mask = picture.slice_index, picture.mask()
    truth = truths[record.target][z]
    if mask.shape != truth.shape:
        return None
    window = _surroundings(mask | truth)
    pixels = _pixels(case, z, record.structure or record.target)[window]
    pixels, mask, truth = (_turned(case, array) for array in (pixels, mask[window], truth[window]))
    size = _size(case, truth.shape)
    canvas = np.array(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
    for outlined, colour in ((truth, TRUTH_RGB), (mask, RESULT_RGB)):
        inside = np.array(Image.fromarray(outlined).resize(size, Image.Resampling.NEAREST))
        canvas[inside & ~ndimage.binary_erosion(inside, iterations=2)] = colour
    content = io.BytesIO()
    Image.fromarray(canvas).save(content, format="JPEG", quality=88, subsampling=0)
    return content.getvalue()


def choose_telling(records: Sequence[TargetRecord]) -> dict[str, dict[str, TargetRecord]]:
    """The best, the median and the worst line of each structure that is there, by Dice; structures
    in the order of their first line.
    """
    groups: dict[str, list[TargetRecord]] = {}
    for record in records:
        group = groups.setdefault(record.shown_structure, [])
        if record.present and record.quality is not None:
            group.append(record)
    return {structure: _best_median_worst(group) for structure, group in groups.items() if group}


def _best_median_worst(group: Sequence[TargetRecord]) -> dict[str, TargetRecord]:
    ranked = sorted(group, key=lambda r: (r.quality.dice if r.quality else 0.0, r.key))
    chosen = {"best": ranked[-1]}
    if len(ranked) > 2:
        chosen["median"] = ranked[len(ranked) // 2]
    if len(ranked) > 1:
        chosen["worst"] = ranked[0]
    return chosen


def _pixels(case: Case, z: int, structure: str) -> NDArray[np.uint8]:
    """A slice (rows, columns, 3) uint8 as a reader sees it."""
    volume = case.volume
    if volume.colour is not None:
        return np.ascontiguousarray(volume.colour[z])
    presentation = Presentation(volume.intensities, volume.modality)
    scale, _ = presentation.shown(window_for(structure))
    grey = np.asarray(scale.apply(volume.intensities[z]) * 255, dtype=np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _surroundings(either: NDArray[np.bool_]) -> tuple[slice, slice]:
    """A window that is square where the image allows it, round what is True; all of it for
    nothing.
    """
    rows, columns = either.shape
    if not either.any():
        return np.s_[:, :]
    box = Box.around(either)
    side = (1 + 2 * _MARGIN) * max(box.x1 - box.x0 + 1, box.y1 - box.y0 + 1)
    side = max(side, _LEAST_SHARE * max(rows, columns))
    return (
        _span((box.y0 + box.y1) / 2, side, rows),
        _span((box.x0 + box.x1) / 2, side, columns),
    )


def _span(middle: float, side: float, size: int) -> slice:
    length = min(round(side), size)
    start = min(max(round(middle - length / 2), 0), size - length)
    return slice(start, start + length)


def _turned(case: Case, array: NDArray[Any]) -> NDArray[Any]:
    """Front up and the patient's right on the left, where the rows and columns are axial."""
    axes = axis_codes(case.volume.geometry)
    if axes[0] not in "SI" or axes[1] not in "AP":
        return array
    array = array[::-1] if axes[1] == "A" else array
    return np.ascontiguousarray(array[:, ::-1] if axes[2] == "R" else array)


def _size(case: Case, shape: tuple[int, ...]) -> tuple[int, int]:
    """Width and height of the picture: pixels as wide and high as they are."""
    _, row_mm, column_mm = case.volume.geometry.spacing_mm
    height, width = shape[0] * row_mm, shape[1] * column_mm
    longest = max(height, width)
    return max(1, round(SIDE_PX * width / longest)), max(1, round(SIDE_PX * height / longest))
