"""Command sets, byte by byte (PS3.7 section 6.3)."""

from __future__ import annotations

import struct

import pytest

from dicom_node.receive.errors import BY_USER, ProtocolError
from dicom_node.receive.upper_layer.commands import (
    C_CANCEL_RQ,
    C_STORE_RQ,
    Command,
    parse_command,
    response_to,
)
from tests.dicom_node.receive.conftest import CT, Wire


def elements(data: bytes) -> dict[int, bytes]:
    """The elements of a command set by their numbers."""
    values = {}
    while data:
        group, number, length = struct.unpack_from("<HHL", data)
        assert group == 0
        assert length % 2 == 0
        values[number], data = data[8 : 8 + length], data[8 + length :]
    return values


def test_a_request_to_store_is_read() -> None:
    command = parse_command(Wire.command(1, dataset=True, instance=b"1.2.3", message=9))

    assert command == Command(C_STORE_RQ, 9, True, CT.decode(), "1.2.3")
    assert command.is_request


@pytest.mark.parametrize("field", [0x8001, C_CANCEL_RQ])
def test_answers_and_cancellations_wait_for_no_answer(field: int) -> None:
    assert not Command(field, 1, has_dataset=False).is_request


def test_a_cancellation_names_the_message_that_it_ends() -> None:
    data = struct.pack("<HHLH", 0, 0x0100, 2, C_CANCEL_RQ)
    data += struct.pack("<HHLH", 0, 0x0120, 2, 5) + struct.pack("<HHLH", 0, 0x0800, 2, 0x0101)

    assert parse_command(data).message_id == 5


@pytest.mark.parametrize(
    "data",
    [
        b"",
        Wire.command(1)[:-3],  # a value is cut off
        b"\x08" + Wire.command(1)[1:],  # another group
        Wire.command(1).replace(
            struct.pack("<HHL", 0, 0x0110, 2), struct.pack("<HHL", 0, 0x111, 2)
        ),
    ],
)
def test_what_is_no_command_set_is_the_users_fault(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="a command set is unusable") as ended:
        parse_command(data)
    assert ended.value.source == BY_USER


def test_the_answer_repeats_what_was_asked() -> None:
    command = Command(C_STORE_RQ, 9, True, CT.decode(), "1.2.3")

    values = elements(response_to(command, 0xA700, "no room"))

    assert values.pop(0x0000) == struct.pack(
        "<L", len(response_to(command, 0xA700, "no room")) - 12
    )
    assert values == {
        0x0002: CT + b"\0",  # of even length
        0x0100: b"\x01\x80",
        0x0120: b"\x09\0",
        0x0800: b"\x01\x01",  # no data set follows
        0x0900: b"\x00\xa7",
        0x0902: b"no room ",
        0x1000: b"1.2.3\0",
    }


def test_a_comment_has_64_ascii_characters_at_most() -> None:
    comment = elements(response_to(Command(C_STORE_RQ, 1, True), 0xC000, "ü" * 100))[0x0902]

    assert comment == b"?" * 64
