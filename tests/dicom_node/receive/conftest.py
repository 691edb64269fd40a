"""Bytes on the wire, made by hand: what no library would send."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

import pytest

CT, VERIFICATION = b"1.2.840.10008.5.1.4.1.1.2", b"1.2.840.10008.1.1"
IMPLICIT, EXPLICIT = b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.1"
FIND = b"1.2.840.10008.5.1.4.1.2.2.1"


class RawPeer:
    """PDUs by hand, and what comes back."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)

    def send(self, *pdus: bytes) -> None:
        """Send PDUs, or parts of them."""
        self.socket.sendall(b"".join(pdus))

    def read(self) -> tuple[int, bytes]:
        """The next PDU: its type and what follows its header.

        (0, b"") when the connection is closed.
        """
        header = self._exactly(6)
        if len(header) < 6:
            return 0, b""
        kind, length = struct.unpack(">BxL", header)
        return kind, self._exactly(length)

    def status(self) -> int:
        """The status in the response that comes next; -1 when something else comes."""
        kind, body = self.read()
        if kind != 0x04:
            return -1
        command = body[6:]
        values = {}
        while command:
            _, element, length = struct.unpack_from("<HHL", command)
            values[element], command = command[8 : 8 + length], command[8 + length :]
        return int.from_bytes(values[0x0900], "little")

    def associate(self, *contexts: tuple[int, bytes], **changes: bytes) -> int:
        """Ask for an association; the type of the answer."""
        self.send(Wire.request(*contexts, **changes))
        return self.read()[0]

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            try:
                more = self.socket.recv(count - len(data))
            except ConnectionResetError:
                more = b""
            if not more:
                break
            data += more
        return data


class Wire:
    """PDUs and command sets as bytes."""

    RELEASE = b"\5\0\0\0\0\4\0\0\0\0"

    @staticmethod
    def item(kind: int, value: bytes) -> bytes:
        return struct.pack(">BBH", kind, 0, len(value)) + value

    @classmethod
    def request(
        cls,
        *contexts: tuple[int, bytes],
        called: bytes = b"SEGNODE",
        calling: bytes = b"PEER",
        user: bytes = b"",
        version: bytes = b"\0\1",
        application: bytes = b"1.2.840.10008.3.1.1.1",
    ) -> bytes:
        body = version + bytes(2) + called.ljust(16) + calling.ljust(16) + bytes(32)
        body += cls.item(0x10, application)
        for number, abstract in contexts or ((1, CT),):
            syntaxes = cls.item(0x40, EXPLICIT) + cls.item(0x40, IMPLICIT)
            body += cls.item(0x20, bytes([number, 0, 0, 0]) + cls.item(0x30, abstract) + syntaxes)
        body += cls.item(0x50, cls.item(0x51, struct.pack(">L", 16384)) + user)
        return b"\1\0" + struct.pack(">L", len(body)) + body

    @staticmethod
    def p_data(*values: tuple[int, int, bytes]) -> bytes:
        """One PDU with values of (context, flags: 1 command, 2 last; bytes)."""
        body = b"".join(
            struct.pack(">LBB", len(data) + 2, context, flags) + data
            for context, flags, data in values
        )
        return b"\4\0" + struct.pack(">L", len(body)) + body

    @staticmethod
    def command(
        field: int,
        *,
        dataset: bool = False,
        sop_class: bytes = CT,
        instance: bytes = b"",
        message: int = 1,
    ) -> bytes:
        def element(number: int, value: bytes) -> bytes:
            value += b"\0" * (len(value) % 2)
            return struct.pack("<HHL", 0, number, len(value)) + value

        body = element(0x0002, sop_class) + element(0x0100, struct.pack("<H", field))
        body += element(0x0110, struct.pack("<H", message)) + element(0x0700, b"\0\0")
        body += element(0x0800, struct.pack("<H", 1 if dataset else 0x0101))
        if instance:
            body += element(0x1000, instance)
        return element(0x0000, struct.pack("<L", len(body))) + body


@pytest.fixture
def wire() -> type[Wire]:
    """Makes PDUs."""
    return Wire


@pytest.fixture
def raw() -> Callable[[int], RawPeer]:
    """Connects to a port without a library."""
    return RawPeer
