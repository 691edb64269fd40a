"""Protocol data units of the upper layer (PS3.8 section 9.3), the acceptor's part of them."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dicom_node.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.receive.dataset_uids import is_uid
from dicom_node.receive.errors import ProtocolError

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA_TF, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
HEADER = struct.Struct(">BxL")  # type, length of what follows
PDV_HEADER = struct.Struct(">LBB")  # length of what follows, context, message control header
IS_COMMAND, IS_LAST = 1, 2  # bits of the message control header (PS3.8 E.2)

_FIXED = struct.Struct(">HH16s16s32s")  # PS3.8 table 9-11
_ITEM = struct.Struct(">BxH")
_APPLICATION_CONTEXT, _CONTEXT, _CONTEXT_RESULT, _USER_INFORMATION = 0x10, 0x20, 0x21, 0x50
_ABSTRACT_SYNTAX, _TRANSFER_SYNTAX = 0x30, 0x40
_MAXIMUM_LENGTH, _IMPLEMENTATION_CLASS, _IMPLEMENTATION_VERSION = 0x51, 0x52, 0x55
_DICOM_APPLICATION_CONTEXT = b"1.2.840.10008.3.1.1.1"  # PS3.7 A.2.1
_MAX_CONTEXTS = 128

# PS3.8 table 9-21: result, source, reason
Rejection = tuple[int, int, int]
APPLICATION_CONTEXT_NOT_SUPPORTED: Rejection = (1, 1, 2)
CALLING_AE_TITLE_NOT_RECOGNIZED: Rejection = (1, 1, 3)
CALLED_AE_TITLE_NOT_RECOGNIZED: Rejection = (1, 1, 7)
PROTOCOL_VERSION_NOT_SUPPORTED: Rejection = (1, 2, 2)
LOCAL_LIMIT_EXCEEDED: Rejection = (2, 3, 2)

# PS3.8 table 9-18: result of a presentation context
ACCEPTED, ABSTRACT_SYNTAX_NOT_SUPPORTED, TRANSFER_SYNTAXES_NOT_SUPPORTED = 0, 3, 4

RELEASE_REPLY = HEADER.pack(RELEASE_RP, 4) + bytes(4)


@dataclass(frozen=True)
class ProposedContext:
    """A presentation context as proposed: abstract syntax and transfer syntaxes, in order."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True)
class AnsweredContext:
    """A presentation context as answered; `transfer_syntax` matters where `result` is ACCEPTED."""

    context_id: int
    abstract_syntax: str
    transfer_syntax: str
    result: int


@dataclass(frozen=True)
class AssociateRequest:
    """An A-ASSOCIATE-RQ.

    `titles` are the bytes from the called title to the end of the reserved field, which the answer
    repeats; `pdu_bytes` the longest PDU that the peer takes, 0 for any.
    """

    protocol_version: int
    called_ae_title: str
    calling_ae_title: str
    application_context: bytes
    contexts: tuple[ProposedContext, ...]
    pdu_bytes: int
    titles: bytes


def parse_request(body: bytes) -> AssociateRequest:
    """An A-ASSOCIATE-RQ without its header.

    ProtocolError when its lengths or contexts do not fit together.
    """
    if len(body) < _FIXED.size:
        raise ProtocolError("the request for an association is cut off")
    version, _, called, calling, _ = _FIXED.unpack_from(body)
    application, contexts, pdu_bytes = b"", [], 0
    for kind, value in _items(body[_FIXED.size :]):
        if kind == _APPLICATION_CONTEXT:
            application = value.rstrip(b"\0 ")
        elif kind == _CONTEXT:
            contexts.append(_context(value))
        elif kind == _USER_INFORMATION:
            pdu_bytes = _maximum_length(value)
    ids = {context.context_id for context in contexts}
    if not 0 < len(ids) == len(contexts) <= _MAX_CONTEXTS:
        raise ProtocolError("the request for an association has no sound presentation contexts")
    return AssociateRequest(
        version,
        _title(called),
        _title(calling),
        application,
        tuple(contexts),
        pdu_bytes,
        body[4:68],
    )


def fault_of(request: AssociateRequest) -> Rejection | None:
    """Why a request cannot be met whoever sends it, if so."""
    if not request.protocol_version & 1:
        return PROTOCOL_VERSION_NOT_SUPPORTED
    if request.application_context != _DICOM_APPLICATION_CONTEXT:
        return APPLICATION_CONTEXT_NOT_SUPPORTED
    if not _is_title(request.calling_ae_title):
        return CALLING_AE_TITLE_NOT_RECOGNIZED
    return None


def accept(request: AssociateRequest, contexts: Sequence[AnsweredContext], pdu_bytes: int) -> bytes:
    """The A-ASSOCIATE-AC (PS3.8 9.3.3).

    User information that we do not use is not answered, so that its defaults hold.
    """
    user = (
        _item(_MAXIMUM_LENGTH, struct.pack(">L", pdu_bytes))
        + _item(_IMPLEMENTATION_CLASS, IMPLEMENTATION_CLASS_UID.encode("ascii"))
        + _item(_IMPLEMENTATION_VERSION, IMPLEMENTATION_VERSION_NAME.encode("ascii"))
    )
    body = struct.pack(">HH", 1, 0) + request.titles
    body += _item(_APPLICATION_CONTEXT, _DICOM_APPLICATION_CONTEXT)
    for context in contexts:
        syntax = _item(_TRANSFER_SYNTAX, context.transfer_syntax.encode("ascii", "replace"))
        body += _item(_CONTEXT_RESULT, bytes([context.context_id, 0, context.result, 0]) + syntax)
    body += _item(_USER_INFORMATION, user)
    return HEADER.pack(ASSOCIATE_AC, len(body)) + body


def reject(rejection: Rejection) -> bytes:
    """The A-ASSOCIATE-RJ (PS3.8 9.3.4)."""
    return HEADER.pack(ASSOCIATE_RJ, 4) + bytes([0, *rejection])


def abort(source: int, reason: int) -> bytes:
    """The A-ABORT (PS3.8 9.3.8)."""
    return HEADER.pack(ABORT, 4) + bytes([0, 0, source, reason])


def p_data(context_id: int, command: bytes, pdu_bytes: int) -> bytes:
    """A command set as P-DATA-TF PDUs, none longer than `pdu_bytes` (0: any length)."""
    room = max(pdu_bytes - PDV_HEADER.size, 2) if pdu_bytes else len(command)
    pdus = bytearray()
    for start in range(0, len(command), room):
        part = command[start : start + room]
        flags = IS_COMMAND | (IS_LAST if start + room >= len(command) else 0)
        pdus += HEADER.pack(P_DATA_TF, PDV_HEADER.size + len(part))
        pdus += PDV_HEADER.pack(len(part) + 2, context_id, flags) + part
    return bytes(pdus)


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, value) of items or sub-items that follow one another."""
    position = 0
    while position < len(data):
        if position + _ITEM.size > len(data):
            raise ProtocolError("an item of the request for an association is cut off")
        kind, length = _ITEM.unpack_from(data, position)
        position += _ITEM.size
        if position + length > len(data):
            raise ProtocolError("an item of the request for an association is cut off")
        yield kind, data[position : position + length]
        position += length


def _item(kind: int, value: bytes) -> bytes:
    return _ITEM.pack(kind, len(value)) + value


def _context(value: bytes) -> ProposedContext:
    """A presentation context item (PS3.8 table 9-13)."""
    if len(value) < 4 or not value[0] & 1:
        raise ProtocolError("a presentation context has no sound identifier")
    abstract, transfer = "", []
    for kind, syntax in _items(value[4:]):
        text = syntax.rstrip(b"\0 ").decode("ascii", "replace")
        if kind == _ABSTRACT_SYNTAX:
            abstract = text
        elif kind == _TRANSFER_SYNTAX:
            transfer.append(text)
    return ProposedContext(value[0], abstract, tuple(transfer))


def _maximum_length(user_information: bytes) -> int:
    """The longest PDU that the peer takes (PS3.8 D.1); 0, any, where it does not say."""
    for kind, value in _items(user_information):
        if kind == _MAXIMUM_LENGTH and len(value) == 4:
            return int.from_bytes(value, "big")
    return 0


def answer(proposed: ProposedContext, *, supported: bool) -> AnsweredContext:
    """The answer to a proposed context.

    A context of a supported class gets the peer's first usable transfer syntax.
    """
    usable = [syntax for syntax in proposed.transfer_syntaxes if is_uid(syntax)]
    result = ACCEPTED if usable else TRANSFER_SYNTAXES_NOT_SUPPORTED
    if not supported or not is_uid(proposed.abstract_syntax):
        result = ABSTRACT_SYNTAX_NOT_SUPPORTED
    chosen = usable[0] if usable else "1.2.840.10008.1.2"
    return AnsweredContext(proposed.context_id, proposed.abstract_syntax, chosen, result)


def _title(field: bytes) -> str:
    """An AE title without its padding.

    A byte that is not ASCII becomes a character that no title may have.
    """
    return field.strip(b"\0 ").decode("ascii", "replace")


def _is_title(text: str) -> bool:
    """PS3.5 table 6.2-1, AE."""
    return text.isascii() and text.isprintable() and text != "" and "\\" not in text
