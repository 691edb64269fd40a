"""Models of fakes for toy cases: a planner that finds an ellipse by its brightness."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from agent.case import Case
from agent.fakes import Band, FakeSegmenter, ThresholdPolicy
from models.loaded_models import LoadedModels
from tests.support.toy_cases import toy_cases

# in the percentiles of a toy image that has all three
BANDS = {
    "bright_ellipse": Band(0.9, 1.0),
    "grey_ellipse": Band(0.55, 0.8),
    "dim_ellipse": Band(0.2, 0.5),
}


@pytest.fixture
def toy_models() -> LoadedModels:
    return LoadedModels(ThresholdPolicy(BANDS), FakeSegmenter())


@pytest.fixture
def whole_case() -> Case:
    """All three ellipses on one slice."""
    return toy_cases(1)[0]


@pytest.fixture
def lacking_case() -> Case:
    """A case that lacks the bright ellipse, which the planner then takes another one for."""
    return toy_cases(2)[1]


@pytest.fixture
def volume_case() -> Case:
    return toy_cases(1, depth=7)[0]


@pytest.fixture
def without_grey(whole_case: Case) -> Case:
    """A case whose truth says that the grey ellipse is absent: it is painted over."""
    grey = whole_case.truths[1]
    intensities = np.where(grey.voxels, 0.15, whole_case.volume.intensities).astype(np.float32)
    truths = (
        whole_case.truths[0],
        replace(grey, voxels=np.zeros_like(grey.voxels)),
        whole_case.truths[2],
    )
    volume = replace(whole_case.volume, intensities=intensities)
    return replace(whole_case, case_id="without-grey", volume=volume, truths=truths)
