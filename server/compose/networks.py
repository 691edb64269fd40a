"""How models are opened: the module that loads torch, at the first use of a model."""

from __future__ import annotations

from collections.abc import Callable

from agent.ports import Segmenter
from models.loaded_models import open_workbench
from models.pair import ModelPair
from models.serving.opening import SharedSegmenters, open_served
from server.compose.choice import resources
from server.ports import LoadedModels
from server.settings import Settings


def opener(settings: Settings) -> Callable[[ModelPair], LoadedModels]:
    """Loads a policy and a segmenter by their names; segmenters are shared between the pairs."""
    shared = SharedSegmenters()

    def open_models(pair: ModelPair) -> LoadedModels:
        return open_workbench(
            pair.policy,
            pair.segmenter,
            resources=resources(settings, pair.segmenter),
            opening=shared.open,
        )

    return open_models


def second_segmenter(settings: Settings, name: str) -> Segmenter:
    """The segmenter `name` beside the others of this process, with its usual weights."""
    return open_served(name, resources(settings, name))
