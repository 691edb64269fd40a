"""Which models the site means, in the models' own words; nothing here loads one."""

from __future__ import annotations

from pathlib import Path

from agent.limits import Limits
from models.choice import choose, located_model
from models.errors import UnknownModel
from models.pair import ModelPair
from models.registry import find_weights
from models.runtime.cache import shared_cache_dir
from models.runtime.resources import Resources
from server.settings import AgentSettings, Settings


def choice(settings: Settings) -> ModelPair:
    """The policy and the segmenter that the settings mean here, "auto" resolved."""
    return choose(settings.agent.policy, settings.agent.segmenter, resources(settings))


def limits(settings: Settings) -> Limits:
    """The agent's budgets."""
    return Limits(max_turns=settings.agent.max_turns)


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
        memory_bytes=settings.models.memory_bytes,
        language=located_model(settings.language, weights_dir),
    )


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
