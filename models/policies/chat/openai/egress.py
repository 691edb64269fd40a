"""Where patient data may go: only to hosts that the site has named, and by default to none.

A host is compared as it is written, in lower case and without asking DNS: what a name points to can
change, what the site has allowed cannot. This machine counts as any other host, since a port of it
may be a tunnel.
"""

from __future__ import annotations

from collections.abc import Collection

import httpx

from models.errors import HostNotAllowed, LanguageMisconfigured

SETTING = "language.allowed_hosts"
_PORTS = {"http": 80, "https": 443}


def checked(endpoint: str, allowed_hosts: Collection[str]) -> httpx.URL:
    """The base URL of a server that patient data may go to; nothing is connected.

    An entry of `allowed_hosts` is "host" (every port of it) or "host:port"; IPv6 as "::1" or
    "[::1]:8000". Raises HostNotAllowed, with the entry to add, or LanguageMisconfigured for what is
    no URL of a server.
    """
    url = _parsed(endpoint)
    if not {_name(url), host_and_port(url)} & {host.strip().lower() for host in allowed_hosts}:
        raise HostNotAllowed(host_and_port(url), SETTING)
    return url


def host_and_port(url: httpx.URL) -> str:
    """The "host:port" that a URL connects to, an IPv6 address in brackets."""
    name = _name(url)
    return f"{f'[{name}]' if ':' in name else name}:{url.port or _PORTS[url.scheme]}"


def _name(url: httpx.URL) -> str:
    # as it is sent: international names in their ASCII form
    return url.raw_host.decode("ascii").lower()


def _parsed(endpoint: str) -> httpx.URL:
    try:
        url = httpx.URL(endpoint.strip().rstrip("/"))
    except httpx.InvalidURL as error:
        raise LanguageMisconfigured("language.endpoints", f"not a URL ({error})") from error
    if url.scheme not in _PORTS or not url.raw_host:
        raise LanguageMisconfigured(
            "language.endpoints", "write each as http://host:port/v1 or https://host/v1"
        )
    if url.userinfo or url.query or url.fragment:
        raise LanguageMisconfigured(
            "language.endpoints", "no user, query or fragment belongs there; see api_key_file"
        )
    return url
