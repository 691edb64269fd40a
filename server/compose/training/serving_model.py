"""The model that serves, as the one that a training goes on from."""

from __future__ import annotations

from pathlib import Path

from server.compose.choice import resources
from server.errors import InputError
from server.settings import Settings


def base_folder(settings: Settings, named: Path | None) -> Path:
    """The model to begin with: the folder that is `named`, else the one that language.model means.

    A promoted policy is its version at this time, so that a later promotion changes no run.
    InputError where neither is there.
    """
    if named is not None:
        return named
    folder = Path(resources(settings).language.model)
    if not settings.language.model or not folder.is_dir():
        raise InputError(
            "which model is to be trained? Say --base DIR, or language.model where one serves"
        )
    return folder.resolve()
