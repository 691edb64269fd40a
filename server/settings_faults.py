"""What is wrong with settings, each fault in a sentence that names the key and what to do.

A value is never repeated: it may be a secret, or stand beside one. The name of an entry of
[[destinations]] or [[routes]] is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from agent.language.settings import WrongSetting

_UNKNOWN_KINDS = ("extra_forbidden", "unexpected_keyword_argument")
_LONGEST_NAME = 64
_NEAR = 0.7  # of difflib's ratio: a letter more, less or swapped in a word of four
Place = tuple[str | int, ...]


def faults_of(
    error: ValidationError, model: type[BaseModel], layers: Mapping[str, Any]
) -> tuple[str, ...]:
    """A sentence for each fault that `model` finds in the merged `layers`.

    A key that is missing is not told of where a misspelt one beside it stands for it.
    """
    faults = error.errors(include_input=False, include_url=False)
    suggestions: set[Place] = set()
    for fault in faults:
        if fault["type"] in _UNKNOWN_KINDS:
            *above, name = fault["loc"]
            suggestions.update((*above, key) for key in suggested(str(name), _keys(model, above)))
    return tuple(
        f"{_key(fault)}: {_reason(fault, model)} ({_entry(fault, layers)}see config/default.toml)"
        for fault in faults
        if not (fault["type"] == "missing" and fault["loc"] in suggestions)
    )


def suggested(name: str, keys: Sequence[str]) -> list[str]:
    """The one of `keys` that `name` may be a slip of, if there is one.

    >>> suggested("targts", ["name", "targets"])
    ['targets']
    """
    by_lower_case = {key.lower(): key for key in keys}
    return [by_lower_case[key] for key in get_close_matches(name.lower(), by_lower_case, 1, _NEAR)]


def did_you_mean(name: str, keys: Sequence[str]) -> str:
    """The same as the end of a sentence, empty without one.

    >>> did_you_mean("modalty", ["Modality", "Rows"])
    "; did you mean 'Modality'?"
    """
    return "".join(f"; did you mean '{key}'?" for key in suggested(name, keys))


def variable_fault(name: str, prefix: str, sections: Sequence[str]) -> str:
    """Why the environment variable `name` sets nothing though it seems meant to: two underscores
    part a section from its key. "" where none of `sections` is meant.
    """
    rest = name.removeprefix(prefix).lower()
    for section in sections:
        key = rest.removeprefix(f"{section}_")
        if key != rest and "__" not in rest:
            right = f"{prefix}{section}__{key}".upper()
            return f"{name}: two underscores part a section from its key; did you mean {right}?"
    return ""


def _key(fault: Mapping[str, Any]) -> str:
    cause = fault.get("ctx", {}).get("error")
    place: Place = (*fault["loc"], *((cause.setting,) if isinstance(cause, WrongSetting) else ()))
    return ".".join(str(part) for part in place) or "settings"


def _entry(fault: Mapping[str, Any], layers: Mapping[str, Any]) -> str:
    """The name that the site gave the entry of a list at fault, if that is what it is."""
    place = fault["loc"]
    if len(place) < 3 or place[0] not in ("destinations", "routes"):
        return ""
    entries, index = layers.get(str(place[0])), place[1]
    if not isinstance(entries, list) or not isinstance(index, int) or index >= len(entries):
        return ""
    entry = entries[index]
    name = entry.get("name") if isinstance(entry, Mapping) else None
    is_name = isinstance(name, str) and len(name) <= _LONGEST_NAME and name.isprintable()
    return f"of '{name}'; " if is_name else ""


def _reason(fault: Mapping[str, Any], model: type[BaseModel]) -> str:
    kind, place = fault["type"], fault["loc"]
    cause = fault.get("ctx", {}).get("error")
    if isinstance(cause, WrongSetting):
        return cause.reason
    if kind in _UNKNOWN_KINDS:
        return f"no such setting{did_you_mean(str(place[-1]), _keys(model, place[:-1]))}"
    if kind == "missing":
        return "is missing"
    if place in (("destinations",), ("routes",)):
        return f"each entry begins with [[{place[0]}]], in two brackets"
    return str(fault["msg"]).removeprefix("Value error, ")


def _keys(model: type[Any], place: Sequence[str | int]) -> list[str]:
    """The keys that stand at `place` of the settings; none in a table without fixed keys."""
    section: type[Any] = model
    for part in place:
        if isinstance(part, int):
            continue
        annotation = dict(_fields(section)).get(part)
        entry = (get_args(annotation) or (annotation,))[0]
        if not isinstance(entry, type):
            return []
        section = entry
    return [key for key, _ in _fields(section)]


def _fields(section: type[Any]) -> Iterator[tuple[str, Any]]:
    """The keys of a section with the types of their values."""
    if issubclass(section, BaseModel):
        for key, field in section.model_fields.items():
            yield key, field.annotation
    elif dataclasses.is_dataclass(section):
        yield from ((field.name, None) for field in dataclasses.fields(section))
