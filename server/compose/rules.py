"""What the site has configured about requests."""

from __future__ import annotations

from models.choice import choose
from models.pair import ModelPair
from models.registry import require_here
from server.compose.choice import resources
from server.rules.catalogue import load_catalogue
from server.rules.routing import ModelSelector, Rules
from server.settings import Settings


def rules(settings: Settings) -> Rules:
    """The structures, destinations and routes of the site; ConfigurationError for a route that
    cannot work.
    """
    return Rules(
        load_catalogue(),
        tuple(destination.name for destination in settings.destinations),
        settings.routes,
        settings.agent.max_targets,
        model_selector(settings),
    )


def model_selector(settings: Settings) -> ModelSelector:
    """The models of a request: those that it names have to be here, the site's own choice is
    looked for by the worker.
    """

    def select(policy: str | None, segmenter: str | None) -> ModelPair:
        agent = settings.agent
        available = resources(settings, segmenter or agent.segmenter)
        chosen = choose(policy or agent.policy, segmenter or agent.segmenter, available)
        if policy or segmenter:
            require_here(policy=chosen.policy, segmenter=chosen.segmenter, resources=available)
        return chosen

    return select
