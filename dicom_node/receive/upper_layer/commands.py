"""DIMSE command sets (PS3.7 section 6.3 and annex E), read and written without a dictionary.

They are always implicit VR little endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from dicom_node.receive.errors import BY_USER, REASON_NOT_SPECIFIED, ProtocolError
from dicom_node.statuses import SUCCESS

C_STORE_RQ, C_ECHO_RQ, C_CANCEL_RQ = 0x0001, 0x0030, 0x0FFF
UNRECOGNIZED_OPERATION = 0x0211  # PS3.7 9.1.1.1.9
_RESPONSE = 0x8000
_NO_DATA_SET = 0x0101

_GROUP_LENGTH, _AFFECTED_CLASS, _REQUESTED_CLASS, _FIELD = 0x0000, 0x0002, 0x0003, 0x0100
_MESSAGE_ID, _RESPONDED_TO, _DATA_SET_TYPE, _STATUS = 0x0110, 0x0120, 0x0800, 0x0900
_ERROR_COMMENT, _AFFECTED_INSTANCE = 0x0902, 0x1000
_ELEMENT = struct.Struct("<HHL")
_MAX_COMMENT = 64  # LO, PS3.7 C.5
_MAX_UID_BYTES = 64


@dataclass(frozen=True)
class Command:
    """A command set, as far as we act on it: UIDs as text, without padding.

    `has_dataset` says whether a data set follows.
    """

    field: int
    message_id: int
    has_dataset: bool
    sop_class_uid: str = ""
    sop_instance_uid: str = ""

    @property
    def is_request(self) -> bool:
        """Whether the peer waits for an answer."""
        return not self.field & _RESPONSE and self.field != C_CANCEL_RQ


def parse_command(data: bytes) -> Command:
    """A whole command set.

    ProtocolError when it is none, or has no field or no message identifier.
    """
    values: dict[int, bytes] = {}
    position = 0
    while position + _ELEMENT.size <= len(data):
        group, element, length = _ELEMENT.unpack_from(data, position)
        position += _ELEMENT.size
        if group != 0x0000 or position + length > len(data):
            raise _unusable()
        values[element] = data[position : position + length]
        position += length
    field = _number(values, _FIELD)
    message = _RESPONDED_TO if field & _RESPONSE or field == C_CANCEL_RQ else _MESSAGE_ID
    return Command(
        field,
        _number(values, message),
        _number(values, _DATA_SET_TYPE) != _NO_DATA_SET,
        _text(values.get(_AFFECTED_CLASS) or values.get(_REQUESTED_CLASS) or b""),
        _text(values.get(_AFFECTED_INSTANCE, b"")),
    )


def response_to(command: Command, status: int = SUCCESS, comment: str = "") -> bytes:
    """The response to a request, with an Error Comment if there is something to say (PS3.7 C.5)."""
    elements = _element(_AFFECTED_CLASS, _uid(command.sop_class_uid))
    elements += _element(_FIELD, struct.pack("<H", command.field | _RESPONSE))
    elements += _element(_RESPONDED_TO, struct.pack("<H", command.message_id))
    elements += _element(_DATA_SET_TYPE, struct.pack("<H", _NO_DATA_SET))
    elements += _element(_STATUS, struct.pack("<H", status))
    if comment:
        text = comment.encode("ascii", "replace")[:_MAX_COMMENT]
        elements += _element(_ERROR_COMMENT, text + b" " * (len(text) % 2))
    if command.sop_instance_uid:
        elements += _element(_AFFECTED_INSTANCE, _uid(command.sop_instance_uid))
    return _element(_GROUP_LENGTH, struct.pack("<L", len(elements))) + elements


def _element(element: int, value: bytes) -> bytes:
    return _ELEMENT.pack(0x0000, element, len(value)) + value


def _uid(text: str) -> bytes:
    """A UID's bytes, of even length (PS3.5 9.1)."""
    value = text.encode("ascii", "replace")[:_MAX_UID_BYTES]
    return value + b"\0" * (len(value) % 2)


def _text(value: bytes) -> str:
    return value.rstrip(b"\0 ").decode("ascii", "replace")


def _number(values: dict[int, bytes], element: int) -> int:
    """An unsigned short that must be there."""
    value = values.get(element, b"")
    if len(value) != 2:
        raise _unusable()
    return int.from_bytes(value, "little")


def _unusable() -> ProtocolError:
    return ProtocolError("a command set is unusable", source=BY_USER, reason=REASON_NOT_SPECIFIED)
