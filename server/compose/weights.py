"""The composition root's part about models: what the site says of them, in the models' own words.

Each function imports what it needs inside, so that a process that loads no model pays for none.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from server.commands.console import FetchProgress
from server.errors import ConfigurationError
from server.settings import AgentSettings, Settings
from server.values import ModelPair

if TYPE_CHECKING:
    from models.choice import Choice
    from models.runtime.resources import Resources
    from models.serving.opening import SharedSegmenters
    from models.weights.weights import Weights
    from server.ports import LoadedModels
    from server.rules.routing import ModelSelector
    from server.study.model_pool import ModelPool


def workbench(settings: Settings) -> Callable[[], LoadedModels]:
    """The configured models, loaded at the first call and kept."""
    opened = benches(settings)

    def configured() -> LoadedModels:
        chosen = choice(settings)
        return opened.bench(ModelPair(chosen.policy, chosen.segmenter))

    return configured


def benches(settings: Settings) -> ModelPool:
    """The models of a worker by their names, loaded when asked for."""
    from server.study.model_pool import ModelPool

    @cache
    def shared() -> SharedSegmenters:
        from models.serving.opening import SharedSegmenters

        return SharedSegmenters()

    def open_bench(pair: ModelPair) -> LoadedModels:
        from models.loaded_models import open_workbench

        return open_workbench(
            pair.policy,
            pair.segmenter,
            resources=resources(settings, pair.segmenter),
            opening=shared().open,
        )

    return ModelPool(open_bench, settings.models.at_once)


def offer(settings: Settings) -> ModelSelector:
    """Who may be asked for: what a request names has to be here, what the site chose is found out
    by the worker.
    """

    def pair(policy: str | None, segmenter: str | None) -> ModelPair:
        from models.choice import choose
        from models.registry import require_here

        agent = settings.agent
        may_use = resources(settings, segmenter or agent.segmenter)
        chosen = choose(policy or agent.policy, segmenter or agent.segmenter, may_use)
        if policy or segmenter:
            require_here(policy=chosen.policy, segmenter=chosen.segmenter, resources=may_use)
        return ModelPair(chosen.policy, chosen.segmenter)

    return pair


def choice(settings: Settings) -> Choice:
    """The policy and the segmenter that the settings mean here, "auto" resolved; nothing is
    loaded.
    """
    from models.choice import choose

    return choose(settings.agent.policy, settings.agent.segmenter, resources(settings))


def resources(settings: Settings, segmenter: str = "") -> Resources:
    """What models may use, of [agent], [models] and [language].

    agent.checkpoint is agent.segmenter's: another `segmenter` ("": that one) is given its usual
    weights.
    """
    from models.choice import located_model
    from models.runtime.resources import Resources

    weights_dir = Path(settings.models.dir or settings.storage.dir / "weights")
    return Resources(
        cache_dir=settings.storage.dir / "cache",
        threads=settings.agent.threads or None,
        weights_dir=weights_dir,
        checkpoint=_checkpoint(settings.agent, segmenter, weights_dir),
        device=settings.models.device,
        precision=settings.models.precision,
        compiled=settings.models.compiled,
        memory_bytes=settings.models.memory_bytes,
        language=located_model(settings.language, weights_dir),
    )


def fetch(settings: Settings, weights: Weights, progress: Callable[[str], None]) -> Path:
    """Bring weights into models.dir from the configured hub; FetchFailed, ConfigurationError."""
    from models.weights.fetching import Fetcher, open_client
    from models.weights.hub import Hub

    weights_dir = resources(settings).weights_dir
    told = FetchProgress(progress)
    url = settings.models.hub.rstrip("/")
    with open_client(url, _hub_token(settings.models.token_file)) as client:
        hub = Hub(url, Fetcher(client, told.bytes))
        return hub.fetch(weights, weights_dir or Path(), told.file)


def dump(segmenter: str, case: Path, out: Path) -> None:
    """Run a case through a segmenter's network and write its arrays; ModelsError."""
    from models.parity import dump as write_arrays

    write_arrays(segmenter, case, out)


def _hub_token(file: str) -> str:
    if not file:
        return ""
    try:
        token = Path(file).read_text(encoding="ascii").strip()
    except OSError as error:
        raise ConfigurationError(
            f"models.token_file: cannot read {file} ({error.strerror})"
        ) from error
    except UnicodeDecodeError:
        token = ""
    # what is no word would be quoted by the library that refuses to send it
    if not token.isprintable() or " " in token or not token:
        raise ConfigurationError(f"models.token_file: {file} must hold one token on one line")
    return token


def _checkpoint(agent: AgentSettings, segmenter: str, weights_dir: Path) -> Path | None:
    said = agent.checkpoint
    if not said or segmenter not in ("", agent.segmenter):
        return None
    from models.errors import UnknownModel
    from models.registry import find_weights

    # a file, or else one of the names that `segnode models list` shows
    if Path(said).is_file():
        return Path(said)
    try:
        return find_weights(said).locate(weights_dir)
    except UnknownModel:
        return Path(said)
