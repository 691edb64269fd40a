"""The prompts: text files with $placeholders, ours or a site's own.

A file is looked for in this order: the site's folder for the dialect, the site's folder, ours for
the dialect, ours. So a site's folder holds only the files that differ, such as `first.txt` or
`think_action/system.txt`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

from agent.errors import BadPrompts
from agent.protocol.dialects import Dialect

_EPISODE = frozenset({"target", "mask", "neighbour", "segmenter", "volume", "image", "turns_left"})
_TURN = frozenset({"target", "mask", "undone", "neighbour", "observation", "turns_left"})

PLACEHOLDERS: Mapping[str, frozenset[str]] = {
    "system": frozenset(
        {"tools", "coordinates", "overlay", "refine", "again"}
    ),  # who the model is, and how the work goes
    "volume_system": frozenset({"tools"}),  # the same for questions about a whole volume
    "tools": frozenset({"tools"}),  # the syntax of actions, where the server is not given functions
    "first": _EPISODE,  # a slice, to be segmented from nothing
    "carry": _EPISODE,  # a slice next to one that has a mask
    "review": _EPISODE | {"doubt"},  # a slice whose mask is in doubt
    "next": _TURN,  # after an action that was carried out
    "fault": _TURN,  # after a reply without effect
    "form": _TURN,  # after a reply that could not be read
    "survey": frozenset(
        {"target", "last_slice", "left", "slice_mm", "bar", "image", "gaps"}
    ),  # where in the volume is it?
    "inspect": frozenset(
        {"target", "last_slice", "left", "slice_mm", "bar", "image"}
    ),  # where is the outline wrong?
    "volume_fault": frozenset({"observation"}),  # after an answer that cannot be used
    # sentences that the above are made of
    "volume": frozenset({"slice", "last_slice", "left", "top", "width_mm", "height_mm"}),
    "single": frozenset({"left", "top", "width_mm", "height_mm"}),  # an image of one slice
    "thousandths": frozenset(),
    "pixels": frozenset({"width_px", "height_px", "right", "bottom"}),
    "fractions": frozenset(),
    "image": frozenset({"kind", "modality", "window"}),
    "bar": frozenset(),
    "gaps": frozenset(),
    "again": frozenset(),
    "again_if_changed": frozenset(),
    "unchanged": frozenset({"image"}),
    "refine_both": frozenset(),
    "refine_boxes": frozenset(),
    "refine_points": frozenset(),
    "mask": frozenset(),
    "mask_contour": frozenset(),
    "undone": frozenset(),
    "shown_as_fill": frozenset(),
    "shown_as_contour": frozenset(),
    "no_mask": frozenset(),
    "neighbour": frozenset(),
    "boxes_only": frozenset(),
    "points_only": frozenset(),
}
"""The prompt files by name, without `.txt`, and what may stand in each."""

_NEEDED: Mapping[str, frozenset[str]] = {
    "first": frozenset({"target"}),
    "survey": frozenset({"target"}),
    "inspect": frozenset({"target"}),
    "fault": frozenset({"observation"}),
    "volume_fault": frozenset({"observation"}),
}
"""The placeholders that a file must hold: without them the model would not know what to do."""


@dataclass(frozen=True)
class PromptTemplates:
    """All prompts of one dialect, by name."""

    templates: Mapping[str, str]

    @property
    def sha256(self) -> str:
        """The digest of all of them (hex)."""
        texts = json.dumps(dict(self.templates), sort_keys=True)
        return hashlib.sha256(texts.encode()).hexdigest()

    def fill(self, name: str, **values: object) -> str:
        """The prompt `name` with its placeholders filled in.

        A line all of whose placeholders are empty is left out, and so are blank lines at both ends.
        """
        words = {key: str(value) for key, value in values.items()}
        lines = (_filled(line, words) for line in self.templates[name].splitlines())
        return "\n".join(line for line in lines if line is not None).strip()


def load_prompts(dialect: Dialect, folder: Path | None = None) -> PromptTemplates:
    """The prompts for `dialect`, of which the site's `folder` may replace some.

    BadPrompts, which names the path and the reason, for a folder or file that cannot be used.
    """
    ours = files("agent.language").joinpath("prompts")
    places: list[Traversable] = [ours.joinpath(dialect), ours]
    if folder is not None:
        _check_names(folder)
        places = [folder / dialect, folder, *places]
    return PromptTemplates({name: _text_of(f"{name}.txt", places) for name in PLACEHOLDERS})


def _check_names(folder: Path) -> None:
    if not folder.is_dir():
        raise BadPrompts(
            f"there is no folder of prompts at {folder}: make it or take the setting out"
        )
    for path in sorted([*folder.glob("*.txt"), *folder.glob("*/*.txt")]):
        if path.parent != folder and path.parent.name not in set(Dialect):
            raise BadPrompts(
                f"{path} is never read: dialects have the folders {', '.join(Dialect)}"
            )
        if path.stem not in PLACEHOLDERS:
            raise BadPrompts(
                f"{path} is never read: prompts are {', '.join(f'{n}.txt' for n in PLACEHOLDERS)}"
            )


def _text_of(name: str, places: list[Traversable]) -> str:
    path = next(place.joinpath(name) for place in places if place.joinpath(name).is_file())
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadPrompts(f"{path} cannot be read as UTF-8 text: {error}") from error
    _check_placeholders(str(path), name.removesuffix(".txt"), text)
    return text


def _check_placeholders(path: str, name: str, text: str) -> None:
    template = Template(text)
    if not template.is_valid():
        raise BadPrompts(f"{path} has a $ that begins no placeholder: write $$ for a dollar sign")
    used, allowed = set(template.get_identifiers()), PLACEHOLDERS[name]
    if unknown := sorted(used - allowed):
        listed = ", ".join(f"${placeholder}" for placeholder in sorted(allowed)) or "none"
        raise BadPrompts(f"{path} has ${unknown[0]}, which it cannot hold; it can hold: {listed}")
    if missing := sorted(_NEEDED.get(name, frozenset()) - used):
        raise BadPrompts(f"{path} must hold ${missing[0]}")


def _filled(line: str, words: Mapping[str, str]) -> str | None:
    template = Template(line)
    used = template.get_identifiers()
    if used and not any(words[name] for name in used):
        return None
    return template.substitute(words).rstrip()
