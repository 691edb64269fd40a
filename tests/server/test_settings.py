"""Layers of configuration, and what is refused with the key at fault."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from server.errors import ConfigurationError
from server.settings import load_settings

DESTINATION = (
    '[[destinations]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = 4242\n'
)


def written(folder: Path, text: str, name: str = "site.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_the_defaults_are_the_contract() -> None:
    settings = load_settings(environment={})

    assert (settings.node.ae_title, settings.node.host, settings.node.port) == (
        "SEGNODE",
        "0.0.0.0",
        11112,
    )
    assert (settings.http.host, settings.http.port) == ("127.0.0.1", 8080)
    assert settings.storage.dir == Path("var")
    assert settings.database.embedded
    assert settings.study.quiet_s == 10
    assert settings.agent.max_turns == 5
    assert settings.destinations == ()
    assert settings.routes == ()


def test_layers_override_key_by_key_and_lists_whole(tmp_path: Path) -> None:
    # Arrange
    first = written(tmp_path, '[node]\nport = 1\nae_title = "ONE"\nallow = ["A", "B"]\n', "1.toml")
    second = written(tmp_path, '[node]\nport = 2\nallow = ["C"]\n', "2.toml")

    # Act
    node = load_settings([first, second], {"SEGNODE_NODE__PORT": "3", "UNRELATED__KEY": "x"}).node

    # Assert: the environment beats both files, the later file the earlier one, the rest stays
    assert (node.port, node.ae_title, node.allow, node.host) == (3, "ONE", ("C",), "0.0.0.0")


def test_lists_in_the_environment_are_json() -> None:
    assert load_settings((), {"SEGNODE_NODE__ALLOW": '["PACS", "10.0.0.1"]'}).node.allow == (
        "PACS",
        "10.0.0.1",
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[node]\nprot = 1\n", "node.prot: no such setting"),
        ("[nodes]\nport = 1\n", "nodes: no such setting"),
        ("[node]\nport = 70000\n", "node.port"),
        ('[node]\nport = "many"\n', "node.port"),
        ('[node]\nae_title = "SEVENTEEN LETTERS"\n', "node.ae_title"),
        ('[node]\nae_title = "BACK\\\\SLASH"\n', "node.ae_title"),
        (
            '[node]\nallow = ["PACS", "10.9.9.999"]\n',
            r"node\.allow: .*'10\.9\.9\.999' is no IP address",
        ),
        (
            '[node]\nallow_addresses = ["PACS"]\n',
            r"node\.allow_addresses: .*'PACS' is no IP address",
        ),
        ("[node]\nprocesses = -1\n", r"node\.processes"),
        ('[database]\nurl = "sqlite://"\n', "postgresql"),
        (DESTINATION + DESTINATION, "same name"),
        ('[[routes]]\nname = "r"\ntargets = ["liver"]\ndestinations = ["nowhere"]\n', "nowhere"),
        ('[[routes]]\nname = "r"\ntargets = []\n', "routes.0.targets"),
        ("[agent]\nmax_turns = 0\n", "agent.max_turns"),
        ("not toml", "site.toml is not TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        load_settings([written(tmp_path, text)], {})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml"):
        load_settings([tmp_path / "nowhere.toml"], {})


def test_an_unknown_variable_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"node\.prot"):
        load_settings((), {"SEGNODE_NODE__PROT": "1"})


def test_settings_do_not_change_once_read() -> None:
    settings = load_settings(environment={})

    with pytest.raises(ValidationError, match="frozen"):
        settings.node.port = 1
