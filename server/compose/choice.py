"""Which models the site means, in the models' own words, and the pool that loads them at their
first use: an idle worker holds none, and no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import cast

from agent.limits import Limits
from agent.ports import Segmenter
from models.choice import choose, located_model
from models.errors import UnknownModel
from models.pair import ModelPair
from models.registry import find_weights
from models.runtime.cache import shared_cache_dir
from models.runtime.resources import Resources
from server.compose import load
from server.ports import LoadedModels
from server.settings import AgentSettings, Settings
from server.study.doubts.second_segmenter import SecondSegmenter
from server.study.model_pool import ModelPool


def choice(settings: Settings) -> ModelPair:
    """The policy and the segmenter that the settings mean here, "auto" resolved."""
    return choose(settings.agent.policy, settings.agent.segmenter, resources(settings))


def limits(settings: Settings) -> Limits:
    """The agent's budgets."""
    agent = settings.agent
    return Limits(
        max_turns=agent.max_turns, draw_step_mm=agent.draw_step_mm, keep_last=agent.keep_last
    )


def resources(settings: Settings, segmenter: str = "") -> Resources:
    """What models may use, of [agent], [models] and [language]; ConfigurationError.

    agent.checkpoint is agent.segmenter's: another `segmenter` ("": that one) is given its usual
    weights.
    """
    weights_dir = Path(settings.models.dir or settings.storage.dir / "weights")
    return Resources(
        cache_dir=shared_cache_dir(settings.storage.dir / "cache"),
        threads=settings.agent.threads or None,
        weights_dir=weights_dir,
        checkpoint=_checkpoint(settings.agent, segmenter, weights_dir),
        device=settings.models.device,
        precision=settings.models.precision,
        compiled=settings.models.compiled,
        draw_step_mm=settings.agent.draw_step_mm,
        memory_bytes=settings.models.memory_bytes,
        language=located_model(settings.language, weights_dir),
    )


def configured_models(settings: Settings) -> Callable[[], LoadedModels]:
    """The configured models, loaded at the first call and kept."""
    pool = model_pool(settings)

    return lambda: pool.bench(choice(settings))


def second_segmenter(settings: Settings) -> SecondSegmenter | None:
    """Who is shown the prompts again ([agent] second_segmenter), loaded at the first use and kept;
    None without one.
    """
    name = settings.agent.second_segmenter
    if not name:
        return None

    @cache
    def opened() -> Segmenter:
        return cast("Segmenter", load("networks").second_segmenter(settings, name))

    return SecondSegmenter(opened, settings.agent.agree_dice)


def model_pool(settings: Settings) -> ModelPool:
    """The models of a worker by their names, loaded at their first use."""

    @cache
    def opener() -> Callable[[ModelPair], LoadedModels]:
        return cast("Callable[[ModelPair], LoadedModels]", load("networks").opener(settings))

    return ModelPool(lambda pair: opener()(pair), settings.models.at_once)


def _checkpoint(agent: AgentSettings, segmenter: str, weights_dir: Path) -> Path | None:
    checkpoint = agent.checkpoint
    if not checkpoint or segmenter not in ("", agent.segmenter):
        return None
    # a file, or else one of the names that `segnode models list` shows
    if Path(checkpoint).is_file():
        return Path(checkpoint)
    try:
        return find_weights(checkpoint).locate(weights_dir)
    except UnknownModel:
        return Path(checkpoint)
