"""Whether a node can be built of its configuration: everything that `segnode serve` builds, short
of what takes a port, a database or the memory of a model.

A fault is in the configuration itself, and stays until that is changed: no node starts with one. A
doubt is what may be meant, or may change while the node runs.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from models.errors import ModelsError
from models.pair import ModelPair
from models.registry import policy_entry, segmenter_entry, weights_of
from models.weights.weights import State, Weights
from server.compose.choice import choice, resources
from server.compose.rules import rules
from server.errors import ConfigurationError
from server.http.tokens import TOKEN_FILE, load_tokens
from server.rules.catalogue import load_catalogue
from server.rules.route_faults import free_text, unknown_to_policy
from server.settings import RouteSettings, Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Finding:
    """What is wrong with a part of the node (`what`: configuration, models), and what to do, in a
    sentence; `is_fault` where the node cannot be built so.
    """

    what: str
    sentence: str
    is_fault: bool = True


def findings(settings: Settings) -> tuple[Finding, ...]:
    """What is wrong with the configuration; nothing is changed, started or connected to."""
    return tuple(_findings(settings))


def require_sound(settings: Settings) -> None:
    """ConfigurationError with every fault of the configuration; a doubt is logged as a warning."""
    all_findings = findings(settings)
    if faults := [finding.sentence for finding in all_findings if finding.is_fault]:
        raise ConfigurationError(*faults)
    for finding in (*all_findings, *_missing_weights(settings)):
        logger.warning("%s", finding.sentence)


def _findings(settings: Settings) -> Iterator[Finding]:
    yield from _faults_of("configuration", lambda: _require_storage(settings.storage.dir))
    yield from _faults_of("configuration", lambda: _require_tokens(settings))
    for name in settings.sessions.segmenters:
        yield from _faults_of("sessions.segmenters", partial(segmenter_entry, name))
    pair, faults = _models(settings)
    yield from faults
    yield from _faults_of("configuration", lambda: rules(settings))
    if not faults:
        yield from _of_routes(settings.routes, pair.policy)


def _faults_of(what: str, build: Callable[[], object]) -> tuple[Finding, ...]:
    """Why a part cannot be built, if so."""
    try:
        build()
    except ConfigurationError as error:
        return tuple(Finding(what, fault) for fault in error.faults)
    except ModelsError as error:
        return (Finding(what, str(error)),)
    except PermissionError as error:
        sentence = f"{error.filename}: {error.strerror}; run this as the user that the node runs as"
        return (Finding(what, sentence),)
    return ()


def _models(settings: Settings) -> tuple[ModelPair, tuple[Finding, ...]]:
    """Who plans and who draws, and why they cannot."""
    pair = choice(settings)

    def require_policy() -> None:
        policy_entry(pair.policy).require(resources(settings))

    faults = [
        *_faults_of("models", require_policy),
        *_faults_of("models", lambda: segmenter_entry(pair.segmenter)),
    ]
    if not faults:
        faults = [*_faults_of("models", lambda: _weights(settings, pair))]
    if settings.agent.second_segmenter:
        faults += _faults_of("agent.second_segmenter", lambda: second_weights(settings))
        if settings.agent.second_segmenter == pair.segmenter:
            sentence = (
                f"agent.second_segmenter is {pair.segmenter}, which agent.segmenter means here, "
                "too, and would agree with itself; name another one"
            )
            faults.append(Finding("configuration", sentence))
    return pair, tuple(faults)


def _weights(settings: Settings, pair: ModelPair) -> object:
    return weights_of(policy=pair.policy, segmenter=pair.segmenter, resources=resources(settings))


def second_weights(settings: Settings) -> tuple[Weights, ...]:
    """The weights of the second segmenter, none without one; UnknownModel."""
    name = settings.agent.second_segmenter
    if not name:
        return ()
    entry = segmenter_entry(name)
    return () if entry.weights is None else (entry.weights,)


def _of_routes(routes: Sequence[RouteSettings], policy: str) -> Iterator[Finding]:
    knowledge = policy_entry(policy).knowledge
    if knowledge is None or not routes:  # a plug-in says what it knows once it is loaded
        return
    catalogue = load_catalogue()
    for route in routes:
        for sentence in unknown_to_policy(route, catalogue, policy, knowledge):
            yield Finding("configuration", sentence)
        for sentence in free_text(route, catalogue, policy, knowledge):
            yield Finding("configuration", sentence, is_fault=False)


def _require_storage(folder: Path) -> None:
    """ConfigurationError where nothing can be kept: the folder may still have to be made."""
    existing = next(
        path for path in (folder.absolute(), *folder.absolute().parents) if path.exists()
    )
    if not existing.is_dir():
        raise ConfigurationError(
            f"storage.dir: {existing} is a file, and no folder; choose another one"
        )
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ConfigurationError(
            f"storage.dir: nothing can be written in {existing} by this user; give it the folder, "
            "or choose another one"
        )


def _require_tokens(settings: Settings) -> None:
    # the node's own token is made at the first start
    storage = settings.storage.dir
    if settings.http.tokens_file or (storage / TOKEN_FILE).exists():
        load_tokens(settings.http.tokens_file, storage)


def _missing_weights(settings: Settings) -> Iterator[Finding]:
    """Weights that are not here: they may be fetched while the node runs, and it says so."""
    pair, weights_dir = choice(settings), resources(settings).weights_dir
    parts = weights_of(policy=pair.policy, segmenter=pair.segmenter, resources=resources(settings))
    for part in (*parts, *second_weights(settings)):
        if part.state(weights_dir) is State.MISSING:
            for finding in _faults_of("models", partial(part.verify, weights_dir)):
                yield Finding("models", finding.sentence, is_fault=False)
