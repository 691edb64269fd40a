"""Ideal clicks with networks that take clicks: SAM and SAM 2.1, seeded. What is reported equals a
computation of its own: distances pixel by pixel, parts by flooding, overlaps by counting.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.case import Case, Truth
from agent.fakes import ThresholdPolicy
from agent.limits import Limits
from agent.ports import Encoding, Segmenter
from agent.values import Box, Point, PromptKind, Prompts
from models.evaluation.baselines import BASELINES, methods_of
from models.evaluation.methods.answers import PreparedCase
from models.evaluation.methods.interactive import Interactive
from models.evaluation.methods.oracle_clicks import OracleClicks
from models.evaluation.records import read_records
from models.evaluation.runner import case_records, evaluate
from models.evaluation.summary import summarise
from models.loaded_models import LoadedModels
from models.runtime.resources import Resources
from models.segmenters.sam.segmenter import SamSegmenter
from models.segmenters.sam2.segmenter import Sam2Segmenter
from tests.models.evaluation.conftest import BANDS
from tests.support import seeded_networks
from tests.support.toy_cases import toy_cases

Mask = NDArray[np.bool_]
SIDE = 32
T = TypeVar("T")


@pytest.fixture(scope="module", params=["sam", "sam2"])
def segmenter(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Segmenter:
    folder = tmp_path_factory.mktemp(request.param)
    resources = Resources(cache_dir=folder, threads=1, device="cpu")
    if request.param == "sam":
        path, size = seeded_networks.sam_checkpoint(folder), seeded_networks.NARROW_SAM
        return SamSegmenter("sam", path, size, resources=resources)
    path = seeded_networks.sam2_checkpoint(folder)
    return Sam2Segmenter("sam2", path, seeded_networks.NARROW, resources=resources)


@pytest.fixture
def models(segmenter: Segmenter) -> LoadedModels:
    return LoadedModels(ThresholdPolicy(BANDS), segmenter)


@pytest.fixture
def case(models: LoadedModels) -> Case:
    """A toy slice with an ellipse, and with what the network itself draws for a click, which clicks
    then come near to.
    """
    case = toy_cases(1, side=SIDE)[0]
    prepared = PreparedCase.of(case, models)
    encoding = prepared.slices(case.truths[0].target).encoding(0)
    own = models.segmenter.segment(encoding, Prompts(points=(Point(9, 20),))).mask
    assert 20 < own.sum() < SIDE**2 - 20
    return replace(case, truths=(case.truths[0], Truth(case.truths[1].target, own[None])))


def depth_of(error: Mask) -> NDArray[np.float64]:
    """The distance of each pixel of `error` from the nearest that is none, beyond the edge too."""
    padded = np.pad(error, 1)
    outside = np.argwhere(~padded)
    depth = np.zeros(error.shape)
    for row, column in np.argwhere(error):
        squares = ((outside - (row + 1, column + 1)) ** 2).sum(axis=1)
        depth[row, column] = np.sqrt(squares.min())
    return depth


def iou_of(mask: Mask, truth: Mask) -> float:
    inter = sum(bool(a and b) for a, b in zip(mask.flat, truth.flat, strict=True))
    union = sum(bool(a or b) for a, b in zip(mask.flat, truth.flat, strict=True))
    return inter / union


def dice_of(mask: Mask, truth: Mask) -> float:
    iou = iou_of(mask, truth)
    return 2 * iou / (1 + iou)


def ritm(truth: Mask, encoding: Encoding, segmenter: Segmenter) -> list[float]:
    """IoU after each click as RITM's evaluation has it."""
    mask, logits = np.zeros_like(truth), None
    free = np.ones_like(truth)
    points: list[Point] = []
    ious: list[float] = []
    while len(points) < 20:
        missing, surplus = depth_of(truth & ~mask) * free, depth_of(mask & ~truth) * free
        positive = bool(missing.max() > surplus.max())
        row, column = np.unravel_index((missing if positive else surplus).argmax(), truth.shape)
        free[row, column] = False
        points.append(Point(float(column), float(row), positive))
        prompts = Prompts(points=tuple(points), previous_logits=logits)
        answer = segmenter.segment(encoding, prompts)
        mask = answer.mask
        logits = answer.logits if PromptKind.MASK in segmenter.supported_prompts else None
        ious.append(iou_of(mask, truth))
        if ious[-1] >= 0.9:
            break
    return ious


def largest_part(error: Mask) -> Mask:
    """The largest part of `error`, corners joined; the first in rows among equals."""
    left, parts = {tuple(place) for place in np.argwhere(error).tolist()}, []
    for seed in np.argwhere(error).tolist():
        if tuple(seed) not in left:
            continue
        left.discard(tuple(seed))
        part, waiting = [tuple(seed)], deque([tuple(seed)])
        while waiting:
            row, column = waiting.popleft()
            for step in ((a, b) for a in (-1, 0, 1) for b in (-1, 0, 1)):
                place = (row + step[0], column + step[1])
                if place in left:
                    left.discard(place)
                    part.append(place)
                    waiting.append(place)
        parts.append(part)
    mask = np.zeros_like(error)
    mask[tuple(zip(*max(parts, key=len), strict=True))] = True
    return mask


def challenge(truth: Mask, encoding: Encoding, segmenter: Segmenter) -> list[Mask]:
    """The masks after the box and each of five clicks, as the challenge's script clicks."""
    rows, columns = np.flatnonzero(truth.any(axis=1)), np.flatnonzero(truth.any(axis=0))
    box = Box(float(columns[0]), float(rows[0]), float(columns[-1]), float(rows[-1]))
    prompts = Prompts(box=box)
    answer = segmenter.segment(encoding, prompts)
    masks, rng = [answer.mask], np.random.default_rng(0)
    for _ in range(5):
        error = masks[-1] ^ truth
        if error.any():
            depth = depth_of(largest_part(error))
            deepest = np.argwhere(depth == depth.max())
            row, column = deepest[rng.integers(len(deepest))]
            click = Point(float(column), float(row), bool(truth[row, column]))
            takes_masks = PromptKind.MASK in segmenter.supported_prompts
            logits = answer.logits if takes_masks else None
            prompts = replace(prompts, points=(*prompts.points, click))
            answer = segmenter.segment(encoding, replace(prompts, previous_logits=logits))
        masks.append(answer.mask)
    return masks


def by_target(
    case: Case, models: LoadedModels, compute: Callable[[Mask, Encoding, Segmenter], list[T]]
) -> list[list[T]]:
    """What `compute` makes of each truth's slice, with the network itself."""
    prepared = PreparedCase.of(case, models)
    return [
        compute(truth.voxels[0], prepared.slices(truth.target).encoding(0), models.segmenter)
        for truth in case.truths
    ]


def noc(curves: Sequence[Sequence[float]], goal: float) -> float:
    return fmean(next((n for n, v in enumerate(c, 1) if v >= goal), 20) for c in curves)


def test_noc_is_that_of_a_computation_of_its_own(
    case: Case, models: LoadedModels, tmp_path: Path
) -> None:
    evaluate([case], [OracleClicks(models.segmenter)], models, tmp_path)

    expected = by_target(case, models, ritm)
    records = read_records(tmp_path)
    for record, ious in zip(records, expected, strict=True):
        assert record.clicks is not None
        assert record.clicks.iou == pytest.approx(ious)
    goals = summarise(records)["methods"]["oracle-clicks"]["all"]["noc"]["goals"]
    for percent in (80, 85, 90):
        assert goals[str(percent)]["mean"] == noc(expected, percent / 100)


def test_the_areas_are_those_of_a_computation_of_its_own(
    case: Case, models: LoadedModels, tmp_path: Path
) -> None:
    evaluate([case], [Interactive(models.segmenter)], models, tmp_path)

    expected = by_target(case, models, challenge)
    curves = [
        [dice_of(mask, truth.voxels[0]) for mask in masks]
        for masks, truth in zip(expected, case.truths, strict=True)
    ]
    records = read_records(tmp_path)
    for record, dice in zip(records, curves, strict=True):
        assert record.clicks is not None
        assert record.clicks.dice == pytest.approx(dice)
    figures = summarise(records)["methods"]["interactive"]["all"]
    areas = [sum((a + b) / 2 for a, b in pairwise(c[1:])) for c in curves]
    assert figures["dsc_auc"]["mean"] == pytest.approx(fmean(areas))
    assert 0 < figures["dsc_auc"]["mean"] <= 4
    assert figures["final_dsc"]["mean"] == pytest.approx(fmean(c[-1] for c in curves))


def test_every_baseline_runs_with_a_network_that_takes_clicks(
    case: Case, models: LoadedModels
) -> None:
    methods = methods_of("threshold", models, Limits(), tuple(BASELINES), models)
    assert methods.left_out == {}

    records = list(case_records(case, methods.run, models, set()))

    assert [record.reason for record in records if record.failed] == []
    of_method = {name: [r for r in records if r.method == name] for name in BASELINES}
    assert all(len(group) == 2 for group in of_method.values())
    assert all(r.turns == 1 for r in of_method["single-turn"])
    assert all(r.clicks and r.clicks.box for r in of_method["interactive"])
    assert all(r.clicks and not r.clicks.box for r in of_method["oracle-clicks"])
