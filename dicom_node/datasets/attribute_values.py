"""One attribute of a data set at a time; an error names the attribute that cannot be used.

pydicom raises nearly every built-in error when it decodes a value, with a message about Python.
Here each attribute is read on its own, so that the sentence can name it.
"""

from __future__ import annotations

import re
from typing import Any

from pydicom.datadict import dictionary_description, dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import Tag

from dicom_node.datasets.decimals import decimal_of
from dicom_node.errors import UnusableValue

_BINARY_VR = frozenset({"FD", "FL", "SL", "SS", "SV", "UL", "US", "UV"})
# what may be repeated in a sentence: nothing that could be a name
_QUOTABLE = re.compile(r"[-+0-9eE.,]{1,24}|[+-]?(nan|inf|infinity)", re.ASCII | re.IGNORECASE)
_LONGEST_TERM = 16  # characters of a CS, PS3.5 table 6.2-1
_TERM = re.compile(r"[A-Z0-9_ ./-]{1,16}", re.ASCII)


def attribute_name(keyword: str) -> str:
    """What PS3.6 calls an attribute: "Rescale Intercept" of RescaleIntercept."""
    return dictionary_description(Tag(keyword))


def decimals(ds: Dataset, keyword: str) -> tuple[float, ...]:
    """The finite numbers of an attribute in any VR; none where it is missing or empty.

    UnusableValue for a value that is no number.
    """
    numbers = []
    for text in texts(ds, keyword):
        number = decimal_of(text)
        if number is None:
            problem = f'is "{text}"' if _QUOTABLE.fullmatch(text) else "is a text"
            raise UnusableValue(attribute_name(keyword), f"{problem}, which is no finite number")
        numbers.append(number)
    return tuple(numbers)


def decimal(ds: Dataset, keyword: str) -> float | None:
    """The one number of an attribute, None where there is none.

    UnusableValue for several, even equal ones.
    """
    numbers = decimals(ds, keyword)
    if len(numbers) > 1:
        raise UnusableValue(attribute_name(keyword), f"has {len(numbers)} values")
    return numbers[0] if numbers else None


def integer(ds: Dataset, keyword: str) -> int | None:
    """The one whole number of an attribute, None where there is none.

    UnusableValue for anything else.
    """
    number = decimal(ds, keyword)
    if number is not None and number != int(number):
        raise UnusableValue(attribute_name(keyword), "is no whole number")
    return None if number is None else int(number)


def term(ds: Dataset, keyword: str) -> str:
    """A coded text (CS) in capitals, values joined by a backslash; empty where there is none.

    UnusableValue where it cannot be read.
    """
    return "\\".join(texts(ds, keyword)).upper()


def shown_term(text: str) -> str:
    """A coded text for a sentence; what is no such text (PS3.5 table 6.2-1) is not repeated."""
    parts = text.upper().split("\\")
    legal = all(_TERM.fullmatch(part) for part in parts) and len(text) <= 4 * _LONGEST_TERM
    return text.upper() if legal or not text else "another text"


def items(ds: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence, none where it is missing or empty.

    UnusableValue for what is no sequence.
    """
    value = value_of(ds, keyword)
    if value is None or (isinstance(value, str | bytes) and not value):
        return []
    try:
        members = list(value)
    except TypeError:
        members = [value]
    if not all(isinstance(member, Dataset) for member in members):
        raise UnusableValue(attribute_name(keyword), "is no sequence")
    return members


def texts(ds: Dataset, keyword: str) -> tuple[str, ...]:
    """Every value of an attribute as text, without the spaces around it.

    UnusableValue where it cannot be read.
    """
    tag = Tag(keyword)
    if tag not in ds:
        return ()
    element = ds.get_item(tag)
    if isinstance(element, RawDataElement) and element.VR not in _BINARY_VR and _is_text(tag):
        text = (element.value or b"").decode("ascii", "replace")
        return tuple(part.strip(" \0") for part in text.split("\\")) if text.strip(" \0") else ()
    value = value_of(ds, keyword)
    if value is None or value == "" or value == b"":
        return ()
    several = isinstance(value, (MultiValue, list, tuple))
    return tuple(_as_text(keyword, part) for part in (value if several else [value]))


def value_of(ds: Dataset, keyword: str) -> Any:
    """The value that pydicom decodes, None where the attribute is missing.

    UnusableValue where pydicom fails.
    """
    try:
        return ds.get(keyword)
    # the list of what pydicom raises on odd values is open (dicom_node.reading_errors)
    except Exception as reason:
        raise UnusableValue(attribute_name(keyword), "cannot be read") from reason


def _is_text(tag: int) -> bool:
    """Whether the dictionary says that an attribute is text, so that its bytes are its value."""
    return dictionary_VR(tag) in {"CS", "DS", "IS", "SH", "LO", "TM", "DA"}


def _as_text(keyword: str, value: Any) -> str:
    """One decoded value as text.

    Two or four bytes of unknown VR are a little endian integer (PS3.5 6.2.2).
    """
    if isinstance(value, bytes | bytearray):
        if len(value) in {2, 4}:
            return str(int.from_bytes(value, "little"))
        raise UnusableValue(attribute_name(keyword), "is no number")
    if isinstance(value, Dataset):
        raise UnusableValue(attribute_name(keyword), "is a sequence")
    return str(value).strip(" \0")
