"""A peer that means no good: mutated PDUs and data sets for a DICOM port, the same for the same
seed.

Each `Attack` is one connection. tests/benchmarks/bench_hostile.py sends them by the
thousand:

    for attack in hostile.attacks(seed=1, count=100):
        hostile.send(port, attack)
    hostile.sound_exchange(port)
"""

from __future__ import annotations

import random
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psutil

CT, VERIFICATION = b"1.2.840.10008.5.1.4.1.1.2", b"1.2.840.10008.1.1"
IMPLICIT, EXPLICIT = b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.1"
DEFLATED = b"1.2.840.10008.1.2.1.99"
LENGTHS = (
    0,
    1,
    5,
    0xFFFF,
    0x10000,
    200_000_000,
    0x7FFF_FFFF,
    0xFFFF_FFFF,
)  # what a header may promise
ANSWER_S = 20.0
UIDS = b"1.2.826.0.1.3680043.8.498.77"


@dataclass(frozen=True)
class Attack:
    """One connection: `request` is sent at once, `after` when the association is accepted; `rude`
    resets instead of closing.
    """

    kind: str
    request: bytes
    after: tuple[bytes, ...] = ()
    rude: bool = False


def item(kind: int, body: bytes, length: int | None = None) -> bytes:
    """An item of an association PDU (PS3.8 9.3.2), its length told truly unless given."""
    told = len(body) if length is None else length
    return struct.pack(">BBH", kind, 0, told & 0xFFFF) + body


def pdu(kind: int, body: bytes, length: int | None = None) -> bytes:
    """A PDU (PS3.8 9.3.1)."""
    told = len(body) if length is None else length
    return struct.pack(">BBL", kind, 0, told & 0xFFFF_FFFF) + body


def context(number: int, abstract_syntax: bytes, *transfer_syntaxes: bytes) -> bytes:
    """A presentation context that is proposed (PS3.8 9.3.2.2)."""
    syntaxes = b"".join(item(0x40, syntax) for syntax in transfer_syntaxes)
    return item(0x20, bytes([number & 255, 0, 0, 0]) + item(0x30, abstract_syntax) + syntaxes)


CONTEXTS = context(1, CT, EXPLICIT) + context(3, CT, IMPLICIT) + context(5, VERIFICATION, IMPLICIT)


def associate(
    called: bytes = b"SEGNODE",
    calling: bytes = b"HOSTILE",
    contexts: bytes = CONTEXTS,
    user: bytes = b"",
    length: int | None = None,
) -> bytes:
    """An A-ASSOCIATE-RQ."""
    titles = called.ljust(16)[:16] + calling.ljust(16)[:16]
    body = b"\0\1\0\0" + titles + bytes(32) + item(0x10, b"1.2.840.10008.3.1.1.1") + contexts
    user_items = item(0x51, struct.pack(">L", 16384)) + item(0x52, b"1.2.3") + user
    return pdu(1, body + item(0x50, user_items), length)


def element(group: int, number: int, value: bytes, length: int | None = None) -> bytes:
    """An element in implicit VR little endian."""
    told = len(value) if length is None else length
    return struct.pack("<HHL", group, number, told & 0xFFFF_FFFF) + value


def ui(group: int, number: int, value: bytes) -> bytes:
    """A UID in explicit VR little endian."""
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HH2sH", group, number, b"UI", len(value)) + value


def command(
    field: int, instance: bytes = b"", sop_class: bytes = CT, more: bytes = b"", dataset: int = 0
) -> bytes:
    """A command set (PS3.7 9.3): C-STORE-RQ for field 1."""
    padded = sop_class + b"\0" * (len(sop_class) % 2)
    body = element(0, 2, padded) + element(0, 0x100, struct.pack("<H", field))
    body += element(0, 0x110, b"\7\0") + element(0, 0x700, b"\0\0")
    body += element(0, 0x800, struct.pack("<H", dataset))
    if instance:
        body += element(0, 0x1000, instance + b"\0" * (len(instance) % 2))
    return element(0, 0, struct.pack("<L", len(body + more))) + body + more


def pdv(context_id: int, control: int, body: bytes, length: int | None = None) -> bytes:
    """A presentation data value with its header (PS3.8 annex E.2): control bit 0 a command, bit 1
    its last part.
    """
    told = len(body) + 2 if length is None else length
    return struct.pack(">LBB", told & 0xFFFF_FFFF, context_id & 255, control & 255) + body


def dataset(chance: random.Random, tail: bytes = b"") -> tuple[bytes, bytes]:
    """(SOP Instance UID, data set in explicit VR little endian) with `tail` between the instance's
    and the study's UIDs.
    """
    uid = b"%s.%d" % (UIDS, chance.randrange(10**9))
    body = ui(8, 0x16, CT) + ui(8, 0x18, uid) + tail + ui(0x20, 0xD, uid) + ui(0x20, 0xE, uid)
    return uid, body


def attacks(seed: int, count: int) -> Iterator[Attack]:
    """`count` connections, each of a kind and with values drawn by chance."""
    chance = random.Random(seed)
    for _ in range(count):
        yield chance.choice(_KINDS)(chance)


def _promise(chance: random.Random) -> Attack:
    """A PDU header that promises more or less than comes."""
    kind, length = chance.choice((1, 2, 3, 4, 5, 6, 7, 0, 8, 255)), chance.choice(LENGTHS)
    return Attack(
        "promise",
        pdu(kind, chance.randbytes(chance.randrange(64)), length),
        rude=chance.random() < 0.5,
    )


def _noise(chance: random.Random) -> Attack:
    """Bytes of no protocol."""
    return Attack("noise", chance.randbytes(chance.randrange(1, 4096)))


def _flipped(chance: random.Random) -> Attack:
    """A request of which some bytes are others."""
    request = bytearray(associate())
    for _ in range(chance.randrange(1, 8)):
        request[chance.randrange(len(request))] = chance.randrange(256)
    return Attack("flipped", bytes(request))


def _cut(chance: random.Random) -> Attack:
    """A request that breaks off."""
    request = associate()
    return Attack("cut", request[: chance.randrange(1, len(request))], rude=chance.random() < 0.5)


def _titles(chance: random.Random) -> Attack:
    """Titles that are no titles."""
    titles = (
        b"",
        b"\n" * 16,
        b"A\nERROR forged",
        b"\xff" * 16,
        b"SEGNODE\0",
        b"\x1b[31mRED",
        b"10.9.9.9",
    )
    return Attack("titles", associate(chance.choice(titles), chance.choice(titles)))


def _contexts(chance: random.Random) -> Attack:
    """Presentation contexts: hundreds, twice the same number, even ones, none, of lying lengths."""
    proposals = (
        b"",
        b"".join(context(number, CT, EXPLICIT) for number in range(256)),
        context(1, CT, *[EXPLICIT] * 500),
        context(1, b"", b""),
        context(1, b"x" * 300, EXPLICIT),
        context(1, b"1.2\n3", b"\0" * 64),
        item(0x20, b"\1\0\0\0", 0xFFFF),
        item(0x20, b"", 0),
        context(2, CT, EXPLICIT) + context(2, CT, IMPLICIT),
    )
    return Attack("contexts", associate(contexts=chance.choice(proposals)), (pdu(5, bytes(4)),))


def _user_information(chance: random.Random) -> Attack:
    """Sub-items of the user information that lie or are unknown."""
    user = item(
        chance.randrange(0x50, 0x60),
        chance.randbytes(chance.randrange(40)),
        chance.choice((0, 3, 0xFFFF)),
    )
    return Attack("user information", associate(user=user))


def _fragments(chance: random.Random) -> Attack:
    """PDVs of an accepted association: lengths, contexts and control bits by chance."""
    uid, body = dataset(chance)
    parts = [
        pdv(chance.choice((1, 3, 5, 7, 0)), chance.choice((0, 1, 2, 3, 255)), chance.choice((command(1, uid), body, b"")),
            chance.choice((None, None, 0, 1, 2, 0xFFFF_FFFF)))
        for _ in range(chance.randrange(1, 5))
    ]  # fmt: skip
    return Attack(
        "fragments",
        associate(),
        (pdu(4, b"".join(parts), chance.choice((None, None, None, 0, 0x7FFF_FFFF))),),
    )


def _commands(chance: random.Random) -> Attack:
    """Command sets: unknown fields, missing or lying elements, UIDs that are none."""
    field = chance.choice((0, 1, 0x20, 0x21, 0x30, 0x8001, 0xFFF, 0xFFFF, 0x150))
    instance = chance.choice((b"", b"1.2.3", b"../../etc/passwd", b"1\n2", b"9" * 8000, b"\0" * 64))
    more = chance.choice(
        (b"", element(0, 0x1001, b"x", 0xFFFF_FFFF), element(8, 0x18, b"1.2"), chance.randbytes(30))
    )
    message = command(field, instance, more=more, dataset=chance.choice((0, 0x101)))
    return Attack("commands", associate(), (pdu(4, pdv(1, 3, message)),))


def _datasets(chance: random.Random) -> Attack:
    """Stored data sets with something wrong between or behind the UIDs they are filed under."""

    def long(vr: bytes, length: int, value: bytes = b"") -> bytes:
        return (
            struct.pack("<HH2sHL", 9, chance.randrange(0x10, 0x20), vr, 0, length & 0xFFFF_FFFF)
            + value
        )

    tails = (
        b"",
        long(b"SQ", 0xFFFF_FFFF),
        long(b"UN", 0xFFFF_FFFF, b"\xfe\xff\x00\xe0\xff\xff\xff\xff" * 100),
        long(b"OB", 0x7FFF_FFFF),
        long(b"ZZ", 4, b"abcd"),
        ui(0x20, 0xE, b"../../../tmp/hostile"),
        ui(0x20, 0xD, b"9" * 8000),
        struct.pack("<HH2sH", 0x28, 8, b"IS", 12) + b"9999999999999"[:12],
        chance.randbytes(chance.randrange(200)),
    )
    uid, body = dataset(chance, chance.choice(tails))
    body += chance.choice((b"", *tails))
    syntax = chance.choice((1, 3))
    return Attack(
        "data sets",
        associate(),
        (pdu(4, pdv(syntax, 3, command(1, uid))), pdu(4, pdv(syntax, 2, body)), pdu(5, bytes(4))),
    )


def _manners(chance: random.Random) -> Attack:
    """An accepted association that ends as none should."""
    ends = (
        b"",
        pdu(7, bytes(4)),
        pdu(5, bytes(4)) * 3,
        pdu(6, bytes(4)),
        associate(),
        pdu(2, bytes(68)),
        pdu(4, b""),
    )
    return Attack("manners", associate(), (chance.choice(ends),), rude=chance.random() < 0.5)


_KINDS: tuple[Callable[[random.Random], Attack], ...] = (
    _promise, _noise, _flipped, _cut, _titles, _contexts, _user_information, _fragments, _commands, _datasets, _manners,
)  # fmt: skip


def send(port: int, attack: Attack) -> None:
    """Make the connection, say it all, take what comes within a moment and leave. What the node
    does about it is its own.
    """
    with socket.socket() as wire:
        wire.settimeout(ANSWER_S)
        if attack.rude:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wire.connect(("127.0.0.1", port))
        try:
            wire.sendall(attack.request)
            if attack.after and wire.recv(1) == b"\2":
                for message in attack.after:
                    wire.sendall(message)
            wire.settimeout(0.02)
            wire.recv(65536)
        except OSError:
            return  # it hung up, or waits for more: both are its right


def sound_exchange(port: int, called: bytes = b"SEGNODE") -> float:
    """A C-ECHO and a C-STORE as they should be, each answered with Success; the seconds it took.
    AssertionError otherwise.
    """
    began = time.monotonic()
    uid, body = dataset(random.Random(time.time_ns()))
    body += struct.pack("<HH2sHL", 0x7FE0, 0x10, b"OW", 0, 512) + bytes(512)
    with socket.create_connection(("127.0.0.1", port), ANSWER_S) as wire:
        wire.sendall(associate(called, b"SOUND"))
        kind, _ = _received(wire)
        assert kind == 2, f"a sound association was answered by PDU type {kind}"
        wire.sendall(pdu(4, pdv(5, 3, command(0x30, sop_class=VERIFICATION, dataset=0x101))))
        assert _status(wire) == 0, "a sound C-ECHO was refused"
        wire.sendall(pdu(4, pdv(1, 3, command(1, uid)) + pdv(1, 2, body)))
        assert _status(wire) == 0, "a sound C-STORE was refused"
        wire.sendall(pdu(5, bytes(4)))
        assert _received(wire)[0] == 6
    return time.monotonic() - began


def _received(wire: socket.socket) -> tuple[int, bytes]:
    """(type, body) of the next PDU."""
    head = _exactly(wire, 6)
    return head[0], _exactly(wire, int.from_bytes(head[2:], "big"))


def _exactly(wire: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = wire.recv(count - len(data))
        assert part, "the node hung up on a sound peer"
        data += part
    return data


def _status(wire: socket.socket) -> int:
    """The Status (0000,0900) of the next response."""
    kind, body = _received(wire)
    assert kind == 4, f"a sound request was answered by PDU type {kind}"
    at = body.index(b"\0\0\0\x09\2\0\0\0") + 8
    return int.from_bytes(body[at : at + 2], "little")


@dataclass(frozen=True)
class Footprint:
    """What the processes that listen on a port hold: resident memory, descriptors, threads."""

    memory_bytes: int
    descriptors: int
    threads: int


def footprint(parent: int) -> Footprint:
    """Of process `parent` and all its descendants that are Python."""
    family = [psutil.Process(parent), *psutil.Process(parent).children(recursive=True)]
    members = [process for process in family if "python" in process.name()]
    return Footprint(
        sum(process.memory_info().rss for process in members),
        sum(process.num_fds() for process in members),
        sum(process.num_threads() for process in members),
    )


def listening_process(parent: int) -> int:
    """The id of the `listen` child of a node whose supervisor is `parent`: its command line names
    the part.
    """
    family = psutil.Process(parent).children(recursive=True)
    return next(process.pid for process in family if "listen" in process.cmdline())
