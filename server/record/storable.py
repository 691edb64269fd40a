"""Makes whatever comes from outside a value of bounded size that PostgreSQL can hold.

Text has no NUL and no half of a surrogate pair, a UID is no longer than a UID, an integer fits its
column, JSON has no NaN. The first bounds are those of whoever read the value; these hold whoever
that was.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Dialect, String
from sqlalchemy.types import TypeDecorator

from agent.storable_text import storable
from dicom_node.receive.dataset_uids import is_uid

LONGEST_TEXT = 2000
"""Characters of a sentence or an attribute; a description in DICOM has 64 (LO) or 1,024 (ST)."""
MOST_FAULTS = 100
_INTEGER_BITS = 31  # of a PostgreSQL integer, less its sign
_JSON_INTEGER_BITS = 63
_UID_PREFIX_CHARACTERS = 40


class StorableText(TypeDecorator[str]):
    """Text without the characters that PostgreSQL does not have."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """See TypeDecorator."""
        del dialect
        return None if value is None else storable(value)


def json_text(value: Any) -> str:
    """JSON for a jsonb column: text storable; NaN, infinities and endless integers are null."""
    return json.dumps(_json_value(value), allow_nan=False)


def _json_value(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {storable(str(key)): _json_value(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_value(member) for member in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, int) and value.bit_length() > _JSON_INTEGER_BITS:
        return None
    return value


def bounded(text: str, longest: int = LONGEST_TEXT) -> str:
    """`text` storable and cut to `longest` characters, with an ellipsis where it was cut."""
    whole = storable(text)
    return whole if len(whole) <= longest else f"{whole[: longest - 1]}\N{HORIZONTAL ELLIPSIS}"


def bounded_uid(uid: str) -> str:
    """A UID as it is.

    Anything else as a key of its own of at most 64 characters, so that it can be shown and found.
    """
    if is_uid(uid):
        return uid
    digest = hashlib.sha256(uid.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{bounded(uid, _UID_PREFIX_CHARACTERS)}#{digest[:16]}"


def column_integer(value: int | None) -> int | None:
    """`value` if an integer column holds it, else None."""
    if value is None or value.bit_length() > _INTEGER_BITS:
        return None
    return value


def bounded_faults(faults: Iterable[str]) -> list[str]:
    """Faults as the record keeps them: each once, cut, a hundred at most."""
    unique = dict.fromkeys(bounded(fault) for fault in faults)
    return list(unique)[:MOST_FAULTS]
