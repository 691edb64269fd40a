"""Protocol data units, byte by byte (PS3.8 section 9.3)."""

from __future__ import annotations

import struct

import pytest

from dicom_node.receive.errors import INVALID_PARAMETER, ProtocolError
from dicom_node.receive.upper_layer.pdu import (
    ABSTRACT_SYNTAX_NOT_SUPPORTED,
    ACCEPTED,
    CALLED_AE_TITLE_NOT_RECOGNIZED,
    PROTOCOL_VERSION_NOT_SUPPORTED,
    RELEASE_REPLY,
    TRANSFER_SYNTAXES_NOT_SUPPORTED,
    ProposedContext,
    abort,
    answer,
    fault_of,
    p_data,
    parse_request,
    reject,
)
from tests.dicom_node.receive.conftest import CT, EXPLICIT, IMPLICIT, Wire

HEADER = 6  # bytes before a PDU's body


def body(**changes: bytes) -> bytes:
    return Wire.request((1, CT), (3, b"1.2.840.10008.1.1"), **changes)[HEADER:]


def test_a_request_says_who_asks_for_what() -> None:
    request = parse_request(body())

    assert (request.called_ae_title, request.calling_ae_title) == ("SEGNODE", "PEER")
    assert (request.protocol_version, request.pdu_bytes) == (1, 16384)
    syntaxes = (EXPLICIT.decode(), IMPLICIT.decode())
    assert request.contexts == (
        ProposedContext(1, CT.decode(), syntaxes),
        ProposedContext(3, "1.2.840.10008.1.1", syntaxes),
    )
    assert request.titles == b"SEGNODE".ljust(16) + b"PEER".ljust(16) + bytes(32)
    assert fault_of(request) is None


@pytest.mark.parametrize("cut", [10, 67, 80, -1])
def test_a_request_that_is_cut_off_breaks_the_protocol(cut: int) -> None:
    with pytest.raises(ProtocolError, match="cut off") as ended:
        parse_request(body()[:cut])
    assert ended.value.reason == INVALID_PARAMETER


@pytest.mark.parametrize(
    "contexts",
    [
        ((2, CT),),  # identifiers are odd
        ((1, CT), (1, CT)),  # and each is used once
    ],
)
def test_contexts_have_odd_identifiers_of_their_own(
    contexts: tuple[tuple[int, bytes], ...],
) -> None:
    with pytest.raises(ProtocolError, match="sound"):
        parse_request(Wire.request(*contexts)[HEADER:])


def test_another_version_of_the_protocol_is_a_fault() -> None:
    assert fault_of(parse_request(body(version=b"\0\2"))) == PROTOCOL_VERSION_NOT_SUPPORTED
    assert fault_of(parse_request(body(version=b"\0\3"))) is None  # bit 0 is ours


def test_a_context_gets_the_first_transfer_syntax_that_is_one() -> None:
    proposed = ProposedContext(5, CT.decode(), ("no uid", EXPLICIT.decode(), IMPLICIT.decode()))

    accepted = answer(proposed, supported=True)

    assert (accepted.context_id, accepted.result) == (5, ACCEPTED)
    assert accepted.transfer_syntax == EXPLICIT.decode()
    assert answer(proposed, supported=False).result == ABSTRACT_SYNTAX_NOT_SUPPORTED
    nothing = ProposedContext(5, CT.decode(), ())
    assert answer(nothing, supported=True).result == TRANSFER_SYNTAXES_NOT_SUPPORTED


@pytest.mark.parametrize(
    ("pdu", "expected"),
    [
        (RELEASE_REPLY, "06 00 00000004 00000000"),
        (abort(2, 6), "07 00 00000004 00 00 02 06"),
        (reject(CALLED_AE_TITLE_NOT_RECOGNIZED), "03 00 00000004 00 01 01 07"),
    ],
)
def test_short_pdus_are_as_the_standards_tables_say(pdu: bytes, expected: str) -> None:
    assert pdu == bytes.fromhex(expected)


@pytest.mark.parametrize(
    ("pdu_bytes", "lengths"), [(0, [100]), (46, [40, 40, 20]), (106, [100]), (105, [99, 1])]
)
def test_a_command_is_cut_to_what_the_peer_takes(pdu_bytes: int, lengths: list[int]) -> None:
    command = bytes(range(100))
    data, parts = p_data(7, command, pdu_bytes), []

    while data:
        kind, length, item_length, context, flags = struct.unpack_from(">BxLLBB", data)
        content = data[12 : 6 + length]
        parts.append((kind, item_length - 2, context, flags, content))
        data = data[6 + length :]

    assert [part[1] for part in parts] == lengths
    assert {part[0] for part in parts} == {4}
    assert {part[2] for part in parts} == {7}
    assert [part[3] for part in parts] == [1] * (len(parts) - 1) + [3]  # the last says so
    assert b"".join(part[4] for part in parts) == command
