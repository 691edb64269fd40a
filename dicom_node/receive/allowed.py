"""Who may connect: by what a peer calls itself, and by where it comes from."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
# four numbers, or what has two colons: titles may have dots and colons, too
_ADDRESS_LIKE = re.compile(r"\d+(\.\d+){3}(/.*)?|[0-9A-Fa-f]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(/.*)?")
_TITLE = re.compile(r"[\x20-\x5b\x5d-\x7e]{1,16}")  # PS3.5 table 6.2-1, AE
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class AllowedPeers:
    """Calling AE titles and networks that may connect; an empty list is any.

    Where both are given, both must match.

    A title proves nothing, since a peer calls itself what it likes: who may send is decided by the
    addresses.
    """

    ae_titles: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    @classmethod
    def of(cls, entries: Iterable[str], addresses: Iterable[str] = ()) -> AllowedPeers:
        """From one list of titles and addresses, and one of addresses alone.

        An entry of the first that looks like an address or network is one, and never a title.
        ValueError names what is neither.
        """
        titles: list[str] = []
        networks: list[Network] = []
        for entry in entries:
            if _ADDRESS_LIKE.fullmatch(entry.strip()):
                networks.append(network(entry))
            elif _TITLE.fullmatch(entry.strip()):
                titles.append(entry.strip())
            else:
                raise ValueError(f"'{entry}' is neither an AE title nor an IP address or network")
        networks += [network(address) for address in addresses]
        return cls(frozenset(titles), tuple(networks))

    def allows(self, calling_ae_title: str, address: str) -> bool:
        """Whether a peer may connect."""
        if self.ae_titles and calling_ae_title not in self.ae_titles:
            return False
        if not self.networks:
            return True
        place = plain_address(address)
        return any(place in allowed for allowed in self.networks)


def network(text: str) -> Network:
    """`192.0.2.7`, `192.0.2.0/24`, `2001:db8::/32`; ValueError says what it is not."""
    try:
        return ipaddress.ip_network(text.strip())
    except ValueError as error:
        raise ValueError(f"'{text}' is no IP address or network ({error})") from error


def plain_address(text: str) -> Address:
    """An address as the socket gives it, without its zone.

    An IPv4 address that is mapped into IPv6 is returned as IPv4.
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address
