"""How models are opened: the module that loads torch, at the first use of a model."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from agent.ports import Segmenter
from models.loaded_models import open_workbench
from models.pair import ModelPair
from models.serving.opening import SharedSegmenters
from server.compose.choice import resources
from server.ports import LoadedModels
from server.settings import Settings


def opener(settings: Settings) -> Callable[[ModelPair], LoadedModels]:
    """Loads a policy and a segmenter by their names; segmenters are shared between the pairs."""
    shared = _shared()

    def open_models(pair: ModelPair) -> LoadedModels:
        return open_workbench(
            pair.policy,
            pair.segmenter,
            resources=resources(settings, pair.segmenter),
            opening=shared.open,
        )

    return open_models


def second_segmenter(settings: Settings, name: str) -> Segmenter:
    """The segmenter `name` with its usual weights; a pair that draws with it shares it."""
    return _shared().open(name, resources(settings, name))


@cache
def _shared() -> SharedSegmenters:
    """Those of this process."""
    return SharedSegmenters()
