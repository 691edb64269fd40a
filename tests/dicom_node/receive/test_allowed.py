"""Who may connect: titles are what a peer calls itself, addresses are where it comes from."""

from __future__ import annotations

import pytest

from dicom_node.receive.allowed import AllowedPeers


@pytest.mark.parametrize(
    ("entries", "addresses", "title", "address", "allowed"),
    [
        ([], [], "ANY", "192.0.2.1", True),
        (["SCANNER"], [], "SCANNER", "192.0.2.1", True),
        (["SCANNER"], [], "STRANGER", "192.0.2.1", False),
        (["10.9.9.9"], [], "10.9.9.9", "192.0.2.1", False),  # calling oneself so is not being there
        (["10.9.9.9"], [], "ANY", "10.9.9.9", True),
        (["10.9.0.0/16"], [], "ANY", "10.9.255.1", True),
        (["10.9.0.0/16"], [], "ANY", "10.10.0.1", False),
        ([], ["2001:db8::/32"], "ANY", "2001:db8::7", True),
        ([], ["2001:db8::/32"], "ANY", "2001:db9::7", False),
        ([], ["10.9.9.9"], "ANY", "::ffff:10.9.9.9", True),  # as an IPv6 socket tells it
        ([], ["fe80::/10"], "ANY", "fe80::1%eth0", True),
        (["SCANNER"], ["10.9.9.9"], "SCANNER", "10.9.9.9", True),
        (["SCANNER"], ["10.9.9.9"], "SCANNER", "192.0.2.1", False),  # both must match
        (["SCANNER"], ["10.9.9.9"], "STRANGER", "10.9.9.9", False),
        (["SCANNER", "10.9.9.9"], [], "SCANNER", "192.0.2.1", False),
        (["CT.1", "MR:2", "A/B"], [], "MR:2", "192.0.2.1", True),  # titles with such signs
    ],
)
def test_titles_and_addresses(
    entries: list[str], addresses: list[str], title: str, address: str, allowed: bool
) -> None:
    assert AllowedPeers.of(entries, addresses).allows(title, address) is allowed


@pytest.mark.parametrize(
    ("entries", "addresses"),
    [
        (["10.9.9.999"], []),
        (["10.9.9.1/16"], []),  # bits set beyond the network's
        (["2001:db8::12345"], []),
        (["10.9.9.9/33"], []),
        (["A TITLE THAT IS FAR TOO LONG"], []),
        (["BACK\\SLASH"], []),
        ([""], []),
        ([], ["SCANNER"]),
        ([], [""]),
    ],
)
def test_what_is_neither_is_refused_by_its_name(entries: list[str], addresses: list[str]) -> None:
    wrong = (entries + addresses)[0]

    with pytest.raises(ValueError) as caught:
        AllowedPeers.of(entries, addresses)

    assert f"'{wrong}'" in str(caught.value)
