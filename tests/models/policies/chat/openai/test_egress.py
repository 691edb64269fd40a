"""Nothing leaves for a host that the site has not named, and nobody is asked where a name points
to.
"""

from __future__ import annotations

import socket
from typing import Any

import pytest

from models.errors import HostNotAllowed, LanguageMisconfigured
from models.policies.chat.openai.egress import checked, host_and_port


@pytest.mark.parametrize(
    ("endpoint", "allowed"),
    [
        ("http://gpu.hospital.example:8000/v1", "gpu.hospital.example:8000"),
        ("http://gpu.hospital.example:8000/v1/", "gpu.hospital.example"),  # a host without a port
        ("https://api.openai.com/v1", "api.openai.com:443"),  # the scheme's own port
        ("http://gpu/v1", "gpu:80"),
        ("http://GPU.Hospital.Example:8000/v1", "gpu.hospital.EXAMPLE:8000"),
        ("http://127.0.0.1:8000/v1", "127.0.0.1:8000"),
        ("http://localhost:8000/v1", "localhost"),
        ("http://[::1]:8000/v1", "[::1]:8000"),
        ("http://[::1]:8000/v1", "::1"),
        ("http://bücher.example/v1", "xn--bcher-kva.example"),
    ],
)
def test_a_named_host_is_allowed(endpoint: str, allowed: str) -> None:
    assert checked(endpoint, [allowed]).host


@pytest.mark.parametrize(
    ("endpoint", "allowed", "missing"),
    [
        (
            "http://127.0.0.1:8000/v1",
            (),
            "127.0.0.1:8000",
        ),  # this machine too: its ports may be tunnels
        (
            "http://localhost:8000/v1",
            ("127.0.0.1:8000",),
            "localhost:8000",
        ),  # as written, not as resolved
        ("http://gpu:8001/v1", ("gpu:8000",), "gpu:8001"),  # another port
        ("https://gpu/v1", ("gpu:80",), "gpu:443"),
        ("http://gpu.example.evil/v1", ("gpu.example",), "gpu.example.evil:80"),
        ("http://evil-gpu/v1", ("gpu",), "evil-gpu:80"),
        ("http://sub.gpu/v1", ("gpu", "*", "*.gpu", ""), "sub.gpu:80"),  # there are no patterns
        ("http://gpu./v1", ("gpu",), "gpu.:80"),
        ("http://2130706433/v1", ("127.0.0.1",), "2130706433:80"),  # the same address as a number
        ("http://[::1]:8000/v1", ("127.0.0.1",), "[::1]:8000"),
        ("http://evil\\@gpu/v1", ("gpu",), None),
        ("http://gpu@evil/v1", ("gpu",), None),
        ("http://gpu:secret@evil/v1", ("gpu",), None),
    ],
)
def test_any_other_is_refused_with_the_entry_that_would_allow_it(
    endpoint: str, allowed: tuple[str, ...], missing: str | None
) -> None:
    with pytest.raises((HostNotAllowed, LanguageMisconfigured)) as refused:
        checked(endpoint, allowed)

    if missing is not None:
        assert isinstance(refused.value, HostNotAllowed)
        assert refused.value.host == missing
        assert f'set language.allowed_hosts = ["{missing}"]' in str(refused.value)


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "gpu:8000",
        "ftp://gpu/v1",
        "file:///etc/passwd",
        "http://",
        "http:///v1",
        "http://gpu:port/v1",
        "http://gpu/v1?key=secret",
        "http://gpu/v1#part",
        "http://user:secret@gpu/v1",
    ],
)
def test_what_is_no_server_is_refused_without_repeating_it(endpoint: str) -> None:
    with pytest.raises(LanguageMisconfigured, match=r"language\.endpoints") as refused:
        checked(endpoint, ["gpu", "gpu:8000", "etc"])

    assert "secret" not in str(refused.value)


def test_no_name_is_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: object, **__: Any) -> None:
        pytest.fail("the allow-list asked DNS")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)

    url = checked("http://no-such-host.invalid:8000/v1", ["no-such-host.invalid"])

    assert host_and_port(url) == "no-such-host.invalid:8000"
