"""Models that are loaded at their first use: an idle worker holds none, and no torch."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import cast

from models.pair import ModelPair
from server.compose import load
from server.compose.choice import choice
from server.ports import LoadedModels
from server.settings import Settings
from server.study.model_pool import ModelPool


def configured_models(settings: Settings) -> Callable[[], LoadedModels]:
    """The configured models, loaded at the first call and kept."""
    pool = model_pool(settings)

    return lambda: pool.bench(choice(settings))


def model_pool(settings: Settings) -> ModelPool:
    """The models of a worker by their names, loaded at their first use."""

    @cache
    def opener() -> Callable[[ModelPair], LoadedModels]:
        return cast("Callable[[ModelPair], LoadedModels]", load("networks").opener(settings))

    return ModelPool(lambda pair: opener()(pair), settings.models.at_once)
