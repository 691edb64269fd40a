"""`segnode models list`, `fetch` and `verify`: the weights of the site."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from models.weights.fetching import Fetcher, open_client
from models.weights.hub import Hub
from models.weights.weights import Weights
from server.commands.console import FetchProgress
from server.compose.choice import resources
from server.errors import ConfigurationError
from server.settings import Settings

__all__ = ["fetch", "resources"]


def fetch(settings: Settings, weights: Weights, progress: Callable[[str], None]) -> Path:
    """Fetch weights into models.dir from the configured hub; where they are. `progress` is given
    file and bytes in words. FetchFailed, ConfigurationError.
    """
    weights_dir = resources(settings).weights_dir
    fetch_progress = FetchProgress(progress)
    url = settings.models.hub.rstrip("/")
    with open_client(url, _hub_token(settings.models.token_file)) as client:
        hub = Hub(url, Fetcher(client, fetch_progress.bytes))
        return hub.fetch(weights, weights_dir or Path(), fetch_progress.file)


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
