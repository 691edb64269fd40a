"""An address that cannot be listened on names the setting to change; other faults stay theirs."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from server.compose.addresses import address, connection_limits, require_free_ports
from server.errors import ConfigurationError
from server.settings import load_settings
from tests.support.ports import free_port


def test_a_taken_port_names_its_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        here = taken.getsockname()
        name = f"127.0.0.1:{here[1]}"

        with pytest.raises(ConfigurationError) as fault, address(name, "http.port"):
            socket.create_server(here)

    sentence = f"http.port: cannot listen on {name} (Address already in use"
    assert str(fault.value).startswith(sentence)


@pytest.mark.parametrize("number", [errno.EADDRNOTAVAIL, errno.EACCES])
def test_an_address_that_is_not_ours_names_its_setting(number: int) -> None:
    with (
        pytest.raises(ConfigurationError, match=r"^node\.host: cannot listen on 192\.0\.2\.1:104"),
        address("192.0.2.1:104", "node.host"),
    ):
        raise OSError(number, os.strerror(number))


@pytest.mark.parametrize("section", ["node", "http"])
def test_a_node_whose_port_is_taken_does_not_start(tmp_path: Path, section: str) -> None:
    other = {"node": "HTTP", "http": "NODE"}[section]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        environment = {
            f"SEGNODE_{section.upper()}__PORT": str(port),
            f"SEGNODE_{other}__PORT": str(free_port()),
            "SEGNODE_NODE__HOST": "127.0.0.1",
            "SEGNODE_STORAGE__DIR": str(tmp_path / "var"),
        }

        answer = subprocess.run(
            [sys.executable, "-P", "-m", "server.cli", "serve"],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert answer.returncode == 1, answer.stderr
    assert (
        f"{section}.port: cannot listen on 127.0.0.1:{port} (Address already in use)"
        in answer.stderr
    )


def test_a_name_that_nothing_resolves_is_left_to_who_listens() -> None:
    environment = {
        "SEGNODE_NODE__HOST": "nowhere.invalid",
        "SEGNODE_HTTP__PORT": str(free_port()),
    }

    require_free_ports(load_settings([], environment=environment), leaving_s=0.0)


def test_what_has_to_do_with_no_address_is_not_called_one() -> None:
    with pytest.raises(OSError, match="No space") as fault, address("127.0.0.1:80", "http.port"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    assert not isinstance(fault.value, ConfigurationError)


def test_a_peer_may_take_what_the_settings_say(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text(
        "[http]\nmax_connections = 40\nmax_connections_per_address = 7\ntimeout_s = 3\n"
    )

    limits = connection_limits(load_settings([site], environment={}))

    assert (limits.connections, limits.per_address, limits.head_s) == (40, 7, 3)
